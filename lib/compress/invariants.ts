import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { pinnedCentroids } from './materialize.js';
import { stateOf, weightOf } from './state.js';

/**
 * Checks that the stored state of a weight's chain can keep what the chain promises: masks hold 0 and 1, there is a codebook (for each
 * channel), indices and zero indices are inside it, and a codebook with masked weights has a zero for them. The core checks the rest
 * on the weights in use, after every forward pass.
 *
 * @throws PcqatError `ERR_INVARIANT` naming the layer and the number of entries; what {@link weightOf} throws
 */
export function checkChain(model: Model, parameter: string): void {
  const chain = model.chains.get(parameter);
  if (chain === undefined) return;
  const { data, channels } = weightOf(model, parameter);
  const broken = (problem: string): PcqatError =>
    new PcqatError('ERR_INVARIANT', problem, {
      where: `layer '${parameter.slice(0, parameter.lastIndexOf('/'))}'`,
      remedy: 'Build chains with pruneLowMagnitude, clusterWeights or quantizeApply.',
    });
  const none = (state: string, values: ArrayLike<number>, isBad: (value: number) => boolean, rule: string): void => {
    const count = Array.prototype.filter.call(values, isBad).length;
    if (count > 0) throw broken(`${count} entries of its ${state} are not ${rule}`);
  };
  const long = (state: string, values: ArrayLike<number>, length: number): void => {
    if (values.length !== length) throw broken(`its ${state} has ${values.length} entries but must have ${length}`);
  };
  const mask = chain.mask === undefined ? undefined : stateOf(model, parameter, 'mask', Uint8Array);
  if (mask !== undefined) {
    long('mask', mask, data.length);
    none('mask', mask, (value) => value > 1, '0 or 1');
  }
  if (chain.codebook === undefined) return;
  const rows = chain.codebook.perChannel ? channels : 1;
  const centroids = stateOf(model, parameter, 'centroids', Float32Array);
  const indices = stateOf(model, parameter, 'indices', Int32Array);
  const k = centroids.length / rows;
  if (!(Number.isInteger(k) && k >= 1)) throw broken(`${centroids.length} centroids do not make ${rows} codebooks`);
  long('indices', indices, data.length);
  none('indices', indices, (index) => index < 0 || index >= k, `in [0, ${k})`);
  if (chain.codebook.zeroPin !== undefined) {
    const zeroIndex = stateOf(model, parameter, 'zero_index', Int32Array);
    long('zero index', zeroIndex, rows);
    none('zero index', zeroIndex, (index) => index < -1 || index >= k, `in [-1, ${k})`);
  }
  if (mask === undefined) return;
  const pinned = pinnedCentroids(model, parameter, chain.codebook);
  const hasZero = Array.from({ length: rows }, (_, row) => pinned.subarray(row * k, (row + 1) * k).includes(0));
  const homeless = mask.filter((keep, i) => keep === 0 && hasZero[i % rows] !== true).length;
  if (homeless > 0) throw broken(`${homeless} weights are masked but their codebook has no zero`);
}
