import type { Model } from '../../graph/model.js';
import { materializeWeight, rangeOf } from '../materialize.js';
import { draftOf, dropStates, weightOf } from '../state.js';

/**
 * Ends cluster preservation after CQAT or PCQAT (tfmot `strip_clustering_cqat`): kernels become C[I] of the final state, the
 * codebooks go, fake quantization stays. What `convertToInt8` writes is the same before and after. Unlike the reference's, the
 * result includes the last centroid update (fixes W28). A zero mask stays.
 *
 * @returns a new model
 * @throws {@link PcqatError} `ERR_INVARIANT` when a codebook is missing
 * @example
 * ```ts
 * import { Default8BitClusterPreserveQuantizeScheme, clusterWeights, quantizeModel, stripClustering, stripClusteringCqat, zoo } from 'pcqat';
 * const clustered = clusterWeights(zoo.lenet5(), { numberOfClusters: 16 });
 * const cqat = quantizeModel(stripClustering(clustered), { scheme: new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false }) });
 * console.log(stripClusteringCqat(cqat).chains.get('conv1/kernel')?.codebook); // undefined
 * ```
 */
export function stripClusteringCqat(model: Model): Model {
  const draft = draftOf(model);
  for (const [parameter, chain] of model.chains) {
    const { codebook, fakeQuant, mask } = chain;
    if (codebook === undefined || fakeQuant === undefined) continue;
    const { shape, channels } = weightOf(model, parameter);
    const data = materializeWeight(model, parameter);
    draft.tensors.set(parameter, { shape, data });
    if (fakeQuant.update === undefined || fakeQuant.update === 'lastValue') {
      const range = rangeOf(data, fakeQuant.perChannel ? channels : 0, fakeQuant);
      draft.tensors.set(`${parameter}:min`, { shape: [range.min.length], data: range.min });
      draft.tensors.set(`${parameter}:max`, { shape: [range.max.length], data: range.max });
    }
    dropStates(draft, parameter, ['centroids', 'indices', 'zero_index']);
    draft.chains.set(
      parameter,
      mask === undefined
        ? { technique: 'qat', fakeQuant }
        : { technique: 'pqat', mask: { writeBack: false, maskGradient: true }, fakeQuant },
    );
  }
  return draft;
}
