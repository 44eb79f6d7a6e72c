import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Net } from './nets.js';
import type { Stage } from './stages.js';

/** What only a process of its own can show. */
export interface Fresh {
  /**
   * From the call of `fit` until its first step has finished (`onStep`), in a process that has not trained before. The data are ten batches
   * and the ranges of activations are not set, so in a quantized stage `fit` first takes them from eight batches, its default.
   */
  readonly firstStepMs: number;
  /**
   * Highest resident memory of the process during one epoch of `fit` (ten steps), less its resident memory before the model was made. Code and
   * data set are in both; the model, its preparation for the stage as far as it has not been given back, and all of training are in the first.
   * Linux only; elsewhere from the process's maximum, which may hide a peak below that of the preparation.
   */
  readonly peakBytes: number;
}

/** Measures a stage of a network in a new process (bench/fresh-child.ts). */
export async function measureFresh(net: Net, stage: Stage, threads: number): Promise<Fresh> {
  const script = fileURLToPath(new URL('./fresh-child.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', script, net.name, stage.name, String(threads)]);
  return JSON.parse(stdout) as Fresh;
}
