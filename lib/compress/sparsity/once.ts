import type { Model } from '../../graph/model.js';
import { materializeWeight } from '../materialize.js';
import { stateOf } from '../state.js';
import { updateMask } from './mask.js';
import { pruneLowMagnitude, type PruneOptions } from './prune.js';
import { constantSparsity } from './schedules.js';

/** Options of {@link pruneOnce}. */
export interface PruneOnceOptions extends Omit<PruneOptions, 'schedule'> {
  /** Fraction of zeros, in [0, 1). Not used with `mByN`. */
  readonly targetSparsity: number;
}

/**
 * Prunes at once, without training: masks are computed from the weights as they are and applied. For measuring what sparsity would
 * bring before training for it, since accuracy suffers (tfmot `prune_for_benchmark`, spec 1.7). Layers that are being pruned
 * already are left as they are. Finish with {@link stripPruning}.
 *
 * @throws {@link PcqatError} as {@link pruneLowMagnitude}
 * @example
 * ```ts
 * import { pruneOnce, sparsityOf, stripPruning, zoo } from 'pcqat';
 * const sparse = stripPruning(pruneOnce(zoo.lenet5(), { targetSparsity: 0.8 }));
 * console.log(sparsityOf(sparse.tensors.get('conv2/kernel')?.data ?? [])); // 0.8
 * ```
 */
export function pruneOnce(model: Model, options: PruneOnceOptions): Model {
  const { targetSparsity, ...rest } = options;
  const pruned = pruneLowMagnitude(model, { ...rest, schedule: constantSparsity({ targetSparsity }) });
  for (const [parameter, { mask: chain }] of pruned.chains) {
    const weight = pruned.tensors.get(parameter);
    if (model.chains.has(parameter) || chain?.pruning === undefined || weight === undefined) continue;
    const { mask, threshold } = updateMask(weight, chain.pruning, targetSparsity);
    stateOf(pruned, parameter, 'mask', Uint8Array).set(mask);
    stateOf(pruned, parameter, 'threshold', Float32Array).fill(threshold);
    weight.data.set(materializeWeight(pruned, parameter));
  }
  return pruned;
}
