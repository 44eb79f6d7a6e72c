import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import type { CompressionNotice, OnNotice } from '../notice.js';
import { warnNotice } from '../notice.js';
import { kernelOf, selectLayers, type LayerSelection, type WeightedNode } from '../registry.js';
import { normalizeBatchNormSigns } from '../quantization/normalize-signs.js';
import { draftOf, forgetClusters, requireFinite, weightOf, type ModelDraft, type WeightView } from '../state.js';
import { poolBlocks } from './blocks.js';
import { requirePolicy, type LayerPolicy } from './layer-policy.js';
import { sparsityOf } from './metrics.js';
import { constantSparsity, validateSchedule } from './schedules.js';
import type { PruningPolicy, PruningSchedule } from './types.js';

/** Options of {@link pruneLowMagnitude}. */
export interface PruneOptions {
  /** When masks change and how many weights go. Default: 50 %, every 100 steps, without end. */
  readonly schedule?: PruningSchedule;
  /** Prune whole `[rows, columns]` blocks; every selected weight must have rank 2. Default `[1, 1]`. */
  readonly blockSize?: readonly [number, number];
  /** How a block's magnitude is pooled: mean or maximum of |w|. Default `AVG`. */
  readonly blockPooling?: 'AVG' | 'MAX';
  /** `[m, n]`: m zeros in every n consecutive values along the input axis, at step 1; overrides schedule and blocks. */
  readonly mByN?: readonly [number, number];
  /** Layers to prune. Default: all with a kernel but depthwise ones. */
  readonly layers?: LayerSelection;
  /** Checks the graph, and leaves out layers of the selection that it does not allow. Default: none. */
  readonly policy?: LayerPolicy;
  /**
   * Make every batch norm scale positive first ({@link normalizeBatchNormSigns}), so that folding never negates the codes of
   * a channel. The function of the model stays the same. Default `true`.
   */
  readonly normalizeSigns?: boolean;
  /** Told what was skipped and why. Default: a process warning when weights stay unpruned against the request. */
  readonly onNotice?: OnNotice;
}

/**
 * Prepares a model for magnitude pruning while it trains (Zhu & Gupta 2017, spec section 1; tfmot `prune_low_magnitude`).
 *
 * The selected kernels get the chain ŵ = w ⊙ M; `fit` recomputes M by the schedule. The source model is not touched and the
 * result computes the same function until the first mask update. Weights that are zero already stay zero (fixes W25). A layer
 * that is being pruned already keeps its mask and schedule. Finish with {@link stripPruning}.
 *
 * @throws {@link PcqatError} `ERR_OPTION` for a bad schedule, block, m-by-n or policy, `ERR_SHAPE` for blocks on a weight that is not
 *   rank 2 or m-by-n on one that is not rank 2 or 4, `ERR_UNKNOWN_LAYER`, `ERR_UNSUPPORTED` for a clustered or quantized weight,
 *   `ERR_NON_FINITE`, and what the policy throws for the graph
 * @example
 * ```ts
 * import { constantSparsity, pruneLowMagnitude, zoo } from 'pcqat';
 * const model = zoo.lenet5();
 * const pruned = pruneLowMagnitude(model, { schedule: constantSparsity({ targetSparsity: 0.8 }) });
 * console.log(pruned.chains.get('conv1/kernel')?.technique); // prune
 * ```
 */
export function pruneLowMagnitude(model: Model, options: PruneOptions = {}): Model {
  const policy = policyOf(options);
  const onNotice = options.onNotice ?? warnNotice;
  const draft = draftOf(options.normalizeSigns === false ? model : normalizeBatchNormSigns(model));
  for (const node of allowedLayers(model, options, onNotice)) {
    const notice = pruneWeight(draft, node.name, kernelOf(node), policy);
    if (notice !== undefined) onNotice(notice);
  }
  return draft;
}

/** The selection without the layers that the policy leaves out. */
function allowedLayers(model: Model, { layers, policy }: PruneOptions, onNotice: OnNotice): WeightedNode[] {
  const selected = selectLayers(model, layers, onNotice);
  if (policy === undefined) return selected;
  requirePolicy(policy);
  policy.check(model.graph);
  return selected.filter((node) => {
    if (policy.allows(node, model.graph)) return true;
    onNotice({ code: 'not-allowed', layer: node.name, message: `The policy ${policy.name} leaves the layer unpruned.` });
    return false;
  });
}

