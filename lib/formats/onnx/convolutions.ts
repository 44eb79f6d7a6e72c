import type { Padding, Padding1d, Pair } from '../../graph/types.js';
import { windowGeometry } from '../../graph/windows.js';
import { biasOf } from './bias.js';
import { floats, type ImportContext, integer, layerName, refuse, refuseAlways } from './context.js';
import { type Borders, fileWindow, type FileWindow, padded, paddingOf } from './padding.js';
import { permuted } from './tensors.js';
import type { OnnxNode } from './types.js';
import { activation, type Activation, axisSize, type Constant } from './values.js';
import { recordScales } from './weights.js';

const TWO_DIMENSIONS = 'Use one- or two-dimensional convolutions.';

/** A value `[batch, channels, …spatial]` of the file. */
export interface SpatialValue {
  readonly value: Activation;
  readonly spatial: 1 | 2;
  readonly channels: number;
  /** `[height, width]`; of a sequence `[1, length]`. */
  readonly size: Pair;
}

export function spatialValue(value: Activation): SpatialValue {
  const [batch, channels, ...others] = value.axes;
  if (batch !== 'batch' || channels === undefined || (others.length !== 1 && others.length !== 2)) {
    return refuse(`its input has ${value.axes.length} dimensions, or the batch is not the first`, TWO_DIMENSIONS);
  }
  const sizes = others.map(axisSize);
  const size: Pair = sizes.length === 1 ? [1, sizes[0] ?? 1] : [sizes[0] ?? 1, sizes[1] ?? 1];
  return { value, spatial: sizes.length as 1 | 2, channels: axisSize(channels), size };
}

/** The value as our image `[h, w, c]`; a sequence as one of height 1. */
export function asImage(context: ImportContext, { value, spatial, channels, size }: SpatialValue): string {
  const node = context.inOrder(value, spatial === 2 ? [2, 3, 1] : [2, 1]) ?? refuseOrder();
  return context.shaped(node, [...size, channels]);
}

/** The value as our sequence `[length, c]`. */
export function asSequence(context: ImportContext, { value }: SpatialValue): string {
  return context.inOrder(value, [2, 1]) ?? refuseOrder();
}

export function refuseOrder(): never {
  return refuse(
    'its input has its axes in an order that would need a transposition',
    'Keep images as [batch, channels, height, width] between layers.',
  );
}

/** Our image (or sequence) as the file's `[batch, channels, …spatial]`. */
export function imageValue(context: ImportContext, node: string, spatial: 1 | 2): Activation {
  const shape = context.assembler.shapeOf(node);
  if (shape.length === 2) return activation(node, shape, ['batch', 1, 0]);
  return activation(node, shape, spatial === 2 ? ['batch', 2, 0, 1] : ['batch', 2, 1]);
}

/** Our own padding for a sequence: all zeros may also come first. */
function padding1d(size: Pair, window: FileWindow): Padding1d | undefined {
  const padding = paddingOf(size, window, window.borders);
  if (padding !== undefined) return padding;
  const causal = windowGeometry(size, window.kernel, window.strides, window.dilations, 'causal').padding;
  return window.borders[1][0] === causal[2] && window.borders[1][1] === 0 ? 'causal' : undefined;
}

