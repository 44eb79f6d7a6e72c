import { PcqatError, requireCount } from '../errors.js';
import { elementCount } from '../graph/shapes.js';
import { Random } from '../graph/random.js';
import type { Runner } from './runner.js';

/** Options of {@link measureLatency}. */
export interface LatencyOptions {
  /** Measured runs. Default 200. */
  readonly runs?: number;
  /** Runs before them, which are not counted. Default 20. */
  readonly warmUp?: number;
  /** Stop after this time, with at least one run measured. Default 60. */
  readonly maxSeconds?: number;
  /** Rows to take turns with. Default: one row of random numbers in [−1, 1). */
  readonly x?: Float32Array;
  readonly signal?: AbortSignal;
}

/** Wall clock of single rows, in milliseconds. */
export interface Latency {
  /** Measured; fewer than asked for where the time was up. */
  readonly runs: number;
  readonly mean: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/**
 * Measures how long one row takes, call by call: what an application waits for, the way in and out of the runtime included.
 *
 * @throws PcqatError `ERR_OPTION` for bad options; `ERR_SHAPE` where `x` is not whole rows; what the runner throws
 * @example
 * ```ts
 * import { measureLatency, openRunner, zoo } from 'pcqat';
 * const runner = await openRunner(zoo.lenet5(), { threads: 1 });
 * const { p50, p99 } = await measureLatency(runner, { runs: 20, warmUp: 5 });
 * console.log(p50 <= p99); // true
 * runner.dispose();
 * ```
 */
export async function measureLatency(runner: Runner, options: LatencyOptions = {}): Promise<Latency> {
  const { runs = 200, warmUp = 20, maxSeconds = 60, signal } = options;
  requireCount('runs', runs);
  requireCount('warmUp', warmUp, 0);
  if (!(maxSeconds > 0)) throw new PcqatError('ERR_OPTION', `maxSeconds is ${maxSeconds} but must be above 0`, { where: 'maxSeconds' });
  const size = elementCount(runner.inputShape);
  const x = options.x ?? randomRow(size);
  const rows = x.length / size;
  if (!(Number.isInteger(rows) && rows > 0)) {
    throw new PcqatError('ERR_SHAPE', `it has ${x.length} values, which are no whole rows of ${size}`, { where: 'x' });
  }
  const times: number[] = [];
  const begin = performance.now();
  const late = (): boolean => performance.now() - begin > maxSeconds * 1000;
  for (let i = 0; times.length < runs && !(times.length > 0 && late()); i++) {
    signal?.throwIfAborted();
    const row = i % rows;
    const started = performance.now();
    await runner.run(x.subarray(row * size, (row + 1) * size));
    if (i >= warmUp || late()) times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  /** Nearest rank: the smallest time that is not below the fraction of all. */
  const percentile = (fraction: number): number => times[Math.max(0, Math.ceil(fraction * times.length) - 1)] ?? 0;
  return {
    runs: times.length,
    mean: times.reduce((sum, time) => sum + time, 0) / times.length,
    min: percentile(0),
    p50: percentile(0.5),
    p90: percentile(0.9),
    p99: percentile(0.99),
    max: percentile(1),
  };
}

function randomRow(size: number): Float32Array {
  const random = new Random(0, 'latency');
  return Float32Array.from({ length: size }, () => 2 * random.uniform() - 1);
}
