import type { Model } from '../../graph/model.js';
import { materializeWeight } from '../materialize.js';
import { draftOf, dropStates } from '../state.js';

/**
 * Ends pruning: every pruned kernel becomes w ⊙ M for good, with exact +0 where the mask is 0, and its chain, mask, threshold
 * and step go. Unlike the reference it applies the mask itself, so it is right in the middle of an epoch too (fixes W26, W27).
 *
 * @returns a new model; other techniques' chains stay
 * @throws {@link PcqatError} `ERR_INVARIANT` when a mask is missing
 * @example
 * ```ts
 * import { pruneLowMagnitude, stripPruning, zoo } from 'pcqat';
 * const pruned = pruneLowMagnitude(zoo.lenet5());
 * console.log(stripPruning(pruned).chains.size); // 0
 * ```
 */
export function stripPruning(model: Model): Model {
  const draft = draftOf(model);
  for (const [parameter, chain] of model.chains) {
    if (chain.technique !== 'prune') continue;
    const shape = model.tensors.get(parameter)?.shape ?? [];
    draft.tensors.set(parameter, { shape, data: materializeWeight(model, parameter) });
    draft.chains.delete(parameter);
    dropStates(draft, parameter, ['mask', 'threshold', 'pruning_step']);
  }
  return draft;
}