export function convert(context: ImportContext, node: OnnxNode): Activation {
  const weights = context.requiredConstant(node, 1, 'weights');
  const input = spatialValue(context.activation(node));
  const { channels, spatial, size } = input;
  const [filters = 0, depth = 0, ...kernel] = weights.dims;
  if (kernel.length !== spatial) refuse(`its weights have the shape [${weights.dims.join(', ')}]`, TWO_DIMENSIONS);
  const groups = integer(node, 'group', 1);
  if (groups !== 1 && depth !== 1) {
    refuseAlways(`it has ${groups} groups of ${depth} channels`, 'Use one group, or as many groups as input channels.');
  }
  if (depth * groups !== channels) refuse(`its weights take ${depth * groups} channels, but ${channels} come`, 'The file is damaged.');
  const isDepthwise = groups > 1;
  if (filters < 1 || filters % groups !== 0) refuse(`${filters} filters are no ${groups} groups`, 'The file is damaged.');
  const window = fileWindow(node, spatial, size, kernel);
  const name = layerName(node);
  const { bias, expected } = biasOf(context, node, 2, filters);
  const parameters = { kernel: kernelSource(weights, isDepthwise), ...(bias === undefined ? {} : { bias }) };
  const shared = { useBias: bias !== undefined };
  const sequencePadding = spatial === 1 ? padding1d(size, window) : undefined;
  if (sequencePadding !== undefined) {
    const sequence = {
      ...shared,
      inputs: [asSequence(context, input)],
      kernelSize: window.kernel[1],
      strides: window.strides[1],
      dilation: window.dilations[1],
      padding: sequencePadding,
    };
    const made = isDepthwise
      ? context.add({ op: 'depthwiseConv1d', name, depthMultiplier: filters / channels, ...sequence }, parameters)
      : context.add({ op: 'conv1d', name, filters, ...sequence }, parameters);
    recordScales(context, made, weights, 0);
    return context.layerOutput(imageValue(context, made, 1), expected);
  }
  const { image, padding } = paddedImage(context, name, asImage(context, input), size, window, window.borders);
  const sliding = {
    ...shared,
    inputs: [image],
    kernelSize: window.kernel,
    strides: window.strides,
    dilation: window.dilations,
    padding,
  };
  const made = isDepthwise
    ? context.add({ op: 'depthwiseConv2d', name, depthMultiplier: filters / channels, ...sliding }, parameters)
    : context.add({ op: 'conv2d', name, filters, ...sliding }, parameters);
  recordScales(context, made, weights, 0);
  return context.layerOutput(imageValue(context, made, spatial), expected);
}

/** The image and the padding that together have these zeros around it. */
export function paddedImage(
  context: ImportContext,
  name: string,
  image: string,
  size: Pair,
  window: FileWindow,
  borders: Borders,
): { readonly image: string; readonly padding: Padding } {
  const padding = paddingOf(size, window, borders);
  return padding === undefined ? { image: padded(context, `${name}_pad`, image, borders), padding: 'valid' } : { image, padding };
}

/** OIHW → HWIO; depthwise `[in · multiplier, 1, h, w]` → `[h, w, in, multiplier]`. */
function kernelSource(weights: Constant, isDepthwise: boolean): () => Float32Array {
  const [filters = 0, depth = 0, ...spatial] = weights.dims;
  const [height, width] = spatial.length === 1 ? [1, spatial[0] ?? 0] : [spatial[0] ?? 0, spatial[1] ?? 0];
  const order = isDepthwise ? [2, 3, 0, 1] : [2, 3, 1, 0];
  return () => permuted(floats(weights), [filters, depth, height, width], order);
}

export function convertTransposed(context: ImportContext, node: OnnxNode): Activation {
  const weights = context.requiredConstant(node, 1, 'weights');
  const input = spatialValue(context.activation(node));
  const { channels, spatial, size } = input;
  const [depth = 0, filters = 0, ...kernel] = weights.dims;
  if (spatial !== 2 || kernel.length !== 2) refuse('it is not two-dimensional', 'Use two-dimensional transposed convolutions.');
  if (integer(node, 'group', 1) !== 1) refuseAlways(`it has ${integer(node, 'group', 1)} groups`, 'Use one group.');
  if (depth !== channels) refuse(`its weights take ${depth} channels, but ${channels} come`, 'The file is damaged.');
  const window = fileWindow(node, 2, size, kernel);
  if (window.dilations.some((dilation) => dilation !== 1)) refuse('it is dilated', 'Use dilation 1.');
  const axes = [0, 1].map((axis) => transposedAxes(node, window, size[axis] ?? 1, axis));
  const padding = (['valid', 'same'] as const).find((wanted) => axes.every((options) => options[wanted] !== undefined));
  if (padding === undefined) {
    return refuse(
      'no padding of ours gives its output size and position',
      'Use an output of stride × input, e.g. output_padding = stride − 1.',
    );
  }
  const [rows, columns] = axes.map((options) => options[padding]);
  const kernelSize: Pair = [rows?.size ?? 1, columns?.size ?? 1];
  const offsets: Pair = [rows?.offset ?? 0, columns?.offset ?? 0];
  const name = layerName(node);
  const { bias, expected } = biasOf(context, node, 2, filters);
  const made = context.add(
    {
      op: 'conv2dTranspose',
      name,
      inputs: [asImage(context, input)],
      filters,
      kernelSize,
      strides: window.strides,
      padding,
      useBias: bias !== undefined,
    },
    { kernel: () => placed(weights, kernelSize, offsets), ...(bias === undefined ? {} : { bias }) },
  );
  recordScales(context, made, weights, 1);
  return context.layerOutput(imageValue(context, made, 2), expected);
}

