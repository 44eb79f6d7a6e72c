import { describe } from 'mocha';
import { fuzzGraphDef } from '../../fuzz/graphdef.js';
import { itTakesDamagedFiles } from '../../fuzz/import.js';

describe('importing damaged frozen graphs', () => itTakesDamagedFiles(fuzzGraphDef));
