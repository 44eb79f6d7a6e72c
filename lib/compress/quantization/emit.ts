import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import type { Conv2dNode, DenseNode, DepthwiseConv2dNode, Pair, Shape } from '../../graph/types.js';
import { assertCodebook, foldWeights, type FoldOptions, type Int8Weights } from './fold.js';
import type { Int8Layer } from './int8-layers.js';
import { type ActivationParameters, SOFTMAX_PARAMETERS } from './parameters.js';
import type { Int8Value, TfliteProgram } from './tflite-program.js';

export interface EmitContext {
  readonly model: Model;
  readonly program: TfliteProgram;
  readonly shapes: ReadonlyMap<string, Shape>;
  /** Scale and zero point of outputs that have their own. */
  readonly parameters: ReadonlyMap<string, ActivationParameters>;
}

/** Adds the TFLite operators of a layer; returns its output. */
export function emitLayer(context: EmitContext, layer: Int8Layer, inputs: readonly Int8Value[]): Int8Value {
  const { program, shapes } = context;
  const { node } = layer;
  const shape = shapes.get(layer.output) ?? [];
  if (node.op === 'input') return program.activation(layer.output, shape, parametersOf(context, layer));
  const input = inputs[0];
  if (input === undefined) throw new PcqatError('ERR_INTERNAL', 'the layer has no input', { where: `layer '${node.name}'` });
  const like = (parameters: ActivationParameters): Int8Value => program.activation(layer.output, shape, parameters);
  switch (node.op) {
    case 'conv2d':
      return emitConvolution(context, layer, node, input);
    case 'depthwiseConv2d':
      return emitDepthwise(context, layer, node, input);
    case 'dense':
      return layer.batchNorm === undefined ? emitDense(context, layer, node, input) : emitDenseAsConvolution(context, layer, node, input);
    case 'batchNorm':
      return emitBatchNorm(context, layer, input);
    case 'add':
      return program.operator(
        'ADD',
        inputs.map(({ tensor }) => tensor),
        like(parametersOf(context, layer)),
        fused(layer),
      );
    case 'relu':
    case 'relu6':
      return program.operator(node.op === 'relu' ? 'RELU' : 'RELU6', [input.tensor], like(parametersOf(context, layer)));
    case 'averagePool2d':
    case 'maxPool2d': {
      const [filterHeight, filterWidth] = node.poolSize;
      const options = { ...window(node), filterWidth, filterHeight, ...fused(layer) };
      return program.operator(node.op === 'maxPool2d' ? 'MAX_POOL_2D' : 'AVERAGE_POOL_2D', [input.tensor], like(input), options);
    }
    case 'globalAveragePool2d': {
      const axes = program.integers(`${node.name}/axes`, [2], [1, 2]);
      return program.operator('MEAN', [input.tensor, axes], like(parametersOf(context, layer)), { keepDims: false });
    }
    case 'zeroPad2d': {
      const [[top, bottom], [left, right]] = node.padding;
      const paddings = program.integers(`${node.name}/paddings`, [4, 2], [0, 0, top, bottom, left, right, 0, 0]);
      return program.operator('PAD', [input.tensor, paddings], like(input));
    }
    case 'flatten':
    case 'reshape':
      return program.reshape(layer.output, input, shape);
    case 'softmax':
      return program.operator('SOFTMAX', [input.tensor], like(SOFTMAX_PARAMETERS), { beta: 1 });
    default:
      throw new PcqatError('ERR_UNSUPPORTED', `${node.op} cannot be converted to int8 yet`, { where: `layer '${node.name}'` });
  }
}

function emitConvolution(context: EmitContext, layer: Int8Layer, node: Conv2dNode, input: Int8Value): Int8Value {
  const [height, width] = node.kernelSize;
  const depth = input.shape[2] ?? 0;
  const weights = fold(context, layer, { layer: node.name, channels: node.filters, perChannel: true, inputScale: input.scale });
  const codes = channelsFirst(weights.codes, node.filters);
  const kernel = context.program.kernel(`${node.name}/kernel`, [node.filters, height, width, depth], 0, codes, weights.scales);
  const options = { ...window(node), ...dilations(node.dilation), ...fused(layer) };
  return weighted(context, layer, 'CONV_2D', input, kernel, weights, options);
}

function emitDepthwise(context: EmitContext, layer: Int8Layer, node: DepthwiseConv2dNode, input: Int8Value): Int8Value {
  const [height, width] = node.kernelSize;
  const channels = (input.shape[2] ?? 0) * node.depthMultiplier;
  const weights = fold(context, layer, { layer: node.name, channels, perChannel: true, inputScale: input.scale });
  const kernel = context.program.kernel(`${node.name}/kernel`, [1, height, width, channels], 3, weights.codes, weights.scales);
  const options = { ...window(node), depthMultiplier: node.depthMultiplier, ...dilations(node.dilation), ...fused(layer) };
  return weighted(context, layer, 'DEPTHWISE_CONV_2D', input, kernel, weights, options);
}

