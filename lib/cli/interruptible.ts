import { INTERRUPTED, withInterrupt } from './interrupt.js';

/** Runs a task that has nothing to save: Ctrl-C stops it between two batches, and the command ends with 130. */
export async function interruptible(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
  let stopped = false;
  try {
    await withInterrupt(task, () => {
      stopped = true;
      process.stderr.write('Stopping after this batch; press Ctrl-C again to end at once.\n');
    });
  } catch (error) {
    if (!stopped || (error as Error).message !== 'interrupted') throw error;
    process.exitCode = INTERRUPTED;
  }
}
