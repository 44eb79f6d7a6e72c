import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fuzzHdf5 } from './hdf5-fuzz.js';
import type { FuzzReport } from './report.js';

const file = fileURLToPath(new URL('../../../test/formats/keras/models/sequence.h5', import.meta.url));

/** Whole-model `.h5` files: their bytes. */
export function fuzzKerasH5(count: number, seed: number): Promise<FuzzReport> {
  return fuzzHdf5(new Uint8Array(readFileSync(file)), count, seed);
}
