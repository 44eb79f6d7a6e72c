import type { ChainCodebook } from '../compress/chains.js';
import { countDistinct } from '../compress/clustering/count-distinct.js';
import { materializeWeight, pinnedCentroids } from '../compress/materialize.js';
import { sparsityOf } from '../compress/sparsity/metrics.js';
import { stateOf, weightOf } from '../compress/state.js';
import type { Model } from '../graph/model.js';
import { loadBinding } from '../native.js';
import type { LayerSummary } from './history.js';

/** Numbers of values in equal bins. */
export interface ValueHistogram {
  /** Lower edge of the first bin. */
  readonly min: number;
  /** Upper edge of the last bin, which the value `max` falls into. */
  readonly max: number;
  /** 30 bins; their sum is the number of values. */
  readonly counts: Uint32Array;
}

/** A codebook in training. */
export interface CodebookSummary {
  /** `[K]`, or `[channels, K]` row-major; pinned zeros are 0. */
  readonly centroids: Float32Array;
  /** How many weights use each centroid, in the same order: with `centroids` the exact histogram of the used weights. */
  readonly counts: Uint32Array;
  /** Of the weights before clustering, which move between centroids. */
  readonly weights: ValueHistogram;
}

/** What a weight chain looks like now. */
export interface WeightSummary extends LayerSummary {
  /** 1 − mean of the mask; only for weights with a mask. */
  readonly maskSparsity?: number;
  /** Only for weights with a codebook. */
  readonly codebook?: CodebookSummary;
}

/** As many as TensorBoard's histograms have. */
const BINS = 30;

/** Sparsity, threshold and distinct values of every weight that has a chain, from the model's present state. */
export function summarizeChains(model: Model): LayerSummary[] {
  return Array.from(model.chains, ([weight, chain]) => {
    const used = materializeWeight(model, weight);
    const threshold = model.tensors.get(`${weight}:threshold`)?.data[0];
    return {
      weight,
      sparsity: sparsityOf(used),
      ...(chain.codebook === undefined ? {} : { distinct: countDistinct(used) }),
      ...(chain.mask?.pruning === undefined || threshold === undefined ? {} : { threshold }),
    };
  });
}

/** {@link summarizeChains} with masks and codebooks. */
export function summarizeWeights(model: Model): WeightSummary[] {
  return summarizeChains(model).map((layer) => {
    const chain = model.chains.get(layer.weight);
    return {
      ...layer,
      ...(chain?.mask === undefined ? {} : { maskSparsity: sparsityOf(stateOf(model, layer.weight, 'mask', Uint8Array)) }),
      ...(chain?.codebook === undefined ? {} : { codebook: summarizeCodebook(model, layer.weight, chain.codebook) }),
    };
  });
}

function summarizeCodebook(model: Model, parameter: string, codebook: ChainCodebook): CodebookSummary {
  const { data, channels: last } = weightOf(model, parameter);
  const channels = codebook.perChannel ? last : 0;
  const centroids = pinnedCentroids(model, parameter, codebook);
  const k = centroids.length / (channels || 1);
  const weights = data.slice();
  const mask = model.tensors.get(`${parameter}:mask`)?.data;
  if (mask instanceof Uint8Array) loadBinding().applyMask(weights, mask);
  const indices = new Int32Array(weights.length);
  loadBinding().assignCentroids(weights, centroids, channels, indices);
  const counts = new Uint32Array(centroids.length);
  indices.forEach((index, i) => {
    const centroid = (channels === 0 ? 0 : i % channels) * k + index;
    counts[centroid] = (counts[centroid] ?? 0) + 1;
  });
  return { centroids, counts, weights: histogramOf(weights) };
}

function histogramOf(values: Float32Array): ValueHistogram {
  let [min, max] = [Infinity, -Infinity];
  for (const value of values) [min, max] = [Math.min(min, value), Math.max(max, value)];
  const counts = new Uint32Array(BINS);
  const scale = max > min ? BINS / (max - min) : 0;
  for (const value of values) {
    const bin = Math.min(BINS - 1, Math.floor((value - min) * scale));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return { min, max, counts };
}
