import type { Model } from '../../graph/model.js';
import type { BatchNormNode } from '../../graph/types.js';
import { isWeighted, kernelOf, outputChannelOf, type WeightedNode } from '../registry.js';
import { draftOf, weightOf } from '../state.js';

/** A layer with weights whose only reader is a batch norm, so that the two fold into one. */
export interface FoldedPair {
  readonly layer: WeightedNode;
  readonly batchNorm: BatchNormNode;
}

/** Every layer with weights that a batch norm follows and nothing else reads, in graph order. */
export function foldedPairs(model: Model): FoldedPair[] {
  const { nodes } = model.graph;
  const readers = new Map<string, number>();
  for (const node of nodes) for (const input of node.inputs) readers.set(input, (readers.get(input) ?? 0) + 1);
  const byName = new Map(nodes.map((node) => [node.name, node]));
  return nodes.flatMap((batchNorm) => {
    if (batchNorm.op !== 'batchNorm') return [];
    const layer = byName.get(batchNorm.inputs[0] ?? '');
    return layer !== undefined && isWeighted(layer) && readers.get(layer.name) === 1 ? [{ layer, batchNorm }] : [];
  });
}

/**
 * Names of the batch norms whose γ must stay positive in training, so that a tensor-wide codebook keeps its codes when they fold:
 * those behind a clustered kernel with one range, if every γ is positive at the start.
 */
export function positiveScales(model: Model): ReadonlySet<string> {
  const kept = foldedPairs(model).filter(({ layer, batchNorm }) => {
    const chain = model.chains.get(kernelOf(layer));
    if (chain?.codebook === undefined || chain.codebook.perChannel || chain.fakeQuant?.perChannel === true) return false;
    return model.tensors.get(`${batchNorm.name}/gamma`)?.data.every((value) => value > 0) ?? false;
  });
  return new Set(kept.map(({ batchNorm }) => batchNorm.name));
}

/**
 * Makes every batch norm scale γ positive that follows a layer with weights: where γ < 0, the channel of the kernel, its bias,
 * γ and the running mean change sign. γ(x − μ)/σ stays the same, so predictions do too, to the bit.
 *
 * After it, folding the batch norm scales the codes of a channel without negating them, and a codebook of K values stays at
 * most K int8 codes in the whole tensor. Layers that carry a weight chain are left as they are.
 *
 * @returns a new model
 * @example
 * ```ts
 * import { normalizeBatchNormSigns, zoo } from 'pcqat';
 * const model = normalizeBatchNormSigns(zoo.dsCnn({ size: 'S', classes: 10 }));
 * console.log(model.chains.size); // 0
 * ```
 */
export function normalizeBatchNormSigns(model: Model): Model {
  const draft = draftOf(model);
  for (const { layer, batchNorm } of foldedPairs(model)) {
    if (model.chains.has(kernelOf(layer))) continue;
    const gamma = weightOf(draft, `${batchNorm.name}/gamma`).data;
    const negative = Uint8Array.from(gamma, (value) => (value < 0 ? 1 : 0));
    if (!negative.includes(1)) continue;
    const negate = (name: string, channelOf = (i: number) => i): void => {
      const { data } = weightOf(draft, name);
      for (let i = 0; i < data.length; i++) if (negative[channelOf(i)] === 1) data[i] = 0 - (data[i] ?? 0);
    };
    negate(kernelOf(layer), outputChannelOf(layer, weightOf(draft, kernelOf(layer)).shape));
    if (layer.useBias) negate(`${layer.name}/bias`);
    negate(`${batchNorm.name}/gamma`);
    negate(`${batchNorm.name}/moving_mean`);
  }
  return draft;
}
