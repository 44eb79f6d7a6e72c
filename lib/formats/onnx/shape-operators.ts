import type { Pair } from '../../graph/types.js';
import { axisIn, type ImportContext, integer, layerName, number, refuse, string } from './context.js';
import { refuseOrder } from './convolutions.js';
import { lastShaped } from './dense.js';
import { elementsOf } from './tensors.js';
import type { OnnxNode } from './types.js';
import {
  type Activation,
  axisSize,
  type Constant,
  type Dim,
  type FileAxis,
  lastAxis,
  ownOrder,
  regroup,
  type ShapeInteger,
} from './values.js';

const BATCH_MOVES = 'Keep the batch as the first dimension.';

/** Integers of a shape, in which the batch may be. */
function shapeIntegers(context: ImportContext, constant: Constant): readonly ShapeInteger[] {
  return constant.shapeIntegers ?? context.integers(constant, 'shape');
}

export function reshapeTo(context: ImportContext, value: Activation, target: readonly ShapeInteger[], allowZero: boolean): Activation {
  const sizes = value.axes.map((axis): ShapeInteger => (axis === 'batch' ? 'batch' : axisSize(axis)));
  const filled = target.map((size, i) => (size === 0 && !allowZero ? (sizes[i] ?? 1) : size));
  const elements = value.dims.reduce((product, { size }) => product * size, 1);
  const [first, ...rest] = filled;
  const known = rest.reduce<number>((product, size) => (typeof size === 'number' && size > 0 ? product * size : product), 1);
  const open = rest.filter((size) => size === -1).length;
  if (first === undefined || rest.includes('batch') || rest.some((size) => size === 0) || open > 1) return refuseBatch();
  const isBatch = first === 'batch' || first === -1 || typeof first === 'number';
  if (!isBatch || (open === 0 ? known !== elements : elements % known !== 0) || (first === -1 && open > 0)) return refuseBatch();
  const own = rest.map((size) => (size === -1 ? elements / known : (size as number)));
  return regroup(value, own) ?? refuseOrder();

  function refuseBatch(): never {
    return refuse(`it reshapes [${sizes.join(', ')}] to [${target.join(', ')}], which mixes examples`, BATCH_MOVES);
  }
}

export function convertReshape(context: ImportContext, node: OnnxNode): Activation {
  const attribute = node.attributes.get('shape')?.ints;
  const target = attribute ?? shapeIntegers(context, context.requiredConstant(node, 1, 'shape'));
  return reshapeTo(context, context.activation(node), target, integer(node, 'allowzero', 0) === 1);
}

export function convertFlatten(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const rank = value.axes.length;
  const given = integer(node, 'axis', 1);
  const axis = given < 0 ? given + rank : given;
  const batch = value.axes.indexOf('batch');
  const lead = value.axes.slice(0, axis);
  if (batch >= axis || lead.some((part) => axisSize(part) > 1)) refuse(`it flattens from axis ${axis} on`, 'Flatten from axis 1 on.');
  return regroup(value, [value.dims.reduce((product, { size }) => product * size, 1)]) ?? refuseOrder();
}

export function convertTranspose(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const rank = value.axes.length;
  const ints = node.attributes.get('perm')?.ints ?? [];
  const order = ints.length > 0 ? ints.map((axis) => axisIn(axis, rank)) : value.axes.map((_, i) => rank - 1 - i);
  if (new Set(order).size !== rank) refuse(`its perm is [${order.join(', ')}]`, 'The file is damaged.');
  return { ...value, axes: order.map((axis) => value.axes[axis] ?? []) };
}

export function convertSqueeze(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const axes = context.integersOf(node, 'axes', 1)?.map((axis) => axisIn(axis, value.axes.length));
  const isOne = (axis: FileAxis): boolean => axis !== 'batch' && axis.length === 0;
  const leaves = axes === undefined ? isOne : (_: FileAxis, i: number): boolean => axes.includes(i);
  if (value.axes.some((axis, i) => leaves(axis, i) && !isOne(axis))) refuse('it squeezes an axis whose size is not 1', BATCH_MOVES);
  return { ...value, axes: value.axes.filter((axis, i) => !leaves(axis, i)) };
}

export function convertUnsqueeze(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const axes = context.integersOf(node, 'axes', 1) ?? [];
  return { ...value, axes: unsqueezed<FileAxis>(value.axes, axes, []) };
}

/** A list with `one` put in at the places `axes` of the result. */
export function unsqueezed<T>(list: readonly T[], axes: readonly number[], one: T): T[] {
  const rank = list.length + axes.length;
  const places = new Set(axes.map((axis) => axisIn(axis, rank)));
  const rest = [...list];
  return Array.from({ length: rank }, (_, i) => (places.has(i) ? one : (rest.shift() ?? one)));
}