function emitDense(context: EmitContext, layer: Int8Layer, node: DenseNode, input: Int8Value): Int8Value {
  const weights = fold(context, layer, { layer: node.name, channels: node.units, perChannel: false, inputScale: input.scale });
  const shape = [node.units, input.shape[0] ?? 0];
  const kernel = context.program.kernel(`${node.name}/kernel`, shape, 0, channelsFirst(weights.codes, node.units), weights.scales);
  return weighted(context, layer, 'FULLY_CONNECTED', input, kernel, weights, fused(layer));
}

/** Dense + batch norm: a 1×1 convolution over a 1×1 image, whose scales per channel can take the batch norm (fixes W15). */
function emitDenseAsConvolution(context: EmitContext, layer: Int8Layer, node: DenseNode, input: Int8Value): Int8Value {
  const { program } = context;
  const depth = input.shape[0] ?? 0;
  const image = program.reshape(`${node.name}/image`, input, [1, 1, depth]);
  const weights = fold(context, layer, { layer: node.name, channels: node.units, perChannel: true, inputScale: input.scale });
  const codes = channelsFirst(weights.codes, node.units);
  const kernel = program.kernel(`${node.name}/kernel`, [node.units, 1, 1, depth], 0, codes, weights.scales);
  const inner = { ...layer, output: `${layer.output}/image` };
  const output = weighted(
    context,
    inner,
    'CONV_2D',
    image,
    kernel,
    weights,
    { ...POINT, ...fused(layer) },
    [1, 1, node.units],
    parametersOf(context, layer),
  );
  return program.reshape(layer.output, output, [node.units]);
}

/** A batch norm that stands alone: a 1×1 depthwise convolution. */
function emitBatchNorm(context: EmitContext, layer: Int8Layer, input: Int8Value): Int8Value {
  const { program } = context;
  const { node } = layer;
  if (node.op !== 'batchNorm') throw new PcqatError('ERR_INTERNAL', 'not a batch norm', { where: `layer '${node.name}'` });
  const channels = input.shape.at(-1) ?? 0;
  const isImage = input.shape.length === 3;
  const imageShape = isImage ? input.shape : [1, 1, channels];
  const image = isImage ? input : program.reshape(`${node.name}/image`, input, imageShape);
  const weights = foldWeights(context.model, { batchNorm: node, channels, perChannel: true, inputScale: input.scale });
  const kernel = program.kernel(`${node.name}/kernel`, [1, 1, 1, channels], 3, weights.codes, weights.scales);
  const options = { ...POINT, depthMultiplier: 1, ...fused(layer) };
  const inner = isImage ? layer : { ...layer, output: `${layer.output}/image` };
  const output = weighted(context, inner, 'DEPTHWISE_CONV_2D', image, kernel, weights, options, imageShape, parametersOf(context, layer));
  return isImage ? output : program.reshape(layer.output, output, input.shape);
}

/** Options of a 1×1 window. */
const POINT = { padding: 'VALID', strideW: 1, strideH: 1, dilationWFactor: 1, dilationHFactor: 1 } as const;

function fold(context: EmitContext, layer: Int8Layer, options: FoldOptions & { readonly layer: string }): Int8Weights {
  const weights = foldWeights(context.model, layer.batchNorm === undefined ? options : { ...options, batchNorm: layer.batchNorm });
  assertCodebook(context.model, options.layer, weights);
  return weights;
}

function weighted(
  context: EmitContext,
  layer: Int8Layer,
  op: string,
  input: Int8Value,
  kernel: number,
  weights: Int8Weights,
  options: Readonly<Record<string, string | number>>,
  shape = context.shapes.get(layer.output) ?? [],
  parameters = parametersOf(context, layer),
): Int8Value {
  const { program } = context;
  const bias = program.bias(`${layer.node.name}/bias`, weights);
  return program.operator(op, [input.tensor, kernel, bias], program.activation(layer.output, shape, parameters), options);
}

function parametersOf({ parameters }: EmitContext, { output }: Int8Layer): ActivationParameters {
  const found = parameters.get(output);
  if (found === undefined) throw new PcqatError('ERR_INTERNAL', 'the layer has no range', { where: `layer '${output}'` });
  return found;
}

function window({ strides, padding }: { readonly strides: Pair; readonly padding: string }): Readonly<Record<string, string | number>> {
  return { padding: padding.toUpperCase(), strideW: strides[1], strideH: strides[0] };
}

function dilations([height, width]: Pair): Readonly<Record<string, number>> {
  return { dilationWFactor: width, dilationHFactor: height };
}

function fused({ activation }: Int8Layer): { readonly fusedActivationFunction: string } {
  return { fusedActivationFunction: activation };
}

/** `[…, channels]` → `[channels, …]`: HWIO → OHWI, [in, out] → [out, in]. */
function channelsFirst(codes: Int8Array, channels: number): Int8Array {
  const depth = codes.length / channels;
  const result = new Int8Array(codes.length);
  for (let i = 0; i < codes.length; i++) result[(i % channels) * depth + Math.floor(i / channels)] = codes[i] ?? 0;
  return result;
}
