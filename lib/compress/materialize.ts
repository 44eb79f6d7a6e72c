import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { loadBinding } from '../native.js';
import type { ChainCodebook, ChainFakeQuant } from './chains.js';
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

/** A range: one entry, or one per channel (last axis). Symmetric and narrow, as in the default schemes: `[-a, a]`, `a = max|ŵ|`. */
export interface WeightRange {
  readonly min: Float32Array;
  readonly max: Float32Array;
}

/**
 * Range of a weight as its fake quantization uses it: that of {@link materializeWeight}, or the stored one where the chain's quantizer
 * averages, widens or fixes it. Per channel if the chain says so; `[-a, a]` without fake quantization.
 *
 * @param options.perChannel - overrides the chain: the range is then that of the present weight (default: the chain's setting, `false`
 *   without fake quantization)
 * @throws {@link PcqatError} as {@link materializeWeight}
 * @example
 * ```ts
 * import { weightRange, zoo } from 'pcqat';
 * const model = zoo.lenet5();
 * console.log(weightRange(model, 'conv1/kernel', { perChannel: true }).max.length); // one per filter
 * ```
 */
export function weightRange(model: Model, parameter: string, options: { readonly perChannel?: boolean } = {}): WeightRange {
  const fakeQuant = model.chains.get(parameter)?.fakeQuant;
  if (options.perChannel === undefined && fakeQuant?.update !== undefined && fakeQuant.update !== 'lastValue') {
    const stored = (state: 'min' | 'max'): Float32Array => stateOf(model, parameter, state, Float32Array).slice();
    return { min: stored('min'), max: stored('max') };
  }
  const perChannel = options.perChannel ?? fakeQuant?.perChannel ?? false;
  const channels = perChannel ? weightOf(model, parameter).channels : 0;
  return rangeOf(materializeWeight(model, parameter), channels, fakeQuant);
}

/**
 * Range of a weight per channel (last axis), or of all of it when `channels` is 0, as spec 3.4 forms it in f32; 0 is always in it.
 * Without a rule: `[-a, a]`.
 */
export function rangeOf(
  weight: Float32Array,
  channels: number,
  rule: Partial<Pick<ChainFakeQuant, 'bits' | 'symmetric' | 'narrowRange'>> = {},
): WeightRange {
  const { bits = 8, symmetric = true, narrowRange = true } = rule;
  const range = { min: new Float32Array(channels || 1), max: new Float32Array(channels || 1) };
  if (symmetric && narrowRange) {
    loadBinding().symmetricRange(weight, channels, range.min, range.max);
    return range;
  }
  const { min, max } = range;
  weight.forEach((value, i) => {
    const c = channels === 0 ? 0 : i % channels;
    min[c] = Math.min(min[c] ?? 0, value);
    max[c] = Math.max(max[c] ?? 0, value);
  });
  if (!symmetric) return range;
  const ratio = -(2 ** bits - 2) / 2 ** bits;
  min.forEach((low, c) => {
    const high = max[c] ?? 0;
    min[c] = Math.min(low, high / ratio) + 0; // no −0
    max[c] = Math.max(high, low * ratio);
  });
  return range;
}
