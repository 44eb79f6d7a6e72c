import type { Pair } from '../../graph/types.js';
import { asImage, asSequence, imageValue, refuseOrder, spatialValue } from './convolutions.js';
import { axisIn, type ImportContext, integer, layerName, refuse } from './context.js';
import { allBorders, fileWindow, type FileWindow, padded, paddingOf } from './padding.js';
import type { OnnxNode } from './types.js';
import { activation, type Activation, axisSize, type FileAxis, ownOrder, shapeInOrder } from './values.js';

export function convertPool(context: ImportContext, node: OnnxNode): Activation {
  const isMax = node.op === 'MaxPool';
  const input = spatialValue(context.activation(node));
  const { spatial, size, value } = input;
  if (node.outputs.slice(1).some((name) => context.isRead(name))) refuse('its indices are read', 'Use its first output only.');
  const window = fileWindow(node, spatial, size);
  if (window.dilations.some((dilation) => dilation !== 1)) refuse('it is dilated', 'Use dilation 1.');
  const borders = allBorders(window);
  const name = layerName(node);
  const padding = paddingOf(size, window, borders);
  // TensorFlow's average leaves out what lies outside.
  const isExact = padding !== undefined && (isMax || padding === 'valid' || integer(node, 'count_include_pad', 0) === 0);
  const sign = value.nonNegative === true ? { nonNegative: true } : {};
  if (isExact && spatial === 1) {
    const pool = { name, inputs: [asSequence(context, input)], poolSize: window.kernel[1], strides: window.strides[1], padding };
    const made = context.add({ op: isMax ? 'maxPool1d' : 'averagePool1d', ...pool });
    return { ...imageValue(context, made, 1), ...sign };
  }
  if (!isExact) requireZerosThatCount(node, isMax, value, window);
  const image = isExact ? asImage(context, input) : padded(context, `${name}_pad`, asImage(context, input), borders);
  const pool = { name, inputs: [image], poolSize: window.kernel, strides: window.strides, padding: isExact ? padding : ('valid' as const) };
  const made = context.add({ op: isMax ? 'maxPool2d' : 'averagePool2d', ...pool });
  return { ...imageValue(context, made, spatial), ...sign };
}

/** Refuses a pool unless zeros around its input, and then a pool without padding, give the same. */
function requireZerosThatCount(node: OnnxNode, isMax: boolean, value: Activation, { ceilBorders }: FileWindow): void {
  if (isMax) {
    if (value.nonNegative === true) return; // a 0 is never above what is there
    refuse('its pads are not those of TensorFlow, and its input may be negative', "Use 'same' or no pads, or a ReLU before it.");
  }
  if (integer(node, 'count_include_pad', 0) === 0) {
    refuse('its pads are not those of TensorFlow and are left out of the averages', "Use 'same' or no pads, or count_include_pad = 1.");
  }
  if (ceilBorders.some((border) => border > 0)) refuse('ceil_mode leaves a part of its pads out of the averages', 'Use ceil_mode = 0.');
}

export function convertGlobalPool(context: ImportContext, node: OnnxNode): Activation {
  const input = spatialValue(context.activation(node));
  const name = layerName(node);
  const sign = input.value.nonNegative === true ? { nonNegative: true } : {};
  if (node.op === 'GlobalMaxPool') {
    const pool = { name, inputs: [asImage(context, input)], poolSize: input.size, strides: [1, 1] as Pair, padding: 'valid' as const };
    return { ...imageValue(context, context.add({ op: 'maxPool2d', ...pool }), input.spatial), ...sign };
  }
  const made =
    input.spatial === 1
      ? context.add({ op: 'globalAveragePool1d', name, inputs: [asSequence(context, input)] })
      : context.add({ op: 'globalAveragePool2d', name, inputs: [asImage(context, input)] });
  const ones = input.spatial === 1 ? (['one'] as const) : (['one', 'one'] as const);
  return { ...activation(made, context.assembler.shapeOf(made), ['batch', 0, ...ones]), ...sign };
}

/** A mean over all axes but the batch and one. */
export function convertReduceMean(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const rank = value.axes.length;
  const axes = context.integersOf(node, 'axes', 1)?.map((axis) => axisIn(axis, rank)) ?? [];
  const reduced = new Set(axes);
  if (axes.length === 0) {
    if (integer(node, 'noop_with_empty_axes', 0) === 1) return value;
    refuse('it averages over the batch', 'Average over height and width.');
  }
  const kept = value.axes.flatMap((axis, i) => (reduced.has(i) || axis === 'batch' ? [] : [i]));
  const order = [...ownOrder(value).filter((axis) => reduced.has(axis)), ...kept];
  const shape = shapeInOrder(value, order);
  const channel = kept[0];
  if (axes.some((axis) => value.axes[axis] === 'batch') || kept.length !== 1 || channel === undefined || shape === undefined) {
    return refuse('it averages over other axes than height and width', 'Average over height and width.');
  }
  const name = layerName(node);
  const image = context.inOrder(value, order) ?? refuseOrder();
  const made =
    reduced.size === 1
      ? context.add({ op: 'globalAveragePool1d', name, inputs: [image] })
      : context.add({ op: 'globalAveragePool2d', name, inputs: [context.shaped(image, asThree(shape))] });
  const dims = (value.axes[channel] ?? []) as Exclude<FileAxis, 'batch'>;
  const keeps = integer(node, 'keepdims', 1) === 1;
  const result = value.axes.flatMap((axis, i): FileAxis[] => (reduced.has(i) ? (keeps ? [[]] : []) : [axis]));
  return { kind: 'activation', node: made, dims, axes: result, ...(value.nonNegative === true ? { nonNegative: true } : {}) };

  function asThree(sizes: readonly number[]): readonly number[] {
    const channels = axisSize(value.axes[channel ?? 0] ?? []);
    return sizes.length === 3 ? sizes : [1, sizes.reduce((product, size) => product * size, 1) / channels, channels];
  }
}
