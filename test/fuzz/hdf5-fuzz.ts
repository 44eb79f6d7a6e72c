import { Worker } from 'node:worker_threads';
import { PcqatError } from '#lib/errors.js';
import { assembleKerasBytes } from '#lib/formats/keras/import.js';
import type { FuzzJob, FuzzProgress } from './hdf5-fuzz-worker.js';
import { mutations } from './mutate.js';
import type { FuzzReport } from './report.js';

/** Beyond this a mutation hangs: the others take some ten milliseconds. */
const SILENCE = 2000;

/**
 * Reads every mutation of an HDF5 file in one worker, without the one that each file has in earnest. Where the library hangs, the mutation
 * is read in earnest too and must be refused in time.
 *
 * @throws for an error that is no PcqatError
 */
export async function fuzzHdf5(file: Uint8Array, count: number, seed: number): Promise<FuzzReport & { readonly hangs: number }> {
  const outcomes = new Map<string, number>();
  let [next, slowest, hangs] = [0, 0, 0];
  const note = (outcome: string): void => void outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  while (next < count) {
    let last = performance.now() + 5000; // loading the library
    await runUntilSilent({ file, count, seed, from: next }, ({ index, outcome, unexpected }) => {
      if (unexpected !== undefined) throw new Error(`mutation ${index}: ${unexpected}`);
      slowest = Math.max(slowest, performance.now() - last);
      last = performance.now();
      note(outcome);
      next = index + 1;
    });
    if (next >= count) break;
    hangs++;
    note(await readInEarnest(mutation(file, seed, next)));
    next++;
  }
  const accepted = outcomes.get('accepted') ?? 0;
  outcomes.delete('accepted');
  return { mutations: count, accepted, refused: outcomes, slowestMilliseconds: Math.round(slowest), hangs };
}

function mutation(file: Uint8Array, seed: number, index: number): Uint8Array {
  let i = 0;
  for (const bytes of mutations(file, index + 1, seed)) if (i++ === index) return bytes;
  throw new Error('there is no such mutation');
}

/** Resolves when the worker ends or says nothing for too long. */
async function runUntilSilent(job: FuzzJob, report: (progress: FuzzProgress) => void): Promise<void> {
  const worker = new Worker(new URL('./hdf5-fuzz-worker.js', import.meta.url), { workerData: job, stderr: true, stdout: true });
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const wait = (milliseconds: number): void => {
        clearTimeout(timer);
        timer = setTimeout(resolve, milliseconds);
      };
      wait(SILENCE + 5000);
      worker.on('message', (progress: FuzzProgress) => {
        try {
          report(progress);
          wait(SILENCE);
        } catch (error) {
          reject(error as Error);
        }
      });
      worker.on('error', reject);
      worker.on('exit', () => resolve());
    });
  } finally {
    clearTimeout(timer);
    await worker.terminate();
  }
}

async function readInEarnest(bytes: Uint8Array): Promise<string> {
  const started = performance.now();
  try {
    const { assembler, output } = await assembleKerasBytes(bytes, 'mutated.h5', {});
    assembler.finish(output);
    return 'accepted';
  } catch (error) {
    if (!(error instanceof PcqatError)) throw error;
    const taken = performance.now() - started;
    // 1.5 s, and what starting the library takes on a busy machine.
    if (taken > 6000) throw new Error(`refused only after ${taken} ms`, { cause: error });
    return error.code;
  }
}
