import type {
  BatchNormNode,
  Conv1dNode,
  Conv2dNode,
  Conv2dTransposeNode,
  DenseNode,
  DepthwiseConv1dNode,
  DepthwiseConv2dNode,
} from '../../graph/types.js';
import { type Window, windowGeometry, windowOf } from '../../graph/windows.js';
import { kernelOf, outputChannelOf, type WeightedNode } from '../registry.js';
import { weightOf } from '../state.js';
import { type EmitContext, fused, innerShape, outputOf, parametersOf, windowOptions } from './emit-context.js';
import { foldFloatWeights } from './fold-float.js';
import { assertCodebook, foldWeights, type FoldOptions } from './fold.js';
import type { Int8Layer } from './int8-layers.js';
import { roundHalfAway, type ActivationParameters } from './parameters.js';
import type { StoredWeights, TfliteValue } from './tflite-program.js';

/** 1-D convolutions are 2-D ones over images of height 1. */
export function emitConvolution(context: EmitContext, layer: Int8Layer, node: Conv2dNode | Conv1dNode, image: TfliteValue): TfliteValue {
  const window = windowOf(node);
  const input = padCausally(context, node.name, window, image);
  const depth = input.shape[2] ?? 0;
  const weights = fold(context, layer, node, node.filters, input);
  const stored = { ...weights, kernel: channelsFirst(weights.kernel, node.filters) };
  const kernel = context.program.kernel(`${node.name}/kernel`, [node.filters, ...window.size, depth], 0, stored);
  return weighted(context, layer, 'CONV_2D', input, kernel, weights, { ...slidingOptions(window), ...fused(layer) });
}

export function emitDepthwise(
  context: EmitContext,
  layer: Int8Layer,
  node: DepthwiseConv2dNode | DepthwiseConv1dNode,
  image: TfliteValue,
): TfliteValue {
  const window = windowOf(node);
  const input = padCausally(context, node.name, window, image);
  const channels = (input.shape[2] ?? 0) * node.depthMultiplier;
  const weights = fold(context, layer, node, channels, input);
  const kernel = context.program.kernel(`${node.name}/kernel`, [1, ...window.size, channels], 3, weights);
  const options = { ...slidingOptions(window), depthMultiplier: node.depthMultiplier, ...fused(layer) };
  return weighted(context, layer, 'DEPTHWISE_CONV_2D', input, kernel, weights, options);
}

/** TFLite has no causal windows: the zeros before the first step are padded, and the window takes what it finds. */
function padCausally(
  { program }: EmitContext,
  name: string,
  { size, strides, dilation, padding }: Window,
  input: TfliteValue,
): TfliteValue {
  if (padding !== 'causal') return input;
  const [height = 0, width = 0, depth = 0] = input.shape;
  const [, , before] = windowGeometry([height, width], size, strides, dilation, padding).padding;
  if (before === 0) return input;
  const paddings = program.integers(`${name}/paddings`, [4, 2], [0, 0, 0, 0, before, 0, 0, 0]);
  return program.operator('PAD', [input.tensor, paddings], program.activation(`${name}/padded`, [height, width + before, depth], input));
}

/**
 * The kernel `[kh, kw, out, in]` as TFLite has it, `[out, kh, kw, in]`. Before version 4 the operator knows no fused activation, but its
 * output cannot leave the range of its type: a ReLU whose range says the same needs no operator.
 */
export function emitTransposedConvolution(
  context: EmitContext,
  layer: Int8Layer,
  node: Conv2dTransposeNode,
  input: TfliteValue,
): TfliteValue {
  const { program } = context;
  const [height, width] = node.kernelSize;
  const depth = input.shape[2] ?? 0;
  const weights = fold(context, layer, node, node.filters, input);
  const stored = { ...weights, kernel: outputsFirst(weights.kernel, height * width, node.filters, depth) };
  const kernel = program.kernel(`${node.name}/kernel`, [node.filters, height, width, depth], 0, stored);
  const shape = innerShape(context, layer);
  const target = program.integers(`${node.name}/shape`, [4], [1, ...shape]);
  const bias = program.bias(`${node.name}/bias`, weights);
  const parameters = parametersOf(context, layer);
  const inputs = [target, kernel, input.tensor, bias];
  if (isImplied(layer, parameters)) {
    return program.operator('TRANSPOSE_CONV', inputs, program.activation(layer.output, shape, parameters), windowOptions(node));
  }
  const unbounded = program.activation(`${layer.output}/unbounded`, shape, parameters);
  const sums = program.operator('TRANSPOSE_CONV', inputs, unbounded, windowOptions(node));
  return program.operator(layer.activation, [sums.tensor], program.activation(layer.output, shape, parameters));
}

/** Do the codes −128 and 127 bound the output as the activation would? */
function isImplied({ activation }: Int8Layer, { scale, zeroPoint }: ActivationParameters): boolean {
  const low = zeroPoint === -128;
  return activation === 'NONE' || (activation === 'RELU' ? low : low && zeroPoint + roundHalfAway(6 / scale) >= 127);
}

export function emitDense(context: EmitContext, layer: Int8Layer, node: DenseNode, input: TfliteValue): TfliteValue {
  if (hasScalePerChannel(context, layer)) return emitDenseAsConvolution(context, layer, node, input);
  const weights = fold(context, layer, node, node.units, input, false);
  const shape = [node.units, input.shape[0] ?? 0];
  const stored = { ...weights, kernel: channelsFirst(weights.kernel, node.units) };
  const kernel = context.program.kernel(`${node.name}/kernel`, shape, 0, stored);
  return weighted(context, layer, 'FULLY_CONNECTED', input, kernel, weights, fused(layer));
}

