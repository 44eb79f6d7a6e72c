import { PcqatError } from '../../errors.js';
import type { Conv2dNode, DepthwiseConv2dNode, Graph, GraphNode, Pair, ZeroPad2dNode } from '../../graph/types.js';
import { inferShapes } from '../../graph/shapes.js';
import type { LayerPolicy } from './layer-policy.js';

/** A graph with what reads what. */
class Wiring {
  readonly #byName: ReadonlyMap<string, GraphNode>;
  readonly #readers = new Map<string, GraphNode[]>();

  constructor(readonly graph: Graph) {
    this.#byName = new Map(graph.nodes.map((node) => [node.name, node]));
    for (const node of graph.nodes) for (const input of node.inputs) this.#readers.set(input, [...(this.#readers.get(input) ?? []), node]);
  }

  producers = (node: GraphNode): GraphNode[] => node.inputs.flatMap((input) => this.#byName.get(input) ?? []);

  consumers = (node: GraphNode): GraphNode[] => this.#readers.get(node.name) ?? [];

  /** The zero padding that is a node's only input. */
  paddingBefore(node: GraphNode): ZeroPad2dNode | undefined {
    const [producer] = this.producers(node);
    return producer?.op === 'zeroPad2d' ? producer : undefined;
  }

  /** From `first` along `next` to the nearest nodes that `isGoal`, on every branch; none when a branch ends before. */
  search(first: GraphNode | undefined, next: (node: GraphNode) => GraphNode[], isGoal: (node: GraphNode) => boolean): Set<GraphNode> {
    const goals = new Set<GraphNode>();
    const seen = new Set<GraphNode>();
    const pending = first === undefined ? [] : [first];
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (seen.has(node)) continue;
      seen.add(node);
      if (isGoal(node)) {
        goals.add(node);
        continue;
      }
      const following = next(node);
      if (following.length === 0) return new Set();
      pending.push(...following);
    }
    return goals;
  }
}

const is = (pair: Pair, value: number): boolean => pair[0] === value && pair[1] === value;
const pads = (node: ZeroPad2dNode | undefined, sides: number): boolean => node?.padding.every((pair) => is(pair, sides)) === true;
const isPointwise = ({ kernelSize, strides, dilation }: Conv2dNode): boolean =>
  [kernelSize, strides, dilation].every((pair) => is(pair, 1));

/** 3×3 or 5×5, stride 1 with SAME padding, or stride 1 or 2 behind an explicit padding of 1 or 2 on each side. */
function isSupportedDepthwise(node: DepthwiseConv2dNode, padding: ZeroPad2dNode | undefined): boolean {
  const { kernelSize, strides, dilation, depthMultiplier } = node;
  const sides = is(kernelSize, 3) ? 1 : is(kernelSize, 5) ? 2 : 0;
  if (sides === 0 || depthMultiplier !== 1 || !is(dilation, 1)) return false;
  if (node.padding === 'same') return is(strides, 1);
  return (is(strides, 1) || is(strides, 2)) && pads(padding, sides);
}

/** Has XNNPACK a sparse kernel, or one that passes NCHW data on, for this layer? */
function isSupported(node: GraphNode, wiring: Wiring): boolean {
  switch (node.op) {
    case 'add':
    case 'batchNorm':
    case 'dropout':
    case 'globalAveragePool2d':
    case 'leakyRelu':
    case 'multiply':
    case 'relu':
    case 'relu6':
    case 'sigmoid':
    case 'zeroPad2d':
      return true;
    case 'upSampling2d':
      return node.interpolation === 'bilinear';
    case 'conv2d':
      return isPointwise(node);
    case 'depthwiseConv2d':
      return isSupportedDepthwise(node, wiring.paddingBefore(node));
    default:
      return false;
  }
}

/** 3×3 over three channels with stride 2, VALID behind a padding of 1: where XNNPACK's sparse inference begins. */
function isStart(node: GraphNode, wiring: Wiring, channelsOf: (node: GraphNode) => number | undefined): boolean {
  return (
    node.op === 'conv2d' &&
    is(node.kernelSize, 3) &&
    is(node.strides, 2) &&
    node.padding === 'valid' &&
    channelsOf(node) === 3 &&
    pads(wiring.paddingBefore(node), 1)
  );
}

function check(graph: Graph): void {
  const wiring = new Wiring(graph);
  const shapes = inferShapes(graph);
  const channelsOf = (node: GraphNode): number | undefined => shapes.get(node.inputs[0] ?? '')?.at(-1);
  const starts = wiring.search(
    graph.nodes.find((node) => node.op === 'input'),
    wiring.consumers,
    (node) => isStart(node, wiring, channelsOf),
  );
  if (starts.size === 0) {
    reject(
      'there is no entry to sparse inference: not every branch from the input reaches a 3×3 conv2d over 3 channels with strides 2 and VALID padding behind a zeroPad2d of 1',
      graph,
    );
  }
  const ends = wiring.search(graph.nodes.at(-1), wiring.producers, (node) => node.op === 'globalAveragePool2d');
  if (ends.size === 0) reject('there is no exit from sparse inference: not every branch to the output leaves a globalAveragePool2d', graph);
  for (const start of starts) {
    wiring.search(start, wiring.consumers, (node) => {
      if (node !== start && !isSupported(node, wiring)) {
        reject(`layer '${node.name}' (${node.op}) lies in between and is not supported by sparse inference`, graph);
      }
      return ends.has(node);
    });
  }
}

function reject(message: string, graph: Graph): never {
  throw new PcqatError('ERR_UNSUPPORTED', message, {
    where: `pruneForLatencyOnXnnpack, graph '${graph.name}'`,
    remedy: 'Change the network, or prune without this policy.',
  });
}

/**
 * Prunes only where XNNPACK's sparse inference gets faster by it: the 1×1 convolutions of a network that it can run sparse from
 * the first convolution to the global average pool (tfmot `PruneForLatencyOnXNNPack`, spec 1.8; Elsen et al. 2020).
 *
 * `check` throws `ERR_UNSUPPORTED` that says whether the entry (3×3 convolution over three channels, strides 2, VALID, behind a zero
 * padding of 1), the exit (global average pool) or a layer in between is the reason, and names that layer.
 *
 * @example
 * ```ts
 * import { createModel, GraphBuilder, pruneForLatencyOnXnnpack, pruneLowMagnitude } from 'pcqat';
 * const g = new GraphBuilder('net');
 * let x = g.zeroPad2d(g.input([16, 16, 3]), { padding: [[1, 1], [1, 1]] });
 * x = g.conv2d(x, { name: 'first', filters: 8, kernelSize: 3, strides: 2, activation: 'relu' });
 * x = g.conv2d(x, { name: 'pointwise', filters: 16, kernelSize: 1 });
 * const model = createModel(g.build(g.globalAveragePool2d(x)));
 * console.log([...pruneLowMagnitude(model, { policy: pruneForLatencyOnXnnpack }).chains.keys()]); // [ 'pointwise/kernel' ]
 * ```
 */
export const pruneForLatencyOnXnnpack: LayerPolicy = {
  name: 'pruneForLatencyOnXnnpack',
  check,
  allows: (node) => node.op === 'conv2d' && is(node.kernelSize, 1),
};