export function convertConcat(context: ImportContext, node: OnnxNode): Activation {
  const values = node.inputs.map((_, i) => context.activation(node, i));
  const [first] = values;
  if (first === undefined) return refuse('it has no inputs', 'The file is damaged.');
  if (values.length === 1) return first;
  const axis = axisIn(integer(node, 'axis', 1), first.axes.length);
  const channels = lastAxis(first, axis);
  if (channels === undefined || channels.entries !== undefined) {
    return refuse('it joins along another axis than the channels, or flattened images', 'Join images along their channels.');
  }
  const order = [...channels.front, axis];
  const shape = context.assembler.shapeOf(lastShaped(context, first, channels));
  const inputs = values.map((value) => {
    const node = value.axes.length === first.axes.length ? context.inOrder(value, order) : undefined;
    if (node === undefined) return refuse('its inputs have their axes in different orders', 'Join images along their channels.');
    return context.shaped(node, [...shape.slice(0, -1), axisSize(value.axes[axis] ?? [])]);
  });
  const made = context.add({ op: 'concat', name: layerName(node), inputs });
  const size = context.channels(made);
  const dim: Dim = { size };
  const front = new Set(channels.front.flatMap((other) => first.axes[other] as readonly Dim[]));
  const dims = [...first.dims.filter((candidate) => front.has(candidate)), ...(size > 1 ? [dim] : [])];
  const axes = first.axes.map((old, i): FileAxis => (i === axis ? (size > 1 ? [dim] : []) : old));
  const nonNegative = values.every((value) => value.nonNegative === true) ? { nonNegative: true } : {};
  return { kind: 'activation', node: made, dims, axes, ...nonNegative };
}

/** The image `[h, w, c]` of a value with its first two axes known by their place in the file. */
interface ImageAxes {
  readonly node: string;
  readonly rows: number;
  readonly columns: number;
  readonly channels: number;
}

/** Which of three axes of the file are ours, outermost first; the two that change come first. */
function imageAxes(context: ImportContext, value: Activation, changes: readonly number[]): ImageAxes {
  const order = ownOrder(value);
  if (value.axes.length !== 4 || value.axes[0] !== 'batch') return refuse('its input is no image', 'Use it on images.');
  const candidates = [order, [2, 3, 1], [1, 2, 3]].filter(
    (candidate) => candidate.length === 3 && changes.every((axis) => candidate.indexOf(axis) < 2),
  );
  for (const [rows = 0, columns = 0, channels = 0] of candidates) {
    const node = context.inOrder(value, [rows, columns, channels]);
    if (node !== undefined) return { node, rows, columns, channels };
  }
  return refuse('it changes the channels', 'Change height and width only.');
}

/** Our image after a layer that changed height and width. */
function changedImage(context: ImportContext, value: Activation, { rows, columns, channels }: ImageAxes, made: string): Activation {
  const dims = context.assembler.shapeOf(made).map((size): Dim => ({ size }));
  const own = (i: number): FileAxis => (dims[i] === undefined || dims[i].size === 1 ? [] : [dims[i]]);
  const places = new Map([
    [rows, own(0)],
    [columns, own(1)],
    [channels, own(2)],
  ]);
  const axes = value.axes.map((axis, i) => places.get(i) ?? axis);
  const sign = value.nonNegative === true ? { nonNegative: true } : {};
  return { kind: 'activation', node: made, dims: dims.filter(({ size }) => size > 1), axes, ...sign };
}

export function convertPad(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const rank = value.axes.length;
  const mode = string(node, 'mode', 'constant');
  if (mode !== 'constant') refuse(`its mode is '${mode}'`, 'Pad with zeros.');
  const pads = context.integersOf(node, node.attributes.has('paddings') ? 'paddings' : 'pads', 1) ?? [];
  const fill = context.scalar(context.optionalConstant(node, 2, 'values')) ?? number(node, 'value', 0);
  if (fill !== 0) refuse(`it pads with ${fill}`, 'Pad with zeros.');
  const axes = context.optionalConstant(node, 3, 'axes');
  const padded = axes === undefined ? value.axes.map((_, i) => i) : context.integers(axes, 'axes').map((axis) => axisIn(axis, rank));
  if (pads.length !== 2 * padded.length) refuse(`it has ${pads.length} pads for ${padded.length} axes`, 'The file is damaged.');
  if (pads.some((pad) => pad < 0)) refuse('it cuts (negative pads)', 'Cut the image before it enters the model.');
  const borders = new Map(padded.map((axis, i): [number, Pair] => [axis, [pads[i] ?? 0, pads[i + padded.length] ?? 0]]));
  const changes = [...borders].flatMap(([axis, [before, after]]) => (before + after > 0 ? [axis] : []));
  if (changes.length === 0) return value;
  if (rank === 3) return convertPad3(context, node, value, borders, changes);
  const image = imageAxes(context, value, changes);
  const padding = [borders.get(image.rows) ?? [0, 0], borders.get(image.columns) ?? [0, 0]] as const;
  return changedImage(context, value, image, context.add({ op: 'zeroPad2d', name: layerName(node), inputs: [image.node], padding }));
}

