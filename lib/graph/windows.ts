import type { GraphNode, Padding1d, Pair, Shape } from './types.js';

/** Explicit padding `[top, bottom, left, right]`. */
export type Padding4 = readonly [number, number, number, number];

/** Output size and padding of one axis of a sliding window. */
function windowAxis(
  size: number,
  window: number,
  stride: number,
  dilation: number,
  padding: Padding1d,
): [out: number, before: number, after: number] {
  const extent = (window - 1) * dilation + 1;
  // A causal window ends at its own position: what it lacks at the start is padding.
  if (padding === 'causal') return [Math.ceil(size / stride), extent - 1, 0];
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
  padding: Padding1d,
): { readonly output: Pair; readonly padding: Padding4 } {
  const [height, top, bottom] = windowAxis(input[0], window[0], strides[0], dilation[0], padding);
  const [width, left, right] = windowAxis(input[1], window[1], strides[1], dilation[1], padding);
  return { output: [height, width], padding: [top, bottom, left, right] };
}

/** Nodes that slide a window over `[height, width, channels]` or `[length, channels]`. */
export type WindowedNode = Extract<
  GraphNode,
  {
    readonly op:
      'conv2d' | 'depthwiseConv2d' | 'conv1d' | 'depthwiseConv1d' | 'averagePool2d' | 'maxPool2d' | 'averagePool1d' | 'maxPool1d';
  }
>;

/** A window over an image; one over a sequence is one over an image of height 1. */
export interface Window {
  readonly size: Pair;
  readonly strides: Pair;
  readonly dilation: Pair;
  readonly padding: Padding1d;
}

const toPair = (value: number | Pair): Pair => (typeof value === 'number' ? [1, value] : value);

export function windowOf(node: WindowedNode): Window {
  const size = 'poolSize' in node ? node.poolSize : node.kernelSize;
  const dilation = 'dilation' in node ? node.dilation : 1;
  return { size: toPair(size), strides: toPair(node.strides), dilation: toPair(dilation), padding: node.padding };
}

/** An activation as the native core has it: `[length, channels]` is an image of height 1. Other ranks stay. */
export function imageOf(shape: Shape): Shape {
  return shape.length === 2 ? [1, ...shape] : shape;
}

/**
 * Output size of a transposed convolution as Keras has it, and the padding of the convolution whose gradient it is: the one that
 * takes an image of that size to one of the size `input`.
 */
export function transposedGeometry(
  input: Pair,
  { kernelSize, strides, padding }: Pick<Extract<GraphNode, { op: 'conv2dTranspose' }>, 'kernelSize' | 'strides' | 'padding'>,
): { readonly output: Pair; readonly padding: Padding4 } {
  const size = (axis: 0 | 1): number => {
    const beyond = padding === 'valid' ? Math.max(kernelSize[axis] - strides[axis], 0) : 0;
    return input[axis] * strides[axis] + beyond;
  };
  const output: Pair = [size(0), size(1)];
  return { output, padding: windowGeometry(output, kernelSize, strides, [1, 1], padding).padding };
}
