import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { assembleKerasBytes } from '#lib/formats/keras/import.js';
import { openInProcess } from './hdf5-in-process.js';
import { mutations } from './mutate.js';
import { type FuzzReport, runMutations } from './report.js';

const file = fileURLToPath(new URL('../../../test/formats/keras/models/functional.h5', import.meta.url));

/** Whole-model `.h5` files: their bytes. */
export function fuzzKerasH5(count: number, seed: number): Promise<FuzzReport> {
  return runMutations(mutations(new Uint8Array(readFileSync(file)), count, seed), async (bytes) => {
    const { assembler, output } = await assembleKerasBytes(bytes, 'mutated.h5', {}, openInProcess);
    assembler.check();
    return assembler.finish(output);
  });
}
