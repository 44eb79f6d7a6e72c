import { PcqatError } from '../../errors.js';
import { elementCount, sameShape } from '../../graph/shapes.js';
import type { Pair, Shape } from '../../graph/types.js';
import { transposedGeometry, windowGeometry } from '../../graph/windows.js';
import type { TfliteModel, TfliteOperator } from '../tflite/types.js';
import type { AttributeValue } from './encode.js';
import { GraphWriter, type OnnxLayout, type OnnxOutput } from './graph-writer.js';
import { QdqTensors, unsupported } from './qdq-tensors.js';
import { transposedAttributes, windowAttributes } from './write-windows.js';

/** Writes an int8 model as float operators between QuantizeLinear and DequantizeLinear, which runtimes fuse to integer ones. */
export function encodeQdq(model: TfliteModel, layout: OnnxLayout, io: 'float32' | 'int8'): Uint8Array {
  const writer = new GraphWriter();
  const tensors = new QdqTensors(model, writer);
  const [input, output] = [model.inputs[0], model.outputs[0]];
  if (model.inputs.length !== 1 || model.outputs.length !== 1 || input === undefined || output === undefined || input === output) {
    throw unsupported('the model must have one input and another output', 'Use a model with one of each.');
  }
  const shape = tensors.shape(input);
  const { name } = tensors.tensor(input);
  if (io === 'int8') tensors.dequantized(input, writer.input(name, tensors.type(input), shape, layout));
  else tensors.requantize(input, writer.input(name, 'float', shape, layout));
  const last = new Map<number, OnnxOutput>();
  for (const [i, operator] of model.operators.entries()) {
    const [target, ...others] = operator.outputs;
    if (target === undefined || others.length > 0) throw unsupported(`operator ${i} (${operator.op}) has several outputs`, 'Use one.');
    const real = bounded(tensors, operator, target, writeOperator(tensors, operator, target, i));
    const codes = tensors.quantized(target, real);
    last.set(target, io === 'int8' && target === output ? codes : tensors.dequantized(target, codes));
  }
  const result = last.get(output);
  if (result === undefined) throw new PcqatError('ERR_OPTION', 'no operator makes the output', { where: 'model.outputs' });
  return writer.encode(model.description || 'model', result, tensors.tensor(output).name, layout);
}

const PLAIN: Readonly<Record<string, string>> = { ADD: 'Add', MUL: 'Mul', LOGISTIC: 'Sigmoid', TANH: 'Tanh', HARD_SWISH: 'HardSwish' };
const SPATIAL = 2;

