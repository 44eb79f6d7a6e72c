import type { ActivationNode } from '../../graph/types.js';
import { addAffine, reshaped } from '../import/affine.js';
import { Refusal, ShapeRefusal } from '../import/attempt.js';
import { activated } from './import-activation.js';
import type { TfliteContext } from './import-context.js';
import { convolution, fullyConnected, paddingOf, pairOf, transposedConvolution } from './import-weighted.js';
import type { TfliteOperator, TfliteTensor } from './types.js';

/** Translates an operator whose inputs are known; returns the layer that holds its value. */
type Translate = (context: TfliteContext, operator: TfliteOperator) => string;

const passOn: Translate = (context, operator) => context.value(operator);

const activation =
  (op: ActivationNode['op']): Translate =>
  (context, operator) =>
    context.assembler.add({ op, name: context.name(operator), inputs: [context.value(operator)] });

/** A sum, difference or product with a constant, or of two values. */
const arithmetic: Translate = (context, operator) => {
  const index = [1, 0].find((i) => context.isConstant(operator, i));
  const name = context.name(operator);
  if (index !== undefined) return activated(context, operator, withConstant(context, operator, index));
  const inputs = [context.value(operator, 0), context.value(operator, 1)];
  if (operator.op === 'SUB') throw new Refusal('both its inputs are computed', 'Only a constant may be subtracted.');
  if (operator.op === 'ADD') return activated(context, operator, context.assembler.add({ op: 'add', name, inputs }));
  const [first = 0, second = 0] = inputs.map((input) => context.assembler.shapeOf(input).reduce((a, b) => a * b, 1));
  const ordered = second > first ? inputs.toReversed() : inputs;
  return activated(context, operator, context.assembler.add({ op: 'multiply', name, inputs: ordered }));
};

function withConstant(context: TfliteContext, operator: TfliteOperator, index: number): string {
  const constant = context.reals(operator, index);
  const input = context.value(operator, 1 - index);
  const channels = context.assembler.shapeOf(input).at(-1) ?? 1;
  const elements = constant.shape.reduce((product, dimension) => product * dimension, 1);
  if (elements !== 1 && !(elements === channels && constant.shape.at(-1) === channels)) {
    throw new ShapeRefusal(`its constant of [${constant.shape.join(', ')}] is not one value per channel`, 'Only those are supported.');
  }
  const values = (): Float32Array => context.floats(constant);
  const negated = (): Float32Array => values().map((value) => -value);
  const add = (parts: Parameters<typeof addAffine>[3]): string => addAffine(context.assembler, context.name(operator), input, parts);
  if (operator.op === 'ADD') return add({ shift: values });
  if (operator.op === 'MUL') return add({ scale: values });
  return index === 1 ? add({ shift: negated }) : add({ scale: () => Float32Array.of(-1), shift: values });
}

const pool: Translate = (context, operator) => {
  const layer = context.assembler.add({
    op: operator.op === 'MAX_POOL_2D' ? 'maxPool2d' : 'averagePool2d',
    name: context.name(operator),
    inputs: [context.value(operator)],
    poolSize: pairOf(operator, 'filterHeight', 'filterWidth'),
    strides: pairOf(operator, 'strideH', 'strideW'),
    padding: paddingOf(operator),
  });
  const { fusedActivationFunction = 'NONE' } = operator.options;
  // The output of a pool has its input's range, so no ReLU was left out.
  return fusedActivationFunction === 'NONE' ? layer : activated(context, operator, layer);
};

const mean: Translate = (context, operator) => {
  const shape = context.shape(operator);
  const axes = context.integers(operator, 1).map((axis) => (axis < 0 ? axis + shape.length + 1 : axis));
  const wanted = shape.slice(0, -1).map((_, i) => i + 1);
  if (shape.length < 2 || shape.length > 3 || axes.length !== wanted.length || !wanted.every((axis) => axes.includes(axis))) {
    throw new ShapeRefusal(`it takes the mean over the axes [${axes.join(', ')}]`, 'Only the mean over height and width is supported.');
  }
  const op = shape.length === 3 ? 'globalAveragePool2d' : 'globalAveragePool1d';
  const name = context.name(operator);
  const pooled = context.assembler.add({ op, name, inputs: [context.value(operator)] });
  if (operator.options['keepDims'] !== true) return pooled;
  return reshaped(context.assembler, `${name}_keep`, pooled, [...wanted.map(() => 1), shape.at(-1) ?? 1]);
};

/** The file has the shape that comes out, however it is computed. */
const reshape: Translate = (context, operator) => {
  const [batch, ...shape] = context.output(operator).shape;
  if (batch === undefined) throw new Refusal('its output has no batch', 'The first dimension must stay the batch.');
  return context.reshape(context.name(operator), context.value(operator), shape);
};

const pad: Translate = (context, operator) => {
  const paddings = context.integers(operator, 1);
  if (operator.op === 'PADV2' && context.floats(context.reals(operator, 2))[0] !== 0) {
    throw new Refusal('it pads with another value than 0', 'Only zeros are supported.');
  }
  const [before = 0, after = 0, top = 0, bottom = 0, left = 0, right = 0, front = 0, back = 0] = paddings;
  if (paddings.length !== 8 || before + after + front + back !== 0)
    throw new Refusal('it pads batch or channels', 'Only height and width are supported.');
  const padding = [
    [top, bottom],
    [left, right],
  ] as const;
  return context.assembler.add({ op: 'zeroPad2d', name: context.name(operator), inputs: [context.value(operator)], padding });
};

