import { parentPort, workerData } from 'node:worker_threads';
import { PcqatError } from '#lib/errors.js';
import { assembleKerasBytes } from '#lib/formats/keras/import.js';
import { openInProcess } from './hdf5-in-process.js';
import { mutations } from './mutate.js';

/** Mutations of a file that a worker goes through. */
export interface FuzzJob {
  readonly file: Uint8Array;
  readonly count: number;
  readonly seed: number;
  /** The first to read; earlier ones are only made. */
  readonly from: number;
}

/** Before each mutation its index, with the error of the one before: a code, or what it should not have been. */
export interface FuzzProgress {
  readonly index: number;
  readonly outcome: string;
  readonly unexpected?: string;
}

const job = workerData as FuzzJob;

async function read(bytes: Uint8Array): Promise<Omit<FuzzProgress, 'index'>> {
  try {
    const { assembler, output } = await assembleKerasBytes(bytes, 'mutated.h5', {}, openInProcess);
    assembler.check();
    assembler.finish(output);
    return { outcome: 'accepted' };
  } catch (error) {
    if (error instanceof PcqatError && error.code !== 'ERR_INTERNAL') return { outcome: error.code };
    return { outcome: 'unexpected', unexpected: String((error as Error).stack) };
  }
}

let index = 0;
for (const bytes of mutations(job.file, job.count, job.seed)) {
  if (index >= job.from) parentPort?.postMessage({ index, ...(await read(bytes)) } satisfies FuzzProgress);
  index++;
}
