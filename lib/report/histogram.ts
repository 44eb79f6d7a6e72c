import type { Histogram } from './types.js';

/** Odd, so that zero has a bin of its own. */
const BINS = 81;

/** Largest magnitude of the finite values. */
export function magnitude(values: Float32Array): number {
  let limit = 0;
  for (const value of values) if (Number.isFinite(value)) limit = Math.max(limit, Math.abs(value));
  return limit;
}

/** Counts values in equal bins over `[-limit, limit]`; values outside go to the end bins. */
export function histogram(values: Float32Array, limit: number): Histogram {
  const counts = new Array<number>(BINS).fill(0);
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    const position = limit === 0 ? 0.5 : (value / limit + 1) / 2;
    const bin = Math.min(BINS - 1, Math.max(0, Math.floor(position * BINS)));
    counts[bin]!++;
  }
  return { limit, counts };
}
