import { PcqatError } from '../../errors.js';
import type { Pool1dNode, Pool2dNode, UpSampling2dNode, ZeroPad2dNode } from '../../graph/types.js';
import { windowOf } from '../../graph/windows.js';
import { asImage, type EmitContext, fused, innerShape, outputOf, parametersOf, windowOptions } from './emit-context.js';
import { emitActivation, emitAdd, emitConcat, emitMultiply } from './emit-elementwise.js';
import { emitBatchNorm, emitConvolution, emitDense, emitDepthwise, emitTransposedConvolution } from './emit-weighted.js';
import type { Int8Layer } from './int8-layers.js';
import { UNIT_PARAMETERS } from './parameters.js';
import type { TfliteValue } from './tflite-program.js';

/** Adds the TFLite operators of a layer; returns its output. */
export function emitLayer(context: EmitContext, layer: Int8Layer, values: readonly TfliteValue[]): TfliteValue {
  const { program, shapes } = context;
  const { node } = layer;
  if (node.op === 'input') return program.activation(layer.output, shapes.get(layer.output) ?? [], parametersOf(context, layer));
  const reshapes = node.op === 'flatten' || node.op === 'reshape';
  const inputs = reshapes ? values : values.map((value, i) => asImage(context, value, layer.inputs[i] ?? ''));
  const input = inputs[0];
  if (input === undefined) throw new PcqatError('ERR_INTERNAL', 'the layer has no input', { where: `layer '${node.name}'` });
  switch (node.op) {
    case 'conv1d':
    case 'conv2d':
      return emitConvolution(context, layer, node, input);
    case 'depthwiseConv1d':
    case 'depthwiseConv2d':
      return emitDepthwise(context, layer, node, input);
    case 'conv2dTranspose':
      return emitTransposedConvolution(context, layer, node, input);
    case 'dense':
      return emitDense(context, layer, node, input);
    case 'batchNorm':
      return emitBatchNorm(context, layer, node, input);
    case 'add':
      return emitAdd(context, layer, inputs);
    case 'multiply':
      return emitMultiply(context, layer, inputs);
    case 'concat':
      return emitConcat(context, layer, inputs);
    case 'relu':
    case 'relu6':
    case 'sigmoid':
    case 'tanh':
    case 'hardSwish':
      return emitActivation(context, layer, node, input);
    case 'leakyRelu':
      return program.operator('LEAKY_RELU', [input.tensor], outputOf(context, layer), { alpha: node.alpha });
    case 'averagePool1d':
    case 'averagePool2d':
    case 'maxPool1d':
    case 'maxPool2d':
      return emitPool(context, layer, node, input);
    case 'globalAveragePool1d':
    case 'globalAveragePool2d': {
      const axes = program.integers(`${node.name}/axes`, [2], [1, 2]);
      return program.operator('MEAN', [input.tensor, axes], outputOf(context, layer), { keepDims: false });
    }
    case 'upSampling2d':
      return emitUpsampling(context, layer, node, input);
    case 'zeroPad2d':
      return emitPadding(context, layer, node, input);
    case 'flatten':
    case 'reshape':
      return program.reshape(
        layer.output,
        input,
        layer.output === context.output ? (shapes.get(layer.output) ?? []) : innerShape(context, layer),
      );
    case 'softmax':
      return program.operator('SOFTMAX', [input.tensor], program.activation(layer.output, input.shape, UNIT_PARAMETERS), { beta: 1 });
  }
}

function emitPool(context: EmitContext, layer: Int8Layer, node: Pool1dNode | Pool2dNode, input: TfliteValue): TfliteValue {
  const window = windowOf(node);
  const [filterHeight, filterWidth] = window.size;
  const op = node.op === 'maxPool1d' || node.op === 'maxPool2d' ? 'MAX_POOL_2D' : 'AVERAGE_POOL_2D';
  const options = { ...windowOptions(window), filterWidth, filterHeight, ...fused(layer) };
  return context.program.operator(op, [input.tensor], like(context, layer, input), options);
}

/** Half-pixel centres, as TF2; for nearest they give the same pixels as none, without rounding errors at whole numbers. */
function emitUpsampling(context: EmitContext, layer: Int8Layer, node: UpSampling2dNode, input: TfliteValue): TfliteValue {
  const output = like(context, layer, input);
  const size = context.program.integers(`${node.name}/size`, [2], output.shape.slice(0, 2));
  const op = node.interpolation === 'nearest' ? 'RESIZE_NEAREST_NEIGHBOR' : 'RESIZE_BILINEAR';
  return context.program.operator(op, [input.tensor, size], output, { alignCorners: false, halfPixelCenters: true });
}

function emitPadding(context: EmitContext, layer: Int8Layer, node: ZeroPad2dNode, input: TfliteValue): TfliteValue {
  const [[top, bottom], [left, right]] = node.padding;
  const paddings = context.program.integers(`${node.name}/paddings`, [4, 2], [0, 0, top, bottom, left, right, 0, 0]);
  return context.program.operator('PAD', [input.tensor, paddings], like(context, layer, input));
}

/** The tensor of a layer's output with its input's scale and zero point. */
function like(context: EmitContext, layer: Int8Layer, input: TfliteValue): TfliteValue {
  return context.program.activation(layer.output, innerShape(context, layer), input);
}