const concat: Translate = (context, operator) => {
  const rank = context.shape(operator).length;
  const axis = Number(operator.options['axis']);
  if (axis !== -1 && axis !== rank) throw new ShapeRefusal(`it joins along axis ${axis}`, 'Only the last axis is supported.');
  const inputs = operator.inputs.map((_, i) => context.value(operator, i));
  if (operator.options['fusedActivationFunction'] !== 'NONE')
    throw new Refusal('an activation is fused into it', 'Convert the model anew.');
  return inputs.length === 1 ? (inputs[0] ?? '') : context.assembler.add({ op: 'concat', name: context.name(operator), inputs });
};

const resize: Translate = (context, operator) => {
  const [height = 0, width = 0] = context.shape(operator);
  const [newHeight = 0, newWidth = 0] = context.integers(operator, 1);
  const size = [newHeight / height, newWidth / width] as const;
  const { alignCorners, halfPixelCenters } = operator.options;
  const interpolation = operator.op === 'RESIZE_BILINEAR' ? 'bilinear' : 'nearest';
  if (!size.every((factor) => Number.isInteger(factor) && factor >= 1)) {
    throw new ShapeRefusal(`it makes [${newHeight}, ${newWidth}] out of [${height}, ${width}]`, 'Only whole factors are supported.');
  }
  if (alignCorners === true || (interpolation === 'bilinear' && halfPixelCenters !== true)) {
    throw new Refusal('its pixels are not taken at half-pixel centres', 'Use tf.image.resize of TensorFlow 2.');
  }
  return context.assembler.add({
    op: 'upSampling2d',
    name: context.name(operator),
    inputs: [context.value(operator)],
    size,
    interpolation,
  });
};

/**
 * Repeats every row or column: what Keras 3 makes of nearest upsampling. A dimension of 1 is put behind height or width and tiled; a RESHAPE
 * before and one behind do the rest.
 */
const tile: Translate = (context, operator) => {
  const [batch, ...multiples] = context.integers(operator, 1);
  const shape = context.shape(operator);
  const axis = multiples.findIndex((multiple) => multiple !== 1);
  const [repeats = 1] = multiples.slice(axis);
  const image = shape.toSpliced(axis, 1);
  const once = batch === 1 && multiples.every((multiple, i) => i === axis || multiple === 1);
  if (!once || shape[axis] !== 1 || image.length !== 3 || axis < 1 || axis > 2) {
    throw new ShapeRefusal(
      `it repeats [${shape.join(', ')}] by [${multiples.join(', ')}]`,
      'Only rows or columns of images can be repeated.',
    );
  }
  const name = context.name(operator);
  const size = axis === 1 ? ([repeats, 1] as const) : ([1, repeats] as const);
  const input = context.reshape(`${name}_image`, context.value(operator), image);
  const layer = context.assembler.add({ op: 'upSampling2d', name, inputs: [input], size, interpolation: 'nearest' });
  return context.reshape(`${name}_shape`, layer, shape.with(axis, repeats));
};

const softmax: Translate = (context, operator) => {
  const beta = Number(operator.options['beta']);
  if (beta !== 1) throw new Refusal(`its beta is ${beta}`, 'Only 1 is supported.');
  return context.assembler.add({ op: 'softmax', name: context.name(operator), inputs: [context.value(operator)] });
};

const leakyRelu: Translate = (context, operator) =>
  context.assembler.add({
    op: 'leakyRelu',
    name: context.name(operator),
    inputs: [context.value(operator)],
    alpha: Number(operator.options['alpha']),
  });

export const TRANSLATIONS: ReadonlyMap<string, Translate> = new Map<string, Translate>([
  ['ADD', arithmetic],
  ['SUB', arithmetic],
  ['MUL', arithmetic],
  ['AVERAGE_POOL_2D', pool],
  ['MAX_POOL_2D', pool],
  ['CONCATENATION', concat],
  ['CONV_2D', convolution],
  ['DEPTHWISE_CONV_2D', convolution],
  ['TRANSPOSE_CONV', transposedConvolution],
  ['FULLY_CONNECTED', fullyConnected],
  ['DEQUANTIZE', passOn],
  ['QUANTIZE', passOn],
  ['LOGISTIC', activation('sigmoid')],
  ['TANH', activation('tanh')],
  ['RELU', activation('relu')],
  ['RELU6', activation('relu6')],
  ['HARD_SWISH', activation('hardSwish')],
  ['LEAKY_RELU', leakyRelu],
  ['MEAN', mean],
  ['PAD', pad],
  ['PADV2', pad],
  ['RESHAPE', reshape],
  ['SQUEEZE', reshape],
  ['EXPAND_DIMS', reshape],
  ['RESIZE_BILINEAR', resize],
  ['RESIZE_NEAREST_NEIGHBOR', resize],
  ['SOFTMAX', softmax],
  ['TILE', tile],
]);

/** What follows a SHAPE; a RESHAPE does without. */
export const SHAPE_OPERATORS: ReadonlySet<string> = new Set(['STRIDED_SLICE', 'PACK']);

export function isQuantized({ dtype }: TfliteTensor): boolean {
  return dtype === 'int8' || dtype === 'uint8' || dtype === 'int16';
}
