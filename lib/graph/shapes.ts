import { PcqatError } from '../errors.js';
import type { Graph, GraphNode, Padding, Pair, Shape } from './types.js';

/** Explicit padding `[top, bottom, left, right]`. */
export type Padding4 = readonly [number, number, number, number];

/** Largest number of elements of one example's activation or of one parameter: sizes stay exact 32-bit integers. */
export const MAX_ELEMENTS = 2 ** 31 - 1;

/** Product of the dimensions (1 for a scalar). */
export function elementCount(shape: Shape): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dimension, i) => dimension === b[i]);
}

/** Output size and padding of one axis of a sliding window. */
function windowAxis(
  size: number,
  window: number,
  stride: number,
  dilation: number,
  padding: Padding,
): [out: number, before: number, after: number] {
  const extent = (window - 1) * dilation + 1;
  if (padding === 'valid') return [Math.floor((size - extent) / stride) + 1, 0, 0];
  // TensorFlow's SAME: the odd element of padding goes to the end.
  const out = Math.ceil(size / stride);
  const total = Math.max((out - 1) * stride + extent - size, 0);
  const before = Math.floor(total / 2);
  return [out, before, total - before];
}

/**
 * Output size and explicit padding of a convolution or pool over `[height, width]`, as TensorFlow computes them.
 * A size below 1 means that the window does not fit.
 */
export function windowGeometry(
  input: Pair,
  window: Pair,
  strides: Pair,
  dilation: Pair,
  padding: Padding,
): { readonly output: Pair; readonly padding: Padding4 } {
  const [height, top, bottom] = windowAxis(input[0], window[0], strides[0], dilation[0], padding);
  const [width, left, right] = windowAxis(input[1], window[1], strides[1], dilation[1], padding);
  return { output: [height, width], padding: [top, bottom, left, right] };
}

function mismatch(node: GraphNode, message: string, remedy: string): PcqatError {
  return new PcqatError('ERR_SHAPE', message, { where: `layer '${node.name}'`, remedy });
}

function requireImage(node: GraphNode, shape: Shape): readonly [number, number, number] {
  const [height, width, channels] = shape;
  if (shape.length !== 3 || height === undefined || width === undefined || channels === undefined) {
    throw mismatch(node, `${node.op} needs an input [height, width, channels] but gets [${shape.join(', ')}]`, 'Add a reshape before it.');
  }
  return [height, width, channels];
}

function slide(node: GraphNode, input: Shape, window: Pair, strides: Pair, dilation: Pair, padding: Padding, channels: number): Shape {
  const [height, width] = requireImage(node, input);
  const { output } = windowGeometry([height, width], window, strides, dilation, padding);
  if (output[0] < 1 || output[1] < 1) {
    throw mismatch(
      node,
      `its window [${window.join(', ')}] is larger than its input [${input.join(', ')}]`,
      "Use padding 'same' or a smaller window.",
    );
  }
  return [output[0], output[1], channels];
}

function outputShape(node: GraphNode, inputs: readonly Shape[]): Shape {
  const first = inputs[0] ?? [];
  switch (node.op) {
    case 'input':
      return node.shape;
    case 'conv2d':
      return slide(node, first, node.kernelSize, node.strides, node.dilation, node.padding, node.filters);
    case 'depthwiseConv2d': {
      const channels = requireImage(node, first)[2] * node.depthMultiplier;
      return slide(node, first, node.kernelSize, node.strides, node.dilation, node.padding, channels);
    }
    case 'dense':
      if (first.length !== 1)
        throw mismatch(node, `dense needs a flat input but gets [${first.join(', ')}]`, 'Add flatten or a global pool before it.');
      return [node.units];
    case 'averagePool2d':
    case 'maxPool2d':
      return slide(node, first, node.poolSize, node.strides, [1, 1], node.padding, requireImage(node, first)[2]);
    case 'globalAveragePool2d':
      return [requireImage(node, first)[2]];
    case 'zeroPad2d': {
      const [height, width, channels] = requireImage(node, first);
      const [[top, bottom], [left, right]] = node.padding;
      return [height + top + bottom, width + left + right, channels];
    }
    case 'flatten':
      return [elementCount(first)];
    case 'reshape':
      if (elementCount(node.shape) !== elementCount(first)) {
        throw mismatch(
          node,
          `cannot reshape [${first.join(', ')}] to [${node.shape.join(', ')}]`,
          'Both must have the same number of elements.',
        );
      }
      return node.shape;
    case 'add': {
      const second = inputs[1] ?? [];
      if (!sameShape(first, second)) {
        throw mismatch(node, `cannot add [${first.join(', ')}] and [${second.join(', ')}]`, 'Both inputs must have the same shape.');
      }
      return first;
    }
    case 'batchNorm':
    case 'relu':
    case 'relu6':
    case 'dropout':
    case 'softmax':
      return first;
  }
}

/**
 * Output shape of one node from the shapes of its inputs, without the batch dimension.
 *
 * @throws PcqatError `ERR_SHAPE`, naming the node, when they do not fit.
 */
export function inferNodeShape(node: GraphNode, inputs: readonly Shape[]): Shape {
  const shape = outputShape(node, inputs);
  if (elementCount(shape) > MAX_ELEMENTS) {
    throw mismatch(node, `its output [${shape.join(', ')}] has more than ${MAX_ELEMENTS} elements`, 'Use a smaller layer.');
  }
  return shape;
}

/** Parameters of a node by short name, with their shapes. */
export function parameterShapes(node: GraphNode, input: Shape): ReadonlyMap<string, Shape> {
  const channels = input.at(-1) ?? 1;
  switch (node.op) {
    case 'conv2d':
      return kernelAndBias([...node.kernelSize, channels, node.filters], node.useBias, node.filters);
    case 'depthwiseConv2d':
      return kernelAndBias([...node.kernelSize, channels, node.depthMultiplier], node.useBias, channels * node.depthMultiplier);
    case 'dense':
      return kernelAndBias([channels, node.units], node.useBias, node.units);
    case 'batchNorm':
      return new Map(['gamma', 'beta', 'moving_mean', 'moving_variance'].map((name) => [name, [channels]]));
    default:
      return new Map();
  }
}

function kernelAndBias(kernel: Shape, useBias: boolean, outputs: number): ReadonlyMap<string, Shape> {
  return new Map<string, Shape>(
    useBias
      ? [
          ['kernel', kernel],
          ['bias', [outputs]],
        ]
      : [['kernel', kernel]],
  );
}

/**
 * Output shape of every node, by node name, without the batch dimension. SAME and VALID as in TensorFlow.
 *
 * @throws PcqatError `ERR_SHAPE` naming the first node whose inputs do not fit; `ERR_GRAPH` for an input that is not an earlier node.
 *
 * @example
 * ```ts
 * import { GraphBuilder, inferShapes } from 'pcqat';
 * const g = new GraphBuilder('net');
 * const x = g.conv2d(g.input([49, 10, 1]), { name: 'conv1', filters: 64, kernelSize: [10, 4], strides: 2 });
 * console.log(inferShapes(g.build(x)).get('conv1')); // [ 25, 5, 64 ]
 * ```
 */
export function inferShapes(graph: Graph): Map<string, Shape> {
  const shapes = new Map<string, Shape>();
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => {
      const shape = shapes.get(name);
      if (shape === undefined) {
        throw new PcqatError('ERR_GRAPH', `its input '${name}' is not an earlier layer`, { where: `layer '${node.name}'` });
      }
      return shape;
    });
    shapes.set(node.name, inferNodeShape(node, inputs));
  }
  return shapes;
}
