import { PcqatError } from '../errors.js';
import type { Graph, GraphNode, Shape } from './types.js';
import { imageOf, transposedGeometry, type WindowedNode, windowGeometry, windowOf } from './windows.js';

/** Largest number of elements of one example's activation or of one parameter: sizes stay exact 32-bit integers. */
export const MAX_ELEMENTS = 2 ** 31 - 1;

/** Product of the dimensions (1 for a scalar). */
export function elementCount(shape: Shape): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dimension, i) => dimension === b[i]);
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

function requireSequence(node: GraphNode, shape: Shape): readonly [number, number] {
  const [length, channels] = shape;
  if (shape.length !== 2 || length === undefined || channels === undefined) {
    throw mismatch(node, `${node.op} needs an input [length, channels] but gets [${shape.join(', ')}]`, 'Add a reshape before it.');
  }
  return [length, channels];
}

/** Output of a sliding window that makes `channels(input channels)` channels. */
function slide(node: WindowedNode, input: Shape, channels: (inputs: number) => number): Shape {
  const isSequence = typeof node.strides === 'number';
  if (isSequence) requireSequence(node, input);
  else requireImage(node, input);
  const [height = 0, width = 0, depth = 0] = imageOf(input);
  const window = windowOf(node);
  const { output } = windowGeometry([height, width], window.size, window.strides, window.dilation, window.padding);
  if (output[0] < 1 || output[1] < 1) {
    const size = isSequence ? window.size[1] : `[${window.size.join(', ')}]`;
    throw mismatch(node, `its window ${size} is larger than its input [${input.join(', ')}]`, "Use padding 'same' or a smaller window.");
  }
  return isSequence ? [output[1], channels(depth)] : [...output, channels(depth)];
}

function concatenated(node: GraphNode, inputs: readonly Shape[]): Shape {
  const [first = [], ...others] = inputs;
  const front = first.slice(0, -1);
  const odd = others.find((shape) => !sameShape(shape.slice(0, -1), front));
  if (odd !== undefined) {
    throw mismatch(
      node,
      `cannot put [${first.join(', ')}] and [${odd.join(', ')}] side by side`,
      'All dimensions but the last must be the same.',
    );
  }
  return [...front, inputs.reduce((sum, shape) => sum + (shape.at(-1) ?? 0), 0)];
}

/** Is `factor` one number per channel of `shape`: `[c]`, or 1 on every other axis? */
export function isPerChannel(factor: Shape, shape: Shape): boolean {
  const channels = shape.at(-1);
  return factor.at(-1) === channels && elementCount(factor) === channels && [1, shape.length].includes(factor.length);
}

function outputShape(node: GraphNode, inputs: readonly Shape[]): Shape {
  const first = inputs[0] ?? [];
  switch (node.op) {
    case 'input':
      return node.shape;
    case 'conv2d':
    case 'conv1d':
      return slide(node, first, () => node.filters);
    case 'depthwiseConv2d':
    case 'depthwiseConv1d':
      return slide(node, first, (channels) => channels * node.depthMultiplier);
    case 'conv2dTranspose': {
      const [height, width] = requireImage(node, first);
      return [...transposedGeometry([height, width], node).output, node.filters];
    }
    case 'dense':
      if (first.length !== 1)
        throw mismatch(node, `dense needs a flat input but gets [${first.join(', ')}]`, 'Add flatten or a global pool before it.');
      return [node.units];
    case 'averagePool1d':
    case 'maxPool1d':
    case 'averagePool2d':
    case 'maxPool2d':
      return slide(node, first, (channels) => channels);
    case 'globalAveragePool1d':
      return [requireSequence(node, first)[1]];
    case 'globalAveragePool2d':
      return [requireImage(node, first)[2]];
    case 'upSampling2d': {
      const [height, width, channels] = requireImage(node, first);
      return [height * node.size[0], width * node.size[1], channels];
    }
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
    case 'multiply': {
      const second = inputs[1] ?? [];
      if (!sameShape(first, second) && !isPerChannel(second, first)) {
        throw mismatch(
          node,
          `cannot multiply [${first.join(', ')}] by [${second.join(', ')}]`,
          'Both inputs must have the same shape, or the second one value per channel.',
        );
      }
      return first;
    }
    case 'concat':
      return concatenated(node, inputs);
    case 'batchNorm':
    case 'relu':
    case 'relu6':
    case 'sigmoid':
    case 'tanh':
    case 'hardSwish':
    case 'leakyRelu':
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
    case 'conv1d':
      return kernelAndBias([node.kernelSize, channels, node.filters], node.useBias, node.filters);
    case 'depthwiseConv1d':
      return kernelAndBias([node.kernelSize, channels, node.depthMultiplier], node.useBias, channels * node.depthMultiplier);
    case 'conv2dTranspose':
      return kernelAndBias([...node.kernelSize, node.filters, channels], node.useBias, node.filters);
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