/** The operator on real numbers, without its fused activation. */
function writeOperator(tensors: QdqTensors, operator: TfliteOperator, target: number, position: number): OnnxOutput {
  const { op, options, inputs } = operator;
  const { writer } = tensors;
  const shape = tensors.shape(target);
  const output = { name: `${tensors.tensor(target).name}/float`, shape };
  const x = tensors.value(op === 'TRANSPOSE_CONV' ? inputs[2] : inputs[0]);
  const emit = (
    name: string,
    others: readonly (OnnxOutput | string)[] = [],
    attributes: Readonly<Record<string, AttributeValue>> = {},
  ): OnnxOutput => writer.node(name, [x, ...others], output, attributes);
  switch (op) {
    case 'CONV_2D': {
      const [filters = 0, height = 0, width = 0, depth = 0] = tensors.tensor(inputs[1]).shape;
      if (depth !== x.shape[2]) throw unsupported(`operator ${position} (${op}) has groups`, 'Use one group.');
      const kernel = tensors.weights(inputs[1], [0, 3, 1, 2], [filters, depth, height, width]);
      return emit('Conv', [kernel, ...tensors.bias(inputs[2])], sliding(options, x.shape, [height, width]));
    }
    case 'DEPTHWISE_CONV_2D': {
      const [, height = 0, width = 0, filters = 0] = tensors.tensor(inputs[1]).shape;
      const kernel = tensors.weights(inputs[1], [3, 0, 1, 2], [filters, 1, height, width]);
      const attributes = { ...sliding(options, x.shape, [height, width]), group: { int: x.shape[2] ?? 1 } };
      return emit('Conv', [kernel, ...tensors.bias(inputs[2])], attributes);
    }
    case 'TRANSPOSE_CONV':
      return transposed(tensors, operator, x, output);
    case 'FULLY_CONNECTED': {
      const [units = 0, depth = 0] = tensors.tensor(inputs[1]).shape;
      const flat = x.shape.length === 1 ? x : writer.reshape(x, [elementCount(x.shape)], `${output.name}/flat`);
      if (flat.shape[0] !== depth) throw unsupported(`operator ${position} (${op}) has several rows`, 'Flatten its input.');
      const kernel = tensors.weights(inputs[1], [0, 1], [units, depth]);
      return writer.node('Gemm', [flat, kernel, ...tensors.bias(inputs[2])], output, { transB: { int: 1 } });
    }
    case 'AVERAGE_POOL_2D':
    case 'MAX_POOL_2D': {
      const { dilations: _, ...attributes } = sliding(options, x.shape, [number(options.filterHeight), number(options.filterWidth)]);
      return op === 'MAX_POOL_2D'
        ? emit('MaxPool', [], attributes)
        : emit('AveragePool', [], { ...attributes, count_include_pad: { int: 0 } });
    }
    case 'MEAN':
      return mean(tensors, operator, x, output);
    case 'ADD':
    case 'MUL':
      return writer.node(PLAIN[op] ?? '', broadcast(tensors, operator, shape), output);
    case 'LOGISTIC':
    case 'TANH':
    case 'HARD_SWISH':
      return emit(PLAIN[op] ?? '');
    case 'LEAKY_RELU':
      return emit('LeakyRelu', [], { alpha: { float: number(options.alpha) } });
    case 'SOFTMAX':
      if (options.beta !== 1) throw unsupported(`operator ${position} (SOFTMAX) has the beta ${String(options.beta)}`, 'Use 1.');
      return emit('Softmax', [], { axis: { int: shape.length === 2 || shape.length === 3 ? 1 : -1 } });
    case 'CONCATENATION': {
      const axis = number(options.axis);
      if (axis !== shape.length && axis !== -1)
        throw unsupported(`operator ${position} (${op}) joins along axis ${axis}`, 'Join channels.');
      const parts = inputs.map((input) => tensors.value(input));
      return writer.node('Concat', parts, output, { axis: { int: shape.length <= 3 ? 1 : shape.length } });
    }
    case 'PAD': {
      const [, , top = 0, bottom = 0, left = 0, right = 0, ...channels] = tensors.integers(inputs[1]);
      if (shape.length !== 3 || channels.some((pad) => pad !== 0))
        throw unsupported(`operator ${position} (${op}) pads channels`, 'Pad images.');
      return emit('Pad', [writer.integers(`${output.name}/pads`, [0, 0, top, left, 0, 0, bottom, right])], {
        mode: { string: 'constant' },
      });
    }
    case 'RESHAPE':
      return writer.reshape(x, shape, output.name);
    case 'RESIZE_NEAREST_NEIGHBOR':
    case 'RESIZE_BILINEAR':
      return resized(tensors, operator, x, output);
    case 'QUANTIZE':
    case 'RELU':
    case 'RELU6':
      return x; // the activation follows
    default:
      throw unsupported(`operator ${position} (${op}) cannot be written`, 'Use a model that pcqat has converted.');
  }
}

function number(option: unknown): number {
  return typeof option === 'number' ? option : 0;
}

function sliding(options: TfliteOperator['options'], input: Shape, size: Pair): ReturnType<typeof windowAttributes> {
  const strides: Pair = [number(options.strideH), number(options.strideW)];
  const dilation: Pair = [number(options.dilationHFactor) || 1, number(options.dilationWFactor) || 1];
  const image: Pair = [input[0] ?? 1, input[1] ?? 1];
  const { padding } = windowGeometry(image, size, strides, dilation, options.padding === 'SAME' ? 'same' : 'valid');
  return windowAttributes({ size, strides, dilation }, padding, SPATIAL);
}

function transposed(tensors: QdqTensors, { inputs, options }: TfliteOperator, x: OnnxOutput, output: Omit<OnnxOutput, 'type'>): OnnxOutput {
  const [filters = 0, height = 0, width = 0, depth = 0] = tensors.tensor(inputs[1]).shape;
  const kernel = tensors.weights(inputs[1], [3, 0, 1, 2], [depth, filters, height, width]);
  const strides: Pair = [number(options.strideH), number(options.strideW)];
  const input: Pair = [x.shape[0] ?? 1, x.shape[1] ?? 1];
  const geometry = transposedGeometry(input, {
    kernelSize: [height, width],
    strides,
    padding: options.padding === 'SAME' ? 'same' : 'valid',
  });
  if (!sameShape(geometry.output, output.shape.slice(0, 2)))
    throw unsupported('TRANSPOSE_CONV has another output size', 'Use stride × input.');
  const attributes = transposedAttributes([height, width], strides, input, geometry.output, geometry.padding);
  return tensors.writer.node('ConvTranspose', [x, kernel, ...tensors.bias(inputs[3])], output, attributes);
}

