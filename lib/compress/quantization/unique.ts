import { countDistinct, distinctValues, nearestToZero, padRows, slicesOf } from '../clustering/channels.js';
import type { WeightView } from '../state.js';

/** More distinct values than this are no codebook (spec 4.4), unless the weight is known to have been clustered so. */
export const maxCodebookSize = 1024;

/** One value more than a codebook may have is enough to know that it is none. */
const distinct =
  (most = maxCodebookSize) =>
  (data: Float32Array): number[] =>
    distinctValues(data, most);

/** A codebook read back from a stripped clustered weight. */
export interface ExtractedCodebook {
  readonly perChannel: boolean;
  /** `[K]`, or `[channels, K]`. */
  readonly centroids: Float32Array;
  readonly k: number;
  /** Which centroid is pinned to zero, per codebook; −1 = none. */
  readonly zeroIndex: Int32Array;
}

/**
 * Distinct values of a weight in order of first occurrence: one codebook, or one per channel. Rows are padded with values of their own.
 *
 * @param most - values that a codebook can have; one more is read at most
 */
export function extractCodebook(weight: WeightView, perChannel: boolean, most: number): ExtractedCodebook {
  const rows = slicesOf(weight.data, perChannel ? weight.channels : 0).map(distinct(most));
  // Only a codebook that has a zero gets it pinned; the reference zeroes the smallest centroid of every channel (W6).
  return { perChannel, ...padRows(rows), zeroIndex: Int32Array.from(rows, (row) => row.indexOf(0)) };
}

/**
 * The reference's rule (spec 4.4), for comparison with it: a convolution is taken as clustered per channel when the channels'
 * numbers of distinct values differ by at most one, however it was clustered (W4, W5); shorter rows are padded with 1.0 (W7),
 * and each row's centroid of least magnitude is pinned (W6).
 */
export function extractCodebookLikeReference(weight: WeightView, isConvolution: boolean): ExtractedCodebook {
  const channelRows = isConvolution ? slicesOf(weight.data, weight.channels).map(distinct()) : [];
  const counts = channelRows.map((row) => row.length);
  const perChannel = isConvolution && Math.max(...counts) - Math.min(...counts) <= 1;
  const k = perChannel ? Math.max(...counts) : 0;
  const rows = perChannel ? channelRows.map((row) => [...row, ...Array<number>(k - row.length).fill(1)]) : [distinct()(weight.data)];
  return { perChannel, ...padRows(rows), zeroIndex: Int32Array.from(rows, nearestToZero) };
}

/** Does the weight share values at all? Zeros do not count: pruning makes them. */
export function sharesValues(data: Float32Array): boolean {
  const nonZeros = data.filter((value) => value !== 0);
  return countDistinct(nonZeros) < nonZeros.length;
}
