import type { ActivationQuantizer } from '../chains.js';
import type { BatchNormNode, Graph, GraphNode } from '../../graph/types.js';

/** Activation fused into an operator, by its TFLite name. */
export type FusedActivation = 'NONE' | 'RELU' | 'RELU6';

/** One int8 operator: a node with the batch norm and ReLU that it absorbs. */
export interface Int8Layer {
  readonly node: Exclude<GraphNode, { op: 'dropout' }>;
  readonly batchNorm?: BatchNormNode;
  readonly activation: FusedActivation;
  /** Name of the last absorbed node: what the layer's output is called. */
  readonly output: string;
  /** Outputs of other layers. */
  readonly inputs: readonly string[];
}

const RELU_NAMES = { relu: 'RELU', relu6: 'RELU6' } as const;
const ABSORBS_RELU: ReadonlySet<GraphNode['op']> = new Set(['conv2d', 'depthwiseConv2d', 'dense', 'batchNorm', 'add']);

/**
 * Groups the nodes that the output needs into int8 operators: batch norm goes into the convolution or dense layer before it, ReLU
 * into what it follows, dropout vanishes. A node with its own fake quantization ends its group, as does one with several readers.
 */
export function int8Layers(graph: Graph, quantizers: ReadonlyMap<string, ActivationQuantizer>): Int8Layer[] {
  const nodes = neededNodes(graph);
  const readers = new Map<string, GraphNode[]>();
  for (const node of nodes) for (const input of node.inputs) readers.set(input, [...(readers.get(input) ?? []), node]);
  const onlyReader = (name: string): GraphNode | undefined => {
    const found = readers.get(name) ?? [];
    return found.length === 1 ? found[0] : undefined;
  };
  const produced = new Map<string, string>(); // node → output of its group
  const layers: Int8Layer[] = [];
  for (const node of nodes) {
    if (produced.has(node.name)) continue;
    const inputs = node.inputs.map((input) => produced.get(input) ?? input);
    if (node.op === 'dropout') {
      produced.set(node.name, inputs[0] ?? '');
      continue;
    }
    const group = [node.name];
    let last = node.name;
    const absorb = (accepts: (next: GraphNode) => boolean): GraphNode | undefined => {
      const next = quantizers.has(last) ? undefined : onlyReader(last);
      if (next === undefined || !accepts(next)) return undefined;
      last = next.name;
      group.push(last);
      return next;
    };
    const weighted = node.op === 'conv2d' || node.op === 'depthwiseConv2d' || node.op === 'dense';
    const batchNorm = weighted ? absorb((next) => next.op === 'batchNorm') : undefined;
    const relu = ABSORBS_RELU.has(node.op) ? absorb((next) => next.op in RELU_NAMES) : undefined;
    for (const name of group) produced.set(name, last);
    layers.push({
      node,
      activation: relu === undefined ? 'NONE' : RELU_NAMES[relu.op as keyof typeof RELU_NAMES],
      output: last,
      inputs,
      ...(batchNorm === undefined ? {} : { batchNorm: batchNorm as BatchNormNode }),
    });
  }
  return layers;
}

/** Has the layer's output its own scale and zero point? Others keep those of their input, or have fixed ones (softmax). */
export function needsRange({ node }: Int8Layer): boolean {
  switch (node.op) {
    case 'averagePool2d': // TFLite wants equal parameters on both sides
    case 'maxPool2d':
    case 'zeroPad2d':
    case 'flatten':
    case 'reshape':
    case 'softmax':
      return false;
    default:
      return true;
  }
}

function neededNodes({ nodes }: Graph): GraphNode[] {
  const needed = new Set([nodes.at(-1)?.name]);
  for (const node of [...nodes].reverse()) if (needed.has(node.name)) node.inputs.forEach((input) => needed.add(input));
  return nodes.filter(({ name }) => needed.has(name));
}
