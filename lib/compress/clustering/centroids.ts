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
  // Without preserveSparsity k-means++ refuses to pick more centroids than there are weights.
  const most = preserveSparsity ? k : Math.min(k, values.length);
  return loadBinding().initCentroids(values, init, most, preserveSparsity, seed);
}