function pruneWeight(draft: ModelDraft, layer: string, parameter: string, policy: PruningPolicy): CompressionNotice | undefined {
  const chain = draft.chains.get(parameter);
  if (chain?.technique === 'prune')
    return { code: 'already-treated', layer, message: 'The layer is being pruned already; it keeps its mask and schedule.' };
  if (chain !== undefined) {
    throw new PcqatError('ERR_UNSUPPORTED', `a weight with a ${chain.technique} chain cannot be pruned`, {
      where: `layer '${layer}'`,
      remedy: 'Prune first, then cluster, then quantize; strip one technique before the next.',
    });
  }
  const weight = weightOf(draft, parameter);
  requireFinite(weight);
  if (policy.blockSize.some((length) => length > 1) && weight.shape.length !== 2) {
    throw new PcqatError(
      'ERR_SHAPE',
      `blocks of ${policy.blockSize.join('×')} need a rank-2 weight, but the kernel has shape [${weight.shape.join(', ')}]`,
      {
        where: `layer '${layer}'`,
        remedy: 'Select dense layers with `layers`, or prune the rest without blocks.',
      },
    );
  }
  if (policy.mByN !== undefined && weight.shape.length !== 2 && weight.shape.length !== 4) {
    throw new PcqatError('ERR_SHAPE', `m-by-n pruning needs a kernel of rank 2 or 4, but it has shape [${weight.shape.join(', ')}]`, {
      where: `layer '${layer}'`,
      remedy: 'Select dense layers and 2-D convolutions with `layers`.',
    });
  }
  const zeros = sparsityOf(weight.data);
  const minimum = zeros === 1 ? 0 : zeroFraction(weight, policy);
  const pruning = minimum > 0 ? { ...policy, minimumSparsity: minimum } : policy;
  draft.chains.set(parameter, { technique: 'prune', mask: { writeBack: true, maskGradient: false, pruning } });
  forgetClusters(draft, parameter);
  draft.tensors.set(`${parameter}:mask`, { shape: weight.shape, data: initialMask(weight, zeros) });
  draft.tensors.set(`${parameter}:threshold`, { shape: [1], data: new Float32Array(1) });
  draft.tensors.set(`${parameter}:pruning_step`, { shape: [1], data: Int32Array.of(-1) });
  return zeros === 1 ? { code: 'all-zero', layer, message: 'Every weight is zero, so magnitudes cannot rank them.' } : undefined;
}

/** Zeros that are there already stay masked from the first step on; otherwise everything is kept until the first update. */
function initialMask(weight: WeightView, zeros: number): Uint8Array {
  return Uint8Array.from(weight.data, (value) => (value !== 0 || zeros === 1 ? 1 : 0));
}

/** Fraction of units (weights, or whole blocks) that are zero. */
function zeroFraction(weight: WeightView, { blockSize }: PruningPolicy): number {
  const isBlocked = blockSize.some((length) => length > 1);
  return sparsityOf(isBlocked ? poolBlocks(weight, blockSize, 'MAX') : weight.data);
}

function policyOf(options: PruneOptions): PruningPolicy {
  const { schedule = constantSparsity({ targetSparsity: 0.5 }), blockSize = [1, 1], blockPooling = 'AVG', mByN } = options;
  validateSchedule(schedule);
  requirePositivePair('blockSize', blockSize);
  if (blockPooling !== 'AVG' && blockPooling !== 'MAX') {
    throw new PcqatError('ERR_OPTION', `blockPooling is '${String(blockPooling)}' but must be 'AVG' or 'MAX'`, { where: 'blockPooling' });
  }
  if (mByN === undefined) return { schedule, blockSize, blockPooling };
  requirePositivePair('mByN', mByN);
  if (mByN[0] >= mByN[1]) throw new PcqatError('ERR_OPTION', `mByN is [${mByN.join(', ')}] but m must be less than n`, { where: 'mByN' });
  return { schedule, blockSize: [1, 1], blockPooling, mByN };
}

function requirePositivePair(field: string, pair: readonly [number, number]): void {
  if (!(Array.isArray(pair) && pair.length === 2 && pair.every((value) => Number.isSafeInteger(value) && value >= 1))) {
    throw new PcqatError('ERR_OPTION', `${field} is ${JSON.stringify(pair)} but must be two positive integers`, { where: field });
  }
}
