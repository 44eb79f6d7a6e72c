import type { Python } from './python.js';
import { type BenchWorker, rivalWorker, TimingWorkers } from '../worker.js';

/** Products of one layer: forward, gradient of the input, gradient of the kernel. */
export type ProductForm = 'forward' | 'input' | 'kernel';

/**
 * Kinds of kernels that the rival may use. OpenBLAS does not know every CPU: on some with AVX-512 it takes its AVX2 kernels unless told, so
 * we tell it if that is faster.
 */
const CORE_TYPES: readonly (string | undefined)[] = [undefined, 'SkylakeX'];

/** OpenBLAS in a process for each number of threads. */
export class OpenBlas extends TimingWorkers<ProductForm> {
  private constructor(
    workers: ReadonlyMap<number, BenchWorker>,
    /** Version and kernels in use. */
    readonly description: string,
  ) {
    super(workers);
  }

  /** Starts it with the kernels that multiply 768³ fastest. @throws WorkerError when it does not start. */
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
}

function startWorker(python: Python, threads: number, core: string | undefined): BenchWorker {
  // after 2^20 cycles without work its threads sleep, not after 2^26: they must not spin while ours are timed
  const env = { OPENBLAS_NUM_THREADS: String(threads), OPENBLAS_THREAD_TIMEOUT: '20' };
  return rivalWorker(python.path, 'openblas_gemm.py', core === undefined ? env : { ...env, OPENBLAS_CORETYPE: core });
}
