import type { Candidate } from '../interleave.js';
import type { RivalNet } from './layers.js';
import type { Python } from './python.js';
import { type BenchWorker, rivalWorker, WorkerError } from '../worker.js';

/** A framework that trains the same networks. */
interface TrainingRival {
  readonly name: string;
  /** What its Python must have. */
  readonly package: string;
  readonly script: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** When it does not run, it is tried once more with this in its environment. */
  readonly fallback?: { readonly env: Readonly<Record<string, string>>; readonly meaning: string };
}

export const TRAINING_RIVALS: readonly TrainingRival[] = [
  { name: 'pytorch', package: 'torch', script: 'torch_step.py', options: { compiled: false } },
  { name: 'pytorch-compiled', package: 'torch', script: 'torch_step.py', options: { compiled: true } },
  {
    name: 'keras',
    package: 'tensorflow',
    script: 'keras_step.py',
    options: {},
    fallback: { env: { TF_ENABLE_ONEDNN_OPTS: '0' }, meaning: 'without oneDNN' },
  },
];

/**
 * glibc keeps what was freed instead of giving it back to the system: where a page fault is dear, as in many virtual machines, PyTorch otherwise
 * spends most of a step on fresh pages for its activations (we saw 90 ms instead of 20). Other C libraries ignore it.
 */
const KEEP_MEMORY = { MALLOC_MMAP_THRESHOLD_: String(2 ** 32), MALLOC_TRIM_THRESHOLD_: String(2 ** 34), MALLOC_TOP_PAD_: String(2 ** 26) };

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

/** A rival ready to train, and what it says of itself. */
interface Started {
  readonly worker: BenchWorker;
  readonly version: string;
  readonly trainable: number;
}

async function start(
  python: Python,
  { script, options }: TrainingRival,
  { net, batch, threads }: RivalTask,
  env: Readonly<Record<string, string>>,
): Promise<Started> {
  const worker = rivalWorker(python.path, script, { ...KEEP_MEMORY, OMP_NUM_THREADS: String(threads), ...env });
  try {
    const answer = await worker.request('prepare', { ...net, ...options, batch, threads }, PREPARE_SECONDS);
    return { worker, ...(answer as { version: string; trainable: number }) };
  } catch (error) {
    worker.stop();
    throw error;
  }
}

/** Starts a rival, with its fallback if need be; `undefined` and a note when it does not take part. */
async function startOrFallBack(
  python: Python,
  rival: TrainingRival,
  task: RivalTask,
  note: (text: string) => void,
): Promise<Started | undefined> {
  const { name, fallback } = rival;
  let problem = '';
  for (const one of fallback === undefined ? [{ env: {} }] : [{ env: {} }, fallback]) {
    try {
      const started = await start(python, rival, task, one.env);
      if (problem === '' || !('meaning' in one)) return started;
      note(`  ${name} runs ${one.meaning}: ${problem}`);
      return { ...started, version: `${started.version} ${one.meaning}` };
    } catch (error) {
      if (!(error instanceof WorkerError)) throw error;
      problem = error.message;
    }
  }
  note(`  ${name} does not take part: ${problem}`);
  return undefined;
}

/**
 * Starts the rivals on one network. One that fails is left out and `note` says why.
 *
 * @throws Error when a rival's network has another number of trainable parameters than ours: it would be another network.
 */
export async function prepareRivals(python: Python | undefined, task: RivalTask, note: (text: string) => void): Promise<PreparedRivals> {
  const workers: BenchWorker[] = [];
  const stop = (): void => workers.forEach((worker) => worker.stop());
  const candidates: Candidate[] = [];
  const versions: Record<string, string> = {};
  for (const rival of TRAINING_RIVALS) {
    if (python?.packages.has(rival.package) !== true) continue;
    const started = await startOrFallBack(python, rival, task, note);
    if (started === undefined) continue;
    const { worker, version, trainable } = started;
    workers.push(worker);
    if (trainable !== task.trainable) {
      stop();
      throw new Error(`${rival.name} trains ${trainable} parameters, ours ${task.trainable}: not the same network`);
    }
    versions[rival.name] = version;
    candidates.push({ name: rival.name, measure: async () => (await worker.request('run')) as number });
  }
  return { candidates, versions, stop };
}