interface Placement {
  readonly size: number;
  readonly offset: number;
}

/**
 * The kernel sizes with which our two paddings give this axis, and where in them the file's kernel lies (the rest is 0): output `o` gets
 * `input[i] · kernel[k]` for `o = i · stride + k − before`.
 */
function transposedAxes(
  node: OnnxNode,
  { kernel, strides, borders }: FileWindow,
  length: number,
  axis: number,
): { readonly valid?: Placement; readonly same?: Placement } {
  const [size, stride] = [kernel[axis] ?? 1, strides[axis] ?? 1];
  const extra = node.attributes.get('output_padding')?.ints[axis] ?? 0;
  const wanted = node.attributes.get('output_shape')?.ints.slice(-2)[axis];
  const automatic = node.attributes.get('auto_pad')?.string ?? 'NOTSET';
  let [before, after] = borders[axis] ?? [0, 0];
  const full = (length - 1) * stride + size + extra;
  const target = wanted ?? (automatic.startsWith('SAME') ? length * stride : undefined);
  if (target !== undefined) {
    const total = full - target;
    if (total < 0) refuse('its output is larger than what its kernel reaches', 'Leave out output_shape.');
    before = automatic === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2);
    after = total - before;
  }
  const output = full - before - after;
  const beyond = output - length * stride;
  return { ...placedValid(size, stride, before, beyond), ...placedSame(size, stride, before, beyond) };
}

/** VALID: output = length · stride + max(kernel − stride, 0), and nothing is cut before. */
function placedValid(size: number, stride: number, before: number, beyond: number): { readonly valid?: Placement } {
  if (before !== 0 || beyond < 0) return {};
  const wanted = beyond === 0 ? size : stride + beyond;
  return wanted < size || (beyond === 0 && size > stride) ? {} : { valid: { size: wanted, offset: 0 } };
}

/** SAME: output = length · stride, and floor((kernel − stride) / 2) is cut before. */
function placedSame(size: number, stride: number, before: number, beyond: number): { readonly same?: Placement } {
  if (beyond !== 0) return {};
  if (before === 0 && size <= stride + 1) return { same: { size, offset: 0 } };
  for (let offset = 0; offset <= size; offset++) {
    const least = 2 * (before + offset) + stride;
    const fitting = [least, least + 1].find((candidate) => candidate >= size + offset);
    if (fitting !== undefined) return { same: { size: fitting, offset } };
  }
  return {};
}

/** IOHW → HWOI, inside a kernel of zeros. */
function placed(weights: Constant, [height, width]: Pair, [top, left]: Pair): Float32Array {
  const [depth = 0, filters = 0, rows = 0, columns = 0] = weights.dims;
  const kernel = permuted(floats(weights), [depth, filters, rows, columns], [2, 3, 1, 0]);
  if (height === rows && width === columns) return kernel;
  const pixel = filters * depth;
  const result = new Float32Array(height * width * pixel);
  for (let row = 0; row < rows; row++) {
    const from = row * columns * pixel;
    result.set(kernel.subarray(from, from + columns * pixel), ((row + top) * width + left) * pixel);
  }
  return result;
}
