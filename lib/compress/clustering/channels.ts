/** Values of one channel (last axis) of a row-major weight, in order. */
export function channelSlice(data: Float32Array, channels: number, channel: number): Float32Array {
  const slice = new Float32Array(data.length / channels);
  for (let i = 0; i < slice.length; i++) slice[i] = data[i * channels + channel] ?? 0;
  return slice;
}

/** All channels of a weight, or the whole weight as one when `channels` is 0. */
export function slicesOf(data: Float32Array, channels: number): Float32Array[] {
  if (channels === 0) return [data];
  return Array.from({ length: channels }, (_, channel) => channelSlice(data, channels, channel));
}

/** Distinct values in order of first occurrence (spec 4.4), or the first `most + 1` of them. −0 and 0 are one value, 0. */
export function distinctValues(data: ArrayLike<number>, most = Infinity): number[] {
  const seen = new Set<number>();
  for (let i = 0; i < data.length && seen.size <= most; i++) seen.add((data[i] ?? 0) + 0);
  return [...seen];
}

/** Number of distinct values of a finite array of any size (a Set holds 2²⁴ entries at most). */
export function countDistinct(data: Float32Array): number {
  const sorted = data.slice().sort();
  return sorted.reduce((count, value, i) => (i > 0 && value === sorted[i - 1] ? count : count + 1), 0);
}

/** Index of the smallest |value|, the first one on a tie; −1 for none. */
export function nearestToZero(values: ArrayLike<number>): number {
  let best = -1;
  for (let i = 0; i < values.length; i++) {
    if (best < 0 || Math.abs(values[i] ?? 0) < Math.abs(values[best] ?? 0)) best = i;
  }
  return best;
}

/**
 * Codebooks of different lengths as one `[rows, K]` array, K = the longest. A shorter row repeats a value of its own: its zero
 * if it has one, else its last value. The copies stand behind the original, so ties never go to them, and a pinned zero keeps
 * its copies empty for good; no row gains a value that it did not have (the reference pads with 1.0, which attracts weights, W7).
 */
export function padRows(rows: readonly ArrayLike<number>[]): { readonly centroids: Float32Array; readonly k: number } {
  const k = Math.max(...rows.map((row) => row.length));
  const centroids = new Float32Array(rows.length * k);
  rows.forEach((row, r) => {
    const filler = Array.prototype.includes.call(row, 0) ? 0 : (row[row.length - 1] ?? 0);
    for (let i = 0; i < k; i++) centroids[r * k + i] = i < row.length ? (row[i] ?? 0) : filler;
  });
  return { centroids, k };
}
