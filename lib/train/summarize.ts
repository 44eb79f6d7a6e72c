import { materializeWeight } from '../compress/materialize.js';
import { sparsityOf } from '../compress/sparsity/metrics.js';
import type { Model } from '../graph/model.js';
import type { LayerSummary } from './history.js';

/** Sparsity, threshold and distinct values of every weight that has a chain, from the model's present state. */
export function summarizeChains(model: Model): LayerSummary[] {
  return Array.from(model.chains, ([weight, chain]) => {
    const used = materializeWeight(model, weight);
    const threshold = model.tensors.get(`${weight}:threshold`)?.data[0];
    return {
      weight,
      sparsity: sparsityOf(used),
      // −0 + 0 = 0: both zeros are one value.
      ...(chain.codebook === undefined ? {} : { distinct: new Set(used.map((value) => value + 0)).size }),
      ...(chain.mask?.pruning === undefined || threshold === undefined ? {} : { threshold }),
    };
  });
}
