import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { loadBinding } from '../native.js';
import type { ChainCodebook } from './chains.js';
import { stateOf, weightOf } from './state.js';

/**
 * The weight that a layer uses, before fake quantization: C[I] for a clustered weight, w ⊙ M for a masked one, else w.
 * It is computed from the model's present state, so the last optimizer step is in it (the reference's export misses the
 * last centroid update, spec W28). Neither the model nor its state is changed; zeros are +0.
 *
 * @param parameter - name of a weight, e.g. `conv1/kernel`
 * @returns a new array in the order of the stored weight
 * @throws {@link PcqatError} `ERR_UNKNOWN_LAYER` for an unknown parameter, `ERR_INVARIANT` when chain state is missing
 * @example
 * ```ts
 * import { materializeWeight, pruneLowMagnitude, zoo } from 'pcqat';
 * const model = pruneLowMagnitude(zoo.lenet5());
 * console.log(materializeWeight(model, 'conv1/kernel').length);
 * ```
 */
export function materializeWeight(model: Model, parameter: string): Float32Array {
  const weight = weightOf(model, parameter);
  const chain = model.chains.get(parameter);
  const result = weight.data.slice();
  if (chain?.mask !== undefined) loadBinding().applyMask(result, stateOf(model, parameter, 'mask', Uint8Array));
  if (chain?.codebook !== undefined) {
    const native = loadBinding();
    const channels = chain.codebook.perChannel ? weight.channels : 0;
    const centroids = pinnedCentroids(model, parameter, chain.codebook);
    const indices = new Int32Array(result.length);
    native.assignCentroids(result, centroids, channels, indices);
    native.gatherCentroids(indices, centroids, channels, result);
  }
  return result;
}

/**
 * The codebook as the next forward pass would use it: a copy of the centroids with the pinned zero centroid set to 0.
 * `[K]`, or `[channels, K]` row-major.
 */
export function pinnedCentroids(model: Model, parameter: string, codebook: ChainCodebook): Float32Array {
  const centroids = stateOf(model, parameter, 'centroids', Float32Array).slice();
  if (codebook.zeroPin === undefined) return centroids;
  const zeroIndex = stateOf(model, parameter, 'zero_index', Int32Array);
  const k = centroids.length / zeroIndex.length;
  zeroIndex.forEach((index, row) => {
    if (index < 0) return;
    const codes = centroids.subarray(row * k, (row + 1) * k);
    const zero = codes[index];
    if (zero === undefined)
      throw new PcqatError('ERR_INVARIANT', `zero index ${index} is outside the codebook`, { where: `parameter '${parameter}'` });
    if (codebook.zeroPin === 'index') codes[index] = 0;
    else codes.forEach((value, i) => value === zero && (codes[i] = 0));
  });
  return centroids;
}

/** A symmetric range `[-a, a]`, `a = max|ŵ|`: one entry, or one per channel (last axis). */
export interface WeightRange {
  readonly min: Float32Array;
  readonly max: Float32Array;
}

/**
 * Range of {@link materializeWeight}, as the weight's fake quantization uses it: per channel if the chain says so.
 *
 * @param options.perChannel - overrides the chain (default: the chain's setting, `false` without fake quantization)
 * @throws {@link PcqatError} as {@link materializeWeight}
 * @example
 * ```ts
 * import { weightRange, zoo } from 'pcqat';
 * const model = zoo.lenet5();
 * console.log(weightRange(model, 'conv1/kernel', { perChannel: true }).max.length); // one per filter
 * ```
 */
export function weightRange(model: Model, parameter: string, options: { readonly perChannel?: boolean } = {}): WeightRange {
  const perChannel = options.perChannel ?? model.chains.get(parameter)?.fakeQuant?.perChannel ?? false;
  const channels = perChannel ? weightOf(model, parameter).channels : 0;
  return rangeOf(materializeWeight(model, parameter), channels);
}

/** `[-a, a]` of a weight per channel (last axis), or of all of it when `channels` is 0. */
export function rangeOf(weight: Float32Array, channels: number): WeightRange {
  const range = { min: new Float32Array(channels || 1), max: new Float32Array(channels || 1) };
  loadBinding().symmetricRange(weight, channels, range.min, range.max);
  return range;
}
