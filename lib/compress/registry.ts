import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import type { Conv2dNode, DenseNode, DepthwiseConv2dNode, GraphNode } from '../graph/types.js';
import type { OnNotice } from './notice.js';

/** A node whose kernel can be compressed. */
export type WeightedNode = Conv2dNode | DepthwiseConv2dNode | DenseNode;

/** Nodes to treat: their names, or a predicate over the nodes that the technique can treat. */
export type LayerSelection = readonly string[] | ((node: WeightedNode) => boolean);

/** Does the node have a kernel that techniques treat? */
export function isWeighted(node: GraphNode): node is WeightedNode {
  return node.op === 'conv2d' || node.op === 'depthwiseConv2d' || node.op === 'dense';
}

/** Nodes that pruning, clustering and their preserving schemes treat without being told: as the reference, not depthwise (spec 1.2, 2.2, 4.2). */
export function isSharedByDefault(node: WeightedNode): boolean {
  return node.op !== 'depthwiseConv2d';
}

/** Is the last axis of the node's kernel its output channels, so that each can have a codebook of its own? Dense layers always have one. */
export function hasChannels(node: WeightedNode): boolean {
  return node.op !== 'dense';
}

/** Parameter name of a node's kernel. Biases are never compressed. */
export function kernelOf(node: WeightedNode): string {
  return `${node.name}/kernel`;
}

/** Every node with a kernel, in graph order. */
export function weightedNodes(model: Model): WeightedNode[] {
  return model.graph.nodes.filter(isWeighted);
}

/**
 * The nodes a call treats. Without a selection: every conv2d and dense; depthwise kernels are left out with a notice.
 *
 * @throws PcqatError `ERR_UNKNOWN_LAYER` that lists the candidates when a name is not a layer with a kernel
 */
export function selectLayers(model: Model, layers: LayerSelection | undefined, onNotice: OnNotice): WeightedNode[] {
  const candidates = weightedNodes(model);
  if (typeof layers === 'function') return candidates.filter(layers);
  if (layers !== undefined) {
    const byName = new Map(candidates.map((node) => [node.name, node]));
    const names = new Set(layers);
    for (const name of names) {
      if (!byName.has(name)) {
        throw new PcqatError('ERR_UNKNOWN_LAYER', `'${name}' is no layer with weights that can be compressed`, {
          where: 'layers',
          remedy: `Candidates are ${[...byName.keys()].join(', ')}.`,
        });
      }
    }
    return candidates.filter((node) => names.has(node.name));
  }
  return candidates.filter((node) => {
    if (isSharedByDefault(node)) return true;
    onNotice({
      code: 'depthwise-not-selected',
      layer: node.name,
      message: 'A depthwise kernel is small and sensitive, so it is left alone; name it in `layers` to include it.',
    });
    return false;
  });
}