/** Scales per channel come from a batch norm, or from a weight quantizer per axis. */
function hasScalePerChannel({ model, program }: EmitContext, { batchNorm, node }: Int8Layer): boolean {
  if (program.isFloat) return false;
  return batchNorm !== undefined || model.chains.get(`${node.name}/kernel`)?.fakeQuant?.perChannel === true;
}

/** Dense with a scale per channel: a 1×1 convolution, because old runtimes compute a dense layer with one scale only (batch norm: fixes W15). */
function emitDenseAsConvolution(context: EmitContext, layer: Int8Layer, node: DenseNode, input: TfliteValue): TfliteValue {
  const { program } = context;
  const depth = input.shape[0] ?? 0;
  const image = program.reshape(`${node.name}/image`, input, [1, 1, depth]);
  const weights = fold(context, layer, node, node.units, input);
  const stored = { ...weights, kernel: channelsFirst(weights.kernel, node.units) };
  const kernel = program.kernel(`${node.name}/kernel`, [node.units, 1, 1, depth], 0, stored);
  const output = program.activation(`${layer.output}/image`, [1, 1, node.units], parametersOf(context, layer));
  return program.reshape(layer.output, weighted(context, layer, 'CONV_2D', image, kernel, weights, { ...POINT, ...fused(layer) }, output), [
    node.units,
  ]);
}

/** A batch norm that stands alone: a 1×1 depthwise convolution. */
export function emitBatchNorm(context: EmitContext, layer: Int8Layer, node: BatchNormNode, input: TfliteValue): TfliteValue {
  const { program } = context;
  const channels = input.shape.at(-1) ?? 0;
  const isImage = input.shape.length === 3;
  const image = isImage ? input : program.reshape(`${node.name}/image`, input, [1, 1, channels]);
  const weights = foldFor(context, { batchNorm: node, channels, perChannel: true, inputScale: input.scale });
  const kernel = program.kernel(`${node.name}/kernel`, [1, 1, 1, channels], 3, weights);
  const options = { ...POINT, depthMultiplier: 1, ...fused(layer) };
  const output = program.activation(isImage ? layer.output : `${layer.output}/image`, image.shape, parametersOf(context, layer));
  weighted(context, layer, 'DEPTHWISE_CONV_2D', image, kernel, weights, options, output);
  return isImage ? output : program.reshape(layer.output, output, input.shape);
}

/** Options of a 1×1 window. */
const POINT = { padding: 'VALID', strideW: 1, strideH: 1, dilationWFactor: 1, dilationHFactor: 1 } as const;

function slidingOptions(window: Window): Readonly<Record<string, string | number>> {
  return { ...windowOptions(window), dilationWFactor: window.dilation[1], dilationHFactor: window.dilation[0] };
}

/** Batch norm folded, as the program holds numbers. */
function foldFor({ model, program }: EmitContext, options: FoldOptions): StoredWeights {
  if (program.isFloat) return { ...foldFloatWeights(model, options), scales: new Float32Array(), biasScales: new Float32Array() };
  const weights = foldWeights(model, options);
  if (options.layer !== undefined) assertCodebook(model, options.layer, weights);
  return { ...weights, kernel: weights.codes };
}

function fold(
  context: EmitContext,
  { batchNorm }: Int8Layer,
  node: WeightedNode,
  channels: number,
  { scale: inputScale }: TfliteValue,
  perChannel = true,
): StoredWeights {
  const channelOf = outputChannelOf(node, weightOf(context.model, kernelOf(node)).shape);
  const options = { layer: node.name, channels, perChannel, channelOf, inputScale, ...(batchNorm === undefined ? {} : { batchNorm }) };
  return foldFor(context, options);
}

function weighted(
  context: EmitContext,
  layer: Int8Layer,
  op: string,
  input: TfliteValue,
  kernel: number,
  weights: StoredWeights,
  options: Readonly<Record<string, string | number>>,
  output?: TfliteValue,
): TfliteValue {
  const { program } = context;
  const bias = program.bias(`${layer.node.name}/bias`, weights);
  return program.operator(op, [input.tensor, kernel, bias], output ?? outputOf(context, layer), options);
}

/** `[…, channels]` → `[channels, …]`: HWIO → OHWI, [in, out] → [out, in]. */
function channelsFirst<T extends StoredWeights['kernel']>(kernel: T, channels: number): T {
  const depth = kernel.length / channels;
  const result = kernel.slice() as T;
  for (let i = 0; i < kernel.length; i++) result[(i % channels) * depth + Math.floor(i / channels)] = kernel[i] ?? 0;
  return result;
}

/** `[taps, out, in]` → `[out, taps, in]`. */
function outputsFirst<T extends StoredWeights['kernel']>(kernel: T, taps: number, channels: number, depth: number): T {
  const result = kernel.slice() as T;
  for (let tap = 0; tap < taps; tap++) {
    for (let channel = 0; channel < channels; channel++) {
      const from = (tap * channels + channel) * depth;
      result.set(kernel.subarray(from, from + depth), (channel * taps + tap) * depth);
    }
  }
  return result;
}
