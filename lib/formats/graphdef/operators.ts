import type { ActivationNode } from '../../graph/types.js';
import { reshaped } from '../import/affine.js';
import { Refusal, ShapeRefusal } from '../import/attempt.js';
import { fusedBatchNorm, requireNhwc, spelledBatchNorm } from './batch-norm.js';
import { affine } from './bias.js';
import type { GraphContext } from './context.js';
import type { NodeDef } from './parse.js';
import { targetShape } from './target-shape.js';
import { convolution, matMul, pool, transposedConvolution } from './windows.js';

/** Translates a node whose inputs are known; returns the layer that holds its value. */
type Translate = (context: GraphContext, node: NodeDef) => string;

const passOn: Translate = (context, node) => context.value(node);

const activation =
  (op: ActivationNode['op']): Translate =>
  (context, node) =>
    context.assembler.add({ op, name: node.name, inputs: [context.value(node)] });

function isConstantArithmetic(context: GraphContext, node: NodeDef): boolean {
  return context.isConstant(node, 0) || context.isConstant(node, 1);
}

const sum: Translate = (context, node) => {
  if (node.inputs.length !== 2) throw new Refusal(`it adds ${node.inputs.length} values`, 'Add two at a time.');
  if (isConstantArithmetic(context, node)) return affine(context, node);
  return context.assembler.add({ op: 'add', name: node.name, inputs: [context.value(node, 0), context.value(node, 1)] });
};

const product: Translate = (context, node) => {
  if (isConstantArithmetic(context, node)) return spelledBatchNorm(context, node) ?? affine(context, node);
  const inputs = [0, 1].map((i) => context.value(node, i));
  const [first = 0, second = 0] = inputs.map((input) => context.assembler.shapeOf(input).reduce((a, b) => a * b, 1));
  return context.assembler.add({ op: 'multiply', name: node.name, inputs: second > first ? inputs.reverse() : inputs });
};

const difference: Translate = (context, node) => {
  if (isConstantArithmetic(context, node)) return affine(context, node);
  throw new Refusal('both its inputs are computed', 'Only a constant may be subtracted or divided by.');
};

const mean: Translate = (context, node) => {
  const shape = context.shape(node);
  const axes = context.integers(node, 1).map((axis) => (axis < 0 ? axis + shape.length + 1 : axis));
  const wanted = shape.slice(0, -1).map((_, i) => i + 1);
  if (shape.length < 2 || shape.length > 3 || axes.length !== wanted.length || !wanted.every((axis) => axes.includes(axis))) {
    throw new ShapeRefusal(`it takes the mean over the axes [${axes.join(', ')}]`, 'Only the mean over height and width is supported.');
  }
  const op = shape.length === 3 ? 'globalAveragePool2d' : 'globalAveragePool1d';
  const pooled = context.assembler.add({ op, name: node.name, inputs: [context.value(node)] });
  if (!node.flag('keep_dims', false)) return pooled;
  return reshaped(context.assembler, `${node.name}_keep`, pooled, [...wanted.map(() => 1), shape.at(-1) ?? 1]);
};

const reshape: Translate = (context, node) => {
  const shape = targetShape(context, node, context.shape(node));
  return reshaped(context.assembler, node.name, context.value(node), shape);
};

const squeeze: Translate = (context, node) => {
  const shape = context.shape(node);
  const axes = node.integers('squeeze_dims').map((axis) => (axis < 0 ? axis + shape.length + 1 : axis));
  const kept = shape.filter((dimension, i) => dimension !== 1 || (axes.length > 0 && !axes.includes(i + 1)));
  if (axes.includes(0)) throw new Refusal('it removes the batch', 'Only dimensions of the example can be removed.');
  return reshaped(context.assembler, node.name, context.value(node), kept);
};

const expandDims: Translate = (context, node) => {
  const shape = context.shape(node);
  const [axis = 0] = context.integers(node, 1);
  const at = axis < 0 ? axis + shape.length + 2 : axis;
  if (at < 1) throw new Refusal('it adds a dimension before the batch', 'Only dimensions of the example can be added.');
  return reshaped(context.assembler, node.name, context.value(node), shape.toSpliced(at - 1, 0, 1));
};

