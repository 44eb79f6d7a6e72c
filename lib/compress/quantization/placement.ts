import { PcqatError } from '../../errors.js';
import type { Graph, GraphNode } from '../../graph/types.js';
import { isWeighted } from '../registry.js';

/** Where fake quantization goes. */
export interface Placement {
  /** Nodes whose output is fake-quantized, the input included. */
  readonly outputs: ReadonlySet<string>;
  /** Nodes whose kernel is fake-quantized. */
  readonly weights: ReadonlySet<string>;
}

/**
 * Places fake quantization for a set of annotated layers: the net effect of the reference's registry and layout transforms
 * (spec 3.2, 3.3, 3.6), with one fake quantization per int8 operator:
 * - input: if a layer that reads it is quantized;
 * - layers with a kernel: kernel always; output unless a batch norm or ReLU takes it over (fixes W1);
 * - batch norm: output unless a ReLU takes it over (also after dense, fixes W16). Behind a layer with weights it runs in float on the
 *   unquantized output and folds into it; anywhere else it is an int8 operator of its own, which the reference refuses;
 * - add, multiply: output unless a ReLU takes it over; ReLU, ReLU6, leaky ReLU, hard-swish, average pools, upsampling: output. The
 *   reference refuses multiply;
 * - concat: output; the fake quantizations of values that only it reads, chained concats' and ReLUs' among them, give way to its
 *   own (Q26), because TFLite wants one scale on all sides. Kernels before it stay quantized and preserved (fixes W3);
 * - max pool, padding, flatten, reshape, dropout: nothing; sigmoid, tanh, softmax: nothing behind them, their int8 range is fixed;
 * - a layer that is not annotated but alone feeds an annotated one: output only (Q5).
 */
export function placeQuantizers(graph: Graph, annotated: ReadonlySet<string>): Placement {
  const layout = new Layout(graph, annotated);
  const outputs = new Set<string>();
  const weights = new Set<string>();
  for (const node of graph.nodes) {
    if (!layout.covered.has(node.name)) continue;
    if (isWeighted(node)) weights.add(node.name);
    if (layout.quantizesOutput(node)) outputs.add(node.name);
    for (const name of node.inputs) {
      const input = layout.node(name);
      if (input.op === 'input') outputs.add(name);
      else if (node.inputs.length === 1 && !layout.covered.has(name) && hasOutputQuantizer(input)) outputs.add(name);
    }
  }
  return { outputs, weights };
}

function isRelu(node: GraphNode | undefined): boolean {
  return node?.op === 'relu' || node?.op === 'relu6';
}

/** Beside layers with kernels. */
const QUANTIZES_OUTPUT: ReadonlySet<GraphNode['op']> = new Set([
  'relu',
  'relu6',
  'leakyRelu',
  'hardSwish',
  'batchNorm',
  'add',
  'multiply',
  'concat',
  'averagePool1d',
  'averagePool2d',
  'globalAveragePool1d',
  'globalAveragePool2d',
  'upSampling2d',
]);

function hasOutputQuantizer(node: GraphNode): boolean {
  return isWeighted(node) || QUANTIZES_OUTPUT.has(node.op);
}

/** Does a ReLU behind the node take its fake quantization over? */
function yieldsToRelu(node: GraphNode): boolean {
  return isWeighted(node) || node.op === 'batchNorm' || node.op === 'add' || node.op === 'multiply';
}

class Layout {
  /** Annotated nodes, and the batch norms and ReLUs that annotated layers with weights take with them. */
  readonly covered: ReadonlySet<string>;
  private readonly nodes: ReadonlyMap<string, GraphNode>;
  private readonly readers = new Map<string, GraphNode[]>();

  constructor(graph: Graph, annotated: ReadonlySet<string>) {
    this.nodes = new Map(graph.nodes.map((node) => [node.name, node]));
    for (const node of graph.nodes) {
      for (const input of node.inputs) this.readers.set(input, [...(this.readers.get(input) ?? []), node]);
    }
    const covered = new Set(annotated);
    for (const node of graph.nodes) {
      if (!annotated.has(node.name) || !isWeighted(node)) continue;
      const next = this.onlyReader(node);
      const relu = next?.op === 'batchNorm' ? this.onlyReader(next) : next;
      if (next?.op === 'batchNorm') covered.add(next.name);
      if (relu !== undefined && isRelu(relu)) covered.add(relu.name);
    }
    this.covered = covered;
  }

  node(name: string): GraphNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new PcqatError('ERR_GRAPH', `the graph has no node '${name}'`);
    return node;
  }

  quantizesOutput(node: GraphNode): boolean {
    if (!hasOutputQuantizer(node)) return false;
    const reader = this.onlyReader(node);
    if (reader === undefined || !this.covered.has(reader.name)) return true;
    if (reader.op === 'concat') return false;
    return !((isRelu(reader) && yieldsToRelu(node)) || (isWeighted(node) && reader.op === 'batchNorm'));
  }

  private onlyReader(node: GraphNode): GraphNode | undefined {
    const readers = this.readers.get(node.name) ?? [];
    return readers.length === 1 ? readers[0] : undefined;
  }
}
