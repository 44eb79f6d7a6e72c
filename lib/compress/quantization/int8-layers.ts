import type { ActivationQuantizer } from '../chains.js';
import type { BatchNormNode, Graph, GraphNode } from '../../graph/types.js';
import { isWeighted } from '../registry.js';

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

/**
 * Groups the nodes that the output needs into int8 operators: batch norm goes into the layer with a kernel before it, ReLU
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
    const batchNorm = isWeighted(node) ? absorb((next) => next.op === 'batchNorm') : undefined;
    const relu = absorbsRelu(node) ? absorb((next) => next.op in RELU_NAMES) : undefined;
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

function absorbsRelu(node: GraphNode): boolean {
  return isWeighted(node) || node.op === 'batchNorm' || node.op === 'add' || node.op === 'multiply';
}

/** Has the layer's output its own scale and zero point? Others keep those of their input, or have fixed ones. */
export function needsRange({ node }: Int8Layer): boolean {
  switch (node.op) {
    case 'averagePool1d': // TFLite wants equal parameters on both sides
    case 'averagePool2d':
    case 'maxPool1d':
    case 'maxPool2d':
    case 'upSampling2d':
    case 'zeroPad2d':
    case 'flatten':
    case 'reshape':
    case 'softmax':
    case 'sigmoid':
    case 'tanh':
      return false;
    default:
      return true;
  }
}

/**
 * Layers whose output takes the scale and zero point of the concat that alone reads it, by output: TFLite wants one scale on all sides
 * of a concatenation. A layer with a trained range of its own, or without any, cannot; its value is requantized.
 */
export function concatOf(layers: readonly Int8Layer[], quantizers: ReadonlyMap<string, ActivationQuantizer>): ReadonlyMap<string, string> {
  const readers = new Map<string, Int8Layer[]>();
  for (const layer of layers) for (const input of layer.inputs) readers.set(input, [...(readers.get(input) ?? []), layer]);
  const result = new Map<string, string>();
  // From the last to the first, so that a concat inside a chain has found its own before its inputs ask.
  for (const layer of [...layers].reverse()) {
    const [reader, ...others] = readers.get(layer.output) ?? [];
    if (reader?.node.op !== 'concat' || others.length > 0) continue;
    if (layer.node.op === 'input' || !needsRange(layer) || quantizers.has(layer.output)) continue;
    result.set(layer.output, result.get(reader.output) ?? reader.output);
  }
  return result;
}

function neededNodes({ nodes }: Graph): GraphNode[] {
  const needed = new Set([nodes.at(-1)?.name]);
  for (const node of [...nodes].reverse()) if (needed.has(node.name)) node.inputs.forEach((input) => needed.add(input));
  return nodes.filter(({ name }) => needed.has(name));
}
