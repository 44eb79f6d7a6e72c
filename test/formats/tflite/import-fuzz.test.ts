import { describe } from 'mocha';
import { fuzzTflite } from '../../fuzz/tflite.js';
import { itTakesDamagedFiles } from '../../fuzz/import.js';

describe('importing damaged .tflite files', () => itTakesDamagedFiles(fuzzTflite));
