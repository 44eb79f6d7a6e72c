import type { Candidate } from '../interleave.js';
import type { RivalNet } from './layers.js';
import type { Python } from './python.js';
import { RivalError, RivalWorker } from './worker.js';

/** A framework that trains the same networks. */
interface TrainingRival {
  readonly name: string;
  /** What its Python must have. */
  readonly package: string;
  readonly script: string;
  readonly options: Readonly<Record<string, unknown>>;
}

export const TRAINING_RIVALS: readonly TrainingRival[] = [
  { name: 'pytorch', package: 'torch', script: 'torch_step.py', options: { compiled: false } },
  { name: 'pytorch-compiled', package: 'torch', script: 'torch_step.py', options: { compiled: true } },
  { name: 'keras', package: 'tensorflow', script: 'keras_step.py', options: {} },
];

/** Compiling a network takes PyTorch up to minutes. */
const PREPARE_SECONDS = 300;

/** Rivals that are ready to train one network. */
export interface PreparedRivals {
  readonly candidates: readonly Candidate[];
  /** By rival. */
  readonly versions: Readonly<Record<string, string>>;
  stop(): void;
}

/** What the rivals train. */
export interface RivalTask {
  readonly net: RivalNet;
  readonly batch: number;
  readonly threads: number;
  /** Of our network. */
  readonly trainable: number;
}

/**
 * Starts the rivals on one network. One that fails is left out and `note` says why.
 *
 * @throws Error when a rival's network has another number of trainable parameters than ours: it would be another network.
 */
export async function prepareRivals(python: Python | undefined, task: RivalTask, note: (text: string) => void): Promise<PreparedRivals> {
  const { net, batch, threads, trainable } = task;
  const workers: RivalWorker[] = [];
  const stop = (): void => workers.forEach((worker) => worker.stop());
  const candidates: Candidate[] = [];
  const versions: Record<string, string> = {};
  for (const rival of TRAINING_RIVALS) {
    if (python?.packages.has(rival.package) !== true) continue;
    const worker = new RivalWorker(python.path, rival.script, { OMP_NUM_THREADS: String(threads) });
    workers.push(worker);
    try {
      const fields = { ...net, ...rival.options, batch, threads };
      const answer = (await worker.request('prepare', fields, PREPARE_SECONDS)) as { version: string; trainable: number };
      if (answer.trainable !== trainable) {
        throw new Error(`${rival.name} trains ${answer.trainable} parameters, ours ${trainable}: not the same network`);
      }
      versions[rival.name] = answer.version;
      candidates.push({ name: rival.name, measure: async () => (await worker.request('run')) as number });
    } catch (error) {
      if (!(error instanceof RivalError)) {
        stop();
        throw error;
      }
      worker.stop();
      note(`  ${rival.name} does not take part: ${error.message}`);
    }
  }
  return { candidates, versions, stop };
}
