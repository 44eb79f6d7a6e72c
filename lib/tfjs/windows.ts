import type { GraphNode } from '../graph/types.js';
import { type Window, windowGeometry, windowOf, type WindowedNode, transposedGeometry } from '../graph/windows.js';
import type { Tfjs, TfTensor } from './tfjs.js';

type Images = Parameters<Tfjs['avgPool']>[0] & TfTensor;
type Quad = [number, number, number, number];

/** A batch of sequences as a batch of images of height 1; a kernel over sequences likewise. */
function asImages(tf: Tfjs, x: TfTensor): TfTensor {
  if (x.rank !== 3) return x;
  const [first, ...rest] = x.shape;
  return tf.reshape(x, [first, 1, ...rest]);
}

function kernelAsImage(tf: Tfjs, kernel: TfTensor): TfTensor {
  return kernel.rank === 3 ? tf.reshape(kernel, [1, ...kernel.shape]) : kernel;
}

/** Images of height 1 back to sequences, where `like` was one. */
function asBefore(tf: Tfjs, y: TfTensor, like: TfTensor): TfTensor {
  if (like.rank !== 3) return y;
  const [batch, , length, channels] = y.shape as Quad;
  return tf.reshape(y, [batch, length, channels]);
}

/** Zeros between the elements of one axis (0 or 1) of a kernel. */
function spread(tf: Tfjs, kernel: TfTensor, axis: 0 | 1, dilation: number): TfTensor {
  const size = kernel.shape[axis] ?? 1;
  if (dilation === 1 || size === 1) return kernel;
  const outer = axis === 0 ? 1 : (kernel.shape[0] ?? 1);
  const inner = kernel.size / outer / size;
  const apart = tf.pad(tf.reshape(kernel, [outer * size, 1, inner]), [
    [0, 0],
    [0, dilation - 1],
    [0, 0],
  ]);
  const extent = (size - 1) * dilation + 1;
  const trimmed = tf.slice(tf.reshape(apart, [outer, size * dilation, inner]), [0, 0, 0], [outer, extent, inner]);
  const shape = [...kernel.shape];
  shape[axis] = extent;
  return tf.reshape(trimmed, shape);
}

/** tfjs has no gradients of dilated convolutions, so the kernel gets the zeros that dilation stands for. */
function dilated(tf: Tfjs, kernel: TfTensor, window: Window): TfTensor {
  return spread(tf, spread(tf, kernel, 0, window.dilation[0]), 1, window.dilation[1]);
}

/** Padding that tfjs knows by name; a causal window is padded here. */
function paddedFor(tf: Tfjs, x: TfTensor, window: Window): [x: TfTensor, padding: 'same' | 'valid'] {
  if (window.padding !== 'causal') return [x, window.padding];
  const before = (size: 0 | 1): number => (window.size[size] - 1) * window.dilation[size];
  return [
    tf.pad(x, [
      [0, 0],
      [before(0), 0],
      [before(1), 0],
      [0, 0],
    ]),
    'valid',
  ];
}

/** conv2d, conv1d and their depthwise forms. */
export function convolve(tf: Tfjs, node: WindowedNode, input: TfTensor, kernel: TfTensor): TfTensor {
  const window = windowOf(node);
  const [x, padding] = paddedFor(tf, asImages(tf, input), window);
  const filter = dilated(tf, kernelAsImage(tf, kernel), window);
  const strides: [number, number] = [...window.strides];
  const isDepthwise = node.op === 'depthwiseConv2d' || node.op === 'depthwiseConv1d';
  const y = (isDepthwise ? tf.depthwiseConv2d : tf.conv2d)(x as Images, filter as never, strides, padding);
  return asBefore(tf, y, input);
}

export function convolveTransposed(
  tf: Tfjs,
  node: Extract<GraphNode, { op: 'conv2dTranspose' }>,
  input: TfTensor,
  kernel: TfTensor,
): TfTensor {
  const [batch, height, width] = input.shape as Quad;
  const { output } = transposedGeometry([height, width], node);
  return tf.conv2dTranspose(input as Images, kernel as never, [batch, ...output, node.filters], [...node.strides], node.padding);
}

export function pool(tf: Tfjs, node: WindowedNode, input: TfTensor): TfTensor {
  const window = windowOf(node);
  const x = asImages(tf, input) as Images;
  const [size, strides]: [number, number][] = [[...window.size], [...window.strides]] as [[number, number], [number, number]];
  const isMax = node.op === 'maxPool2d' || node.op === 'maxPool1d';
  if (isMax) return asBefore(tf, tf.maxPool(x, size, strides, window.padding as 'same' | 'valid'), input);
  // Padding does not count. tfjs agrees forward, but its gradient divides by the whole window: pad, and correct by the mean of ones.
  const [, height, width] = x.shape as Quad;
  const { padding } = windowGeometry([height, width], window.size, window.strides, [1, 1], window.padding);
  const [top, bottom, left, right] = padding;
  const around: [number, number][] = [[0, 0], [top, bottom], [left, right], [0, 0]]; // prettier-ignore
  const mean = (images: TfTensor): TfTensor => tf.avgPool(tf.pad(images, around) as Images, size, strides, 'valid');
  const y = padding.every((side) => side === 0) ? mean(x) : tf.div(mean(x), mean(tf.ones([1, height, width, 1])));
  return asBefore(tf, y, input);
}
