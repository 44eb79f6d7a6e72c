import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import type { GraphNode, Shape } from '../graph/types.js';
import type { OnNotice } from './notice.js';

const weightedOps = ['conv2d', 'depthwiseConv2d', 'conv1d', 'depthwiseConv1d', 'conv2dTranspose', 'dense'] as const;

/** A node whose kernel can be compressed. */
export type WeightedNode = Extract<GraphNode, { readonly op: (typeof weightedOps)[number] }>;

/** Nodes to treat: their names, or a predicate over the nodes that the technique can treat. */
export type LayerSelection = readonly string[] | ((node: WeightedNode) => boolean);

/** Does the node have a kernel that techniques treat? */
export function isWeighted(node: GraphNode): node is WeightedNode {
  return (weightedOps as readonly string[]).includes(node.op);
}

/** Nodes that pruning, clustering and their preserving schemes treat without being told: as the reference, not depthwise (spec 1.2, 2.2, 4.2). */
export function isSharedByDefault(node: WeightedNode): boolean {
  return node.op !== 'depthwiseConv2d' && node.op !== 'depthwiseConv1d';
}

/**
 * May the kernel have a codebook or a range for each channel? Those go by its last axis: the output channel of a convolution, the
 * multiplier of a depthwise one. A dense layer has one (spec 2.1, 3.2), and so has a transposed convolution, whose last axis is
 * *input* channels (W10).
 */
export function hasChannelAxis(node: WeightedNode): boolean {
  return node.op !== 'dense' && node.op !== 'conv2dTranspose';
}

/** The output channel that each element of a node's kernel works for, by the element's index. */
export function outputChannelOf(node: WeightedNode, kernel: Shape): (element: number) => number {
  const [outer = 1, last = 1] = kernel.slice(-2);
  if (node.op === 'conv2dTranspose') return (element) => Math.floor(element / last) % outer;
  const channels = isSharedByDefault(node) ? last : outer * last;
  return (element) => element % channels;
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
 * The nodes a call treats. Without a selection: all but depthwise kernels, which are left out with a notice.
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
