import { Worker } from 'node:worker_threads';
import { PcqatError } from '../../errors.js';
import { halvesToFloats } from '../float16.js';
import type { H5Dataset, H5Tree } from './hdf5-reader.js';
import type { WorkerAnswer, WorkerInput } from './hdf5-worker.js';

/** Limits and, for tests, the library of {@link openHdf5}. */
export interface Hdf5Options {
  /** Names in the root below which the file is looked at. */
  readonly roots: readonly string[];
  /** Most milliseconds that reading the structure, and then the arrays, may take. Default: 1.5 s and 1 s for every 5 MB, ten times the need. */
  readonly timeout?: number;
  /** Most bytes of the library's memory. Default: 64 MiB and twice the size of the file. */
  readonly memory?: number;
  /** Module specifier of h5wasm. */
  readonly library?: string;
}

/** An HDF5 file whose structure was read. Close it. */
export interface Hdf5File {
  readonly tree: H5Tree;
  /**
   * Values of datasets as f32, by path.
   *
   * @throws PcqatError `ERR_UNSUPPORTED` for other types than floats; `ERR_FORMAT` when they cannot be read or are larger than a file of
   *   this size can hold
   */
  read(datasets: readonly H5Dataset[]): Promise<ReadonlyMap<string, Float32Array>>;
  close(): Promise<void>;
}

const MIB = 2 ** 20;
/** Space for the library, and for small files that compress well. */
const CONSTANT_MEMORY = 64 * MIB;
/** Loading the library takes 0.15 s, or much longer on a machine that is busy; it does not depend on the file. */
const LOAD_TIMEOUT = 60_000;

/**
 * Opens an HDF5 file with the optional peer `h5wasm` in a worker thread, where time and memory are bounded: the library is C made for files
 * that one trusts. The bytes go to the worker; the caller's array is empty afterwards.
 *
 * @throws PcqatError `ERR_MISSING_PEER` without h5wasm; `ERR_FORMAT` for a file that is damaged, takes too long or too much memory
 */
export async function openHdf5(bytes: Uint8Array, where: string, options: Hdf5Options): Promise<Hdf5File> {
  const size = bytes.length;
  const { roots, timeout = 1500 + size / 5000, memory = CONSTANT_MEMORY + 2 * size, library = 'h5wasm' } = options;
  const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
  const input: WorkerInput = { bytes: own, roots, library, memory };
  const worker = new Worker(new URL('./hdf5-worker.js', import.meta.url), {
    workerData: input,
    transferList: [own.buffer as ArrayBuffer],
    resourceLimits: { maxOldGenerationSizeMb: 256 + Math.ceil(size / MIB), maxYoungGenerationSizeMb: 32, stackSizeMb: 4 },
    // HDF5 writes its error stack there.
    stdout: true,
    stderr: true,
  });
  const failed = (reason: string): PcqatError =>
    new PcqatError('ERR_FORMAT', `it cannot be read as HDF5: ${reason}`, { where, remedy: 'The file is damaged; save the model again.' });
  const mailbox = new Mailbox(worker);
  const close = async (): Promise<void> => void (await worker.terminate());
  try {
    const loaded = await mailbox.next(LOAD_TIMEOUT);
    if ('missing' in loaded) throw missingPeer(where);
    const answer = 'ready' in loaded ? await mailbox.next(timeout) : loaded;
    if (!('tree' in answer)) throw failed('failed' in answer ? answer.failed : 'no answer');
    return {
      tree: answer.tree,
      read: async (datasets) => {
        checkDatasets(datasets, size, where);
        worker.postMessage(datasets);
        const values = await mailbox.next(timeout);
        if (!('arrays' in values)) throw failed('failed' in values ? values.failed : 'no answer');
        return new Map(datasets.map((dataset, i) => [dataset.path, toFloat32(dataset, values.arrays[i] ?? new Uint8Array())]));
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function missingPeer(where: string): PcqatError {
  return new PcqatError('ERR_MISSING_PEER', 'h5wasm, which reads HDF5 files, is not installed', {
    where,
    remedy: 'Run `npm install h5wasm`.',
  });
}

/** What a worker says, in order, however fast. */
class Mailbox {
  readonly #answers: WorkerAnswer[] = [];
  #ended: string | undefined;
  #wake: () => void = () => undefined;

  constructor(worker: Worker) {
    worker.on('message', (answer: WorkerAnswer) => {
      this.#answers.push(answer);
      this.#wake();
    });
    worker.on('error', (error) => this.#end(error.message));
    worker.on('exit', () => this.#end('the library ended'));
  }

  /**
   * The next answer, or why there is none: the worker ended, or the time is over. A busy machine is not the file's fault, so the process must
   * have computed for most of that time, or ten times as much must have passed.
   */
  async next(milliseconds: number): Promise<WorkerAnswer> {
    if (this.#answers.length === 0 && this.#ended === undefined) {
      const [started, used] = [performance.now(), process.cpuUsage()];
      const look = (): void => {
        const { user, system } = process.cpuUsage(used);
        const isOver = (user + system) / 1000 > 0.8 * milliseconds || performance.now() - started > 10 * milliseconds;
        if (isOver) this.#end('it takes too long');
        else timer = setTimeout(look, milliseconds / 10);
      };
      let timer = setTimeout(look, milliseconds);
      await new Promise<void>((resolve) => (this.#wake = resolve));
      clearTimeout(timer);
    }
    return this.#answers.shift() ?? { failed: this.#ended ?? '' };
  }

  #end(reason: string): void {
    this.#ended ??= reason;
    this.#wake();
  }
}

/** Compressed and never written datasets can claim any size. */
export function checkDatasets(datasets: readonly H5Dataset[], size: number, where: string): void {
  const odd = datasets.find(({ dtype }) => dtype === 'other');
  if (odd !== undefined) {
    throw new PcqatError('ERR_UNSUPPORTED', `the weights '${odd.path}' are no floating-point numbers`, {
      where,
      remedy: 'Save the model with float32 weights, before any quantization.',
    });
  }
  const total = datasets.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total > Math.max(4 * size, CONSTANT_MEMORY / 2)) {
    throw new PcqatError('ERR_FORMAT', `its weights claim to have ${total} bytes, but the file has ${size}`, { where });
  }
}

export function toFloat32({ dtype }: H5Dataset, bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes;
  if (dtype === 'float64') return Float32Array.from(new Float64Array(buffer, byteOffset, byteLength / 8));
  if (dtype === 'float16') return halvesToFloats(bytes);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}