function mean(tensors: QdqTensors, { inputs, options }: TfliteOperator, x: OnnxOutput, output: Omit<OnnxOutput, 'type'>): OnnxOutput {
  const axes = tensors.integers(inputs[1]).map((axis) => (axis < 0 ? axis + x.shape.length + 1 : axis));
  if (x.shape.length !== 3 || axes.toSorted().join() !== '1,2')
    throw unsupported(`MEAN has the axes ${axes.join(', ')}`, 'Use height and width.');
  const keeps = options.keepDims === true;
  return tensors.writer.node('ReduceMean', [x], output, { axes: { ints: [2, 3] }, keepdims: { int: keeps ? 1 : 0 } });
}

/** Both inputs with as many dimensions as the output: one factor per channel may have fewer. */
function broadcast(tensors: QdqTensors, { op, inputs }: TfliteOperator, shape: Shape): OnnxOutput[] {
  const ones = shape.slice(0, -1).map(() => 1);
  return inputs.map((input) => {
    const value = tensors.value(input);
    const channels = value.shape.at(-1) ?? 1;
    const isVector = elementCount(value.shape) === channels;
    if (value.shape.length === shape.length && (isVector || sameShape(value.shape, shape))) return value;
    if (!isVector || channels !== shape.at(-1))
      throw unsupported(`${op} takes [${value.shape.join(', ')}] to [${shape.join(', ')}]`, 'Use equal shapes.');
    return tensors.writer.reshape(value, [...ones, channels], `${value.name}/aligned`);
  });
}

function resized(tensors: QdqTensors, { op, options }: TfliteOperator, x: OnnxOutput, output: Omit<OnnxOutput, 'type'>): OnnxOutput {
  const factors = [0, 1].map((axis) => (output.shape[axis] ?? 1) / (x.shape[axis] ?? 1));
  const isNearest = op === 'RESIZE_NEAREST_NEIGHBOR';
  if (
    factors.some((factor) => !Number.isInteger(factor)) ||
    options.alignCorners === true ||
    (!isNearest && options.halfPixelCenters !== true)
  ) {
    throw unsupported(`${op} enlarges by [${factors.join(', ')}]`, 'Use whole factors and half-pixel centres.');
  }
  const scales = tensors.writer.floats(`${output.name}/scales`, [4], Float32Array.of(1, 1, ...factors));
  const attributes: Readonly<Record<string, AttributeValue>> = isNearest
    ? { mode: { string: 'nearest' }, coordinate_transformation_mode: { string: 'asymmetric' }, nearest_mode: { string: 'floor' } }
    : { mode: { string: 'linear' }, coordinate_transformation_mode: { string: 'half_pixel' } };
  return tensors.writer.node('Resize', [x, '', scales], output, attributes);
}

/** The fused activation, unless the codes of the output end where it would cut. */
function bounded(tensors: QdqTensors, { op, options }: TfliteOperator, target: number, real: OnnxOutput): OnnxOutput {
  const activation = op === 'RELU' || op === 'RELU6' ? op : options.fusedActivationFunction;
  if (activation === undefined || activation === 'NONE') return real;
  if (activation !== 'RELU' && activation !== 'RELU6')
    throw unsupported(`${op} has the activation ${String(activation)}`, 'Use RELU or RELU6.');
  const { scale, zeroPoint, dtype } = tensors.tensor(target);
  const [step = 1, zero = 0] = [scale[0], zeroPoint[0]];
  const [lowest, highest] = dtype === 'uint8' ? [0, 255] : [-128, 127];
  // Nothing between two pairs of nodes: ONNX Runtime would make one pair of them, which rounds once where there are two roundings.
  const isAlone = op === 'RELU' || op === 'RELU6';
  const isImplied = !isAlone && zero === lowest && (activation === 'RELU' || zero + Math.round(6 / step) >= highest);
  if (isImplied) return real;
  const output = { name: `${real.name}/bounded`, shape: real.shape };
  if (activation === 'RELU') return tensors.writer.node('Relu', [real], output);
  const bounds = [0, 6].map((bound) => tensors.writer.floats(`${output.name}/${bound}`, [], Float32Array.of(bound)));
  return tensors.writer.node('Clip', [real, ...bounds], output);
}