const pad: Translate = (context, node) => {
  const [before = 0, after = 0, top = 0, bottom = 0, left = 0, right = 0, front = 0, back = 0] = context.integers(node, 1);
  if (node.op === 'PadV2' && context.constant(node, 2).values()[0] !== 0)
    throw new Refusal('it pads with another value than 0', 'Only zeros are supported.');
  if (before + after + front + back !== 0) throw new Refusal('it pads batch or channels', 'Only height and width are supported.');
  const padding = [
    [top, bottom],
    [left, right],
  ] as const;
  return context.assembler.add({ op: 'zeroPad2d', name: node.name, inputs: [context.value(node)], padding });
};

const concat: Translate = (context, node) => {
  const values = node.inputs.length - 1;
  const rank = context.shape(node).length;
  const [axis = 0] = context.integers(node, values);
  if (axis !== -1 && axis !== rank) throw new ShapeRefusal(`it joins along axis ${axis}`, 'Only the last axis is supported.');
  const inputs = Array.from({ length: values }, (_, i) => context.value(node, i));
  return inputs.length === 1 ? inputs[0]! : context.assembler.add({ op: 'concat', name: node.name, inputs });
};

const resize: Translate = (context, node) => {
  requireNhwc(node);
  const [height = 0, width = 0] = context.shape(node);
  const [newHeight = 0, newWidth = 0] = context.integers(node, 1);
  const size = [newHeight / height, newWidth / width] as const;
  const interpolation = node.op === 'ResizeBilinear' ? 'bilinear' : 'nearest';
  if (!size.every((factor) => Number.isInteger(factor) && factor >= 1)) {
    throw new ShapeRefusal(`it makes [${newHeight}, ${newWidth}] out of [${height}, ${width}]`, 'Only whole factors are supported.');
  }
  // Nearest pixels are the same ones for whole factors, with half-pixel centres or without.
  if (node.flag('align_corners', false) || (interpolation === 'bilinear' && !node.flag('half_pixel_centers', false))) {
    throw new Refusal('its pixels are not taken at half-pixel centres', 'Use tf.image.resize of TensorFlow 2.');
  }
  return context.assembler.add({ op: 'upSampling2d', name: node.name, inputs: [context.value(node)], size, interpolation });
};

const cast: Translate = (context, node) => {
  if (node.type('DstT') !== 1) throw new Refusal('it does not cast to float', 'Only float32 is supported.');
  return context.value(node);
};

/** Taken up by the convolution after it. */
const spaceToBatch: Translate = (context, node) => {
  const reader = context.onlyReader(node.name);
  if (reader?.op === 'Conv2D' || reader?.op === 'DepthwiseConv2dNative') return context.value(node);
  throw new Refusal('it is not part of a dilated convolution', 'Use dilations of the convolution.');
};

export const TRANSLATIONS: ReadonlyMap<string, Translate> = new Map<string, Translate>([
  ['Identity', passOn],
  ['StopGradient', passOn],
  ['CheckNumerics', passOn],
  ['PreventGradient', passOn],
  ['Snapshot', passOn],
  ['PlaceholderWithDefault', passOn],
  ['Cast', cast],
  ['Conv2D', convolution],
  ['DepthwiseConv2dNative', convolution],
  ['SpaceToBatchND', spaceToBatch],
  ['Conv2DBackpropInput', transposedConvolution],
  ['ResizeBilinear', resize],
  ['ResizeNearestNeighbor', resize],
  ['MatMul', matMul],
  ['BatchMatMul', matMul],
  ['BatchMatMulV2', matMul],
  ['BiasAdd', (context, node) => (requireNhwc(node), affine(context, node))],
  ['Add', sum],
  ['AddV2', sum],
  ['AddN', sum],
  ['Mul', product],
  ['Sub', difference],
  ['RealDiv', difference],
  ['FusedBatchNorm', fusedBatchNorm],
  ['FusedBatchNormV2', fusedBatchNorm],
  ['FusedBatchNormV3', fusedBatchNorm],
  ['Relu', activation('relu')],
  ['Relu6', activation('relu6')],
  ['Sigmoid', activation('sigmoid')],
  ['Tanh', activation('tanh')],
  [
    'LeakyRelu',
    (context, node) =>
      context.assembler.add({ op: 'leakyRelu', name: node.name, inputs: [context.value(node)], alpha: node.real('alpha', 0.2) }),
  ],
  ['Softmax', (context, node) => context.assembler.add({ op: 'softmax', name: node.name, inputs: [context.value(node)] })],
  ['AvgPool', pool],
  ['MaxPool', pool],
  ['Mean', mean],
  ['Reshape', reshape],
  ['Squeeze', squeeze],
  ['ExpandDims', expandDims],
  ['Pad', pad],
  ['PadV2', pad],
  ['ConcatV2', concat],
]);
