import type { Model } from '../../graph/model.js';
import { materializeWeight } from '../materialize.js';
import { clusteredAs, draftOf, dropStates, stateOf, weightOf } from '../state.js';

/**
 * Ends clustering: every clustered kernel becomes C[I], assigned once more so that the last optimizer step counts, and its
 * chain and codebook go. Weights of one cluster are bit-equal; zeros are +0. The weight remembers how it was clustered, so that
 * `quantizeApply` preserves it the same way (fixes W4, W5).
 *
 * @returns a new model; other techniques' chains stay
 * @throws {@link PcqatError} `ERR_INVARIANT` when the codebook is missing
 * @example
 * ```ts
 * import { clusterWeights, stripClustering, zoo } from 'pcqat';
 * const clustered = clusterWeights(zoo.lenet5(), { numberOfClusters: 16 });
 * console.log(stripClustering(clustered).chains.size); // 0
 * ```
 */
export function stripClustering(model: Model): Model {
  const draft = draftOf(model);
  for (const [parameter, chain] of model.chains) {
    if (chain.technique !== 'cluster' || chain.codebook === undefined) continue;
    const { shape, channels } = weightOf(model, parameter);
    const { perChannel } = chain.codebook;
    const k = stateOf(model, parameter, 'centroids', Float32Array).length / (perChannel ? channels : 1);
    draft.tensors.set(parameter, { shape, data: materializeWeight(model, parameter) });
    draft.chains.delete(parameter);
    dropStates(draft, parameter, ['mask', 'centroids', 'indices', 'zero_index']);
    draft.tensors.set(`${parameter}:${clusteredAs}`, { shape: [2], data: Int32Array.of(k, perChannel ? 1 : 0) });
  }
  return draft;
}
