import type { Python } from './python.js';
import { RivalWorker } from './worker.js';

/** Products of one layer: forward, gradient of the input, gradient of the kernel. */
export type ProductForm = 'forward' | 'input' | 'kernel';

/** Size of a product, of the forward form `y[m,n] = x[m,k] · w[k,n]`. */
export interface ProductSize {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/**
 * Kinds of kernels that the rival may use. OpenBLAS does not know every CPU: on some with AVX-512 it takes its AVX2 kernels unless told, so
 * we tell it if that is faster.
 */
const CORE_TYPES: readonly (string | undefined)[] = [undefined, 'SkylakeX'];

/** OpenBLAS in a process for each number of threads. */
export class OpenBlas {
  readonly #workers: ReadonlyMap<number, RivalWorker>;

  private constructor(
    workers: ReadonlyMap<number, RivalWorker>,
    /** Version and kernels in use. */
    readonly description: string,
  ) {
    this.#workers = workers;
  }

  /** Starts it with the kernels that multiply 768³ fastest. @throws RivalError when it does not start. */
  static async start(python: Python, threads: readonly number[], wide: boolean): Promise<OpenBlas> {
    const trials = [];
    for (const core of wide ? CORE_TYPES : [undefined]) {
      const worker = startWorker(python, 1, core);
      try {
        const { version, core: name } = (await worker.request('describe')) as { version: string; core: string };
        await worker.request('prepare', { m: 768, n: 768, k: 768, sets: 1 });
        const ms = (await worker.request('run', { form: 'forward', repeat: 20 })) as number;
        trials.push({
          core,
          ms,
          description: `${version}, ${name} kernels${core === undefined ? '' : ' (OPENBLAS_CORETYPE, faster than its own choice)'}`,
        });
      } finally {
        worker.stop();
      }
    }
    const best = trials.reduce((a, b) => (b.ms < a.ms * 0.97 ? b : a));
    return new OpenBlas(new Map(threads.map((count) => [count, startWorker(python, count, best.core)])), best.description);
  }

  /** Operands for products of this size; `sets` of them are used in turn. */
  async prepare(threads: number, size: ProductSize, sets: number): Promise<void> {
    await this.#workers.get(threads)!.request('prepare', { ...size, sets });
  }

  /** Milliseconds of a product, mean of `repeat` in a row after one more. */
  async run(threads: number, form: ProductForm, repeat: number): Promise<number> {
    return (await this.#workers.get(threads)!.request('run', { form, repeat })) as number;
  }

  stop(): void {
    for (const worker of this.#workers.values()) worker.stop();
  }
}

function startWorker(python: Python, threads: number, core: string | undefined): RivalWorker {
  // after 2^20 cycles without work its threads sleep, not after 2^26: they must not spin while ours are timed
  const env = { OPENBLAS_NUM_THREADS: String(threads), OPENBLAS_THREAD_TIMEOUT: '20' };
  return new RivalWorker(python.path, 'openblas_gemm.py', core === undefined ? env : { ...env, OPENBLAS_CORETYPE: core });
}