/** Zeros around a sequence: around an image of height 1. */
function convertPad3(
  context: ImportContext,
  node: OnnxNode,
  value: Activation,
  borders: ReadonlyMap<number, Pair>,
  changes: readonly number[],
): Activation {
  const lifted: Activation = { ...value, axes: [value.axes[0] ?? 'batch', [], ...value.axes.slice(1)] };
  const image = imageAxes(
    context,
    lifted,
    changes.map((axis) => axis + 1),
  );
  const at = (axis: number): Pair => borders.get(axis - 1) ?? [0, 0];
  const padding: readonly [Pair, Pair] = [image.rows === 1 ? [0, 0] : at(image.rows), image.columns === 1 ? [0, 0] : at(image.columns)];
  const made = context.add({ op: 'zeroPad2d', name: layerName(node), inputs: [image.node], padding });
  const result = changedImage(context, lifted, image, made);
  return { ...result, axes: result.axes.filter((_, i) => i !== 1) };
}

export function convertResize(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const { axes } = value;
  const factors = resizeFactors(context, node, value);
  const changes = factors.flatMap((factor, i) => (factor === 1 ? [] : [i]));
  if (changes.length === 0) return value;
  if (factors.some((factor) => !Number.isInteger(factor) || factor < 1)) {
    refuse(`its factors are [${factors.map((factor) => Number(factor.toFixed(4))).join(', ')}]`, 'Enlarge by whole factors.');
  }
  const image = imageAxes(context, value, changes);
  const size: Pair = [factors[image.rows] ?? 1, factors[image.columns] ?? 1];
  const interpolation = interpolationOf(
    context,
    node,
    Math.max(...size),
    [axes[image.rows], axes[image.columns]].every((axis) => axisSize(axis ?? []) > 1),
  );
  const made = context.add({ op: 'upSampling2d', name: layerName(node), inputs: [image.node], size, interpolation });
  return changedImage(context, value, image, made);
}

function resizeFactors(context: ImportContext, node: OnnxNode, { axes }: Activation): number[] {
  const attribute = node.attributes.get('scales')?.floats;
  if (attribute !== undefined && attribute.length === axes.length) return [...attribute];
  const isOld = node.op === 'Upsample' || context.opset < 11;
  const scales = context.optionalConstant(node, isOld ? 1 : 2, 'scales');
  if (scales !== undefined && elementsOf(scales.dims) === axes.length) return context.integers(scales, 'scales');
  const sizes = context.optionalConstant(node, 3, 'sizes');
  const target = sizes === undefined ? [] : shapeIntegers(context, sizes);
  if (target.length !== axes.length) return refuse('its factors are not known', 'Export the model with constant scales.');
  return axes.map((axis, i) => (axis === 'batch' ? 1 : Number(target[i]) / axisSize(axis)));
}

/** Between whole factors, several rules of ONNX say the same as ours; the others are refused. */
function interpolationOf(context: ImportContext, node: OnnxNode, factor: number, isLarge: boolean): 'nearest' | 'bilinear' {
  const isOld = node.op === 'Upsample' || context.opset < 11;
  const mode = string(node, 'mode', 'nearest');
  const rule = isOld ? 'asymmetric' : string(node, 'coordinate_transformation_mode', 'half_pixel');
  const rounding = isOld ? 'floor' : string(node, 'nearest_mode', 'round_prefer_floor');
  const isHalfPixel = rule === 'half_pixel' || (rule === 'pytorch_half_pixel' && isLarge);
  if (mode === 'nearest') {
    if (rule === 'asymmetric' && (rounding === 'floor' || (rounding === 'round_prefer_floor' && factor <= 2))) return 'nearest';
    if (isHalfPixel && rounding.startsWith('round_prefer')) return 'nearest';
  }
  if (mode === 'linear' && isHalfPixel) return 'bilinear';
  return refuse(
    `its mode is '${mode}' with '${rule}' and '${rounding}'`,
    "Use 'nearest' with 'asymmetric' and 'floor', or 'linear' with 'half_pixel'.",
  );
}
