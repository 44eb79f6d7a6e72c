import { loadBinding } from '../../native.js';

/** How the first codebook is chosen (spec 2.4). */
export type CentroidInit = 'linear' | 'random' | 'density-based' | 'kmeans++';

/** The four initialisers. */
export const centroidInits: readonly CentroidInit[] = ['linear', 'random', 'density-based', 'kmeans++'];

/**
 * First codebook of one set of values: at most `k` centroids, bit-equal to the reference's where it has any.
 *
 * With `preserveSparsity` one centroid is exactly 0 and the others are shared out between the signs by their number of weights.
 * Where a sign has fewer weights than its share (k-means++ of the reference fails there, W30), each of its weights becomes a
 * centroid and the other sign gets what is left over.
 *
 * @param seed - of `random` only
 */
export function initialCentroids(
  values: Float32Array,
  init: CentroidInit,
  k: number,
  preserveSparsity: boolean,
  seed: number,
): Float32Array {
  const native = loadBinding();
  if (!preserveSparsity) return native.initCentroids(values, init, Math.min(k, values.length), false, seed);
  const negative = values.filter((value) => value < 0);
  const positive = values.filter((value) => value > 0);
  const nonZeros = negative.length + positive.length;
  const negativeShare = nonZeros === 0 ? 0 : roundHalfEven(((k - 1) * negative.length) / nonZeros);
  const positiveShare = k - 1 - negativeShare;
  if (init !== 'kmeans++' || (negativeShare <= negative.length && positiveShare <= positive.length)) {
    return native.initCentroids(values, init, k, true, seed);
  }
  const fewNegatives = negativeShare > negative.length;
  const negatives = Math.min(negative.length, fewNegatives ? negativeShare : k - 1 - positive.length);
  const positives = Math.min(positive.length, k - 1 - negatives);
  const part = (side: Float32Array, count: number) =>
    count > 0 ? native.initCentroids(side, init, count, false, seed) : new Float32Array(0);
  return Float32Array.of(...part(negative, negatives), 0, ...part(positive, positives));
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
