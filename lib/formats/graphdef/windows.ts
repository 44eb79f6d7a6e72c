import { elementCount } from '../../graph/shapes.js';
import type { Padding, Pair } from '../../graph/types.js';
import { windowGeometry } from '../../graph/windows.js';
import { flattened } from '../import/affine.js';
import { Refusal, ShapeRefusal } from '../import/attempt.js';
import type { ParameterSources } from '../import/types.js';
import { requireNhwc } from './batch-norm.js';
import { biasAfter } from './bias.js';
import type { Constant } from './constants.js';
import type { GraphContext } from './context.js';
import type { NodeDef } from './parse.js';
import { shapeOperand } from './target-shape.js';

/** `[1, h, w, 1]` → `[h, w]`. */
function spatial(node: NodeDef, attribute: string): Pair {
  const [batch = 1, height = 1, width = 1, channels = 1] = node.integers(attribute);
  if (batch !== 1 || channels !== 1)
    throw new Refusal(`its ${attribute} go over batch or channels`, 'Only height and width are supported.');
  return [height, width];
}

/** The padding of a window, after explicit padding has become a layer of its own. */
function padded(context: GraphContext, node: NodeDef, input: string): { readonly input: string; readonly padding: Padding } {
  const padding = node.text('padding', '');
  if (padding === 'SAME' || padding === 'VALID') return { input, padding: padding === 'SAME' ? 'same' : 'valid' };
  const [, , top = 0, bottom = 0, left = 0, right = 0] = node.integers('explicit_paddings');
  if (padding !== 'EXPLICIT') throw new Refusal(`its padding is '${padding}'`, 'SAME, VALID and EXPLICIT are supported.');
  const borders = [
    [top, bottom],
    [left, right],
  ] as const;
  return {
    input: context.assembler.add({ op: 'zeroPad2d', name: `${node.name}_pad`, inputs: [input], padding: borders }),
    padding: 'valid',
  };
}

/** A dilated convolution as TensorFlow once wrote it: space to batch, convolution, batch to space. */
export interface Dilation {
  readonly rate: Pair;
  readonly padding: Padding | readonly [Pair, Pair];
  readonly end: NodeDef;
}

/** Finds the convolution and the way back after a SpaceToBatchND. */
export function dilationAfter(context: GraphContext, start: NodeDef, kernelSize: Pair, convolution: NodeDef): Dilation | undefined {
  const end = context.onlyReader(convolution.name);
  if (end?.op !== 'BatchToSpaceND') return undefined;
  const [height = 0, width = 0, ...others] = context.integers(start, 1);
  const [top = 0, bottom = 0, left = 0, right = 0] = context.integers(start, 2);
  const block = context.integers(end, 1);
  const [cropTop = 0, cropBottom = 0, cropLeft = 0, cropRight = 0] = context.integers(end, 2);
  const [strideHeight, strideWidth] = spatial(convolution, 'strides');
  const plain = others.length === 0 && block[0] === height && block[1] === width && cropTop === 0 && cropLeft === 0;
  if (!plain || strideHeight !== 1 || strideWidth !== 1 || convolution.text('padding', '') !== 'VALID') return undefined;
  const borders = [
    [top, bottom - cropBottom],
    [left, right - cropRight],
  ] as const;
  if (borders.flat().some((border) => border < 0)) return undefined;
  const [inputHeight = 0, inputWidth = 0] = context.shape(start);
  const same = windowGeometry([inputHeight, inputWidth], kernelSize, [1, 1], [height, width], 'same').padding;
  const matches = same.every((border, i) => border === borders.flat()[i]);
  return { rate: [height, width], padding: matches ? 'same' : borders, end };
}

/** Conv2D and DepthwiseConv2dNative, with the bias that is added to them. */
export function convolution(context: GraphContext, node: NodeDef): string {
  requireNhwc(node);
  const kernel = context.constant(node, 1);
  const [height = 0, width = 0, depth = 0, last = 0] = kernel.shape;
  if (kernel.shape.length !== 4)
    throw new Refusal(`its kernel has the shape [${kernel.shape.join(', ')}]`, 'Four dimensions are expected.');
  const source = context.nodes.get(context.inputName(node, 0));
  const dilated = source?.op === 'SpaceToBatchND' ? dilationAfter(context, source, [height, width], node) : undefined;
  if (source?.op === 'SpaceToBatchND' && dilated === undefined) {
    throw new Refusal('it works on SpaceToBatchND in a way that is no dilated convolution', 'Use dilations of the convolution.');
  }
  const raw = dilated === undefined || source === undefined ? context.value(node) : context.value(source);
  const { input, padding } = dilated === undefined ? padded(context, node, raw) : borderedInput(context, node, raw, dilated.padding);
  const dilation = dilated?.rate ?? spatial(node, 'dilations');
  const channels = context.assembler.shapeOf(raw).at(-1) ?? 0;
  const isDepthwise = node.op === 'DepthwiseConv2dNative';
  if (depth !== channels) {
    throw new ShapeRefusal(
      `its kernel is for ${depth} channels and its input has ${channels}`,
      'Convolutions in groups are not supported.',
    );
  }
  const outputs = isDepthwise ? depth * last : last;
  const bias = biasAfter(context, dilated?.end ?? node, outputs);
  const parameters = weights(kernel, bias?.bias);
  const common = {
    name: node.name,
    inputs: [input],
    kernelSize: [height, width],
    strides: spatial(node, 'strides'),
    padding,
    dilation,
    useBias: bias !== undefined,
  } as const;
  const layer = isDepthwise
    ? context.assembler.add({ ...common, op: 'depthwiseConv2d', depthMultiplier: last }, parameters)
    : context.assembler.add({ ...common, op: 'conv2d', filters: last }, parameters);
  if (dilated !== undefined) context.absorb(layer, dilated.end);
  if (bias !== undefined) context.absorb(layer, bias.sum);
  return layer;
}

/** Conv2DBackpropInput: a transposed convolution, with the bias that is added to it. Its kernel `[h, w, out, in]` has our order. */
export function transposedConvolution(context: GraphContext, node: NodeDef): string {
  requireNhwc(node);
  const kernel = context.constant(node, 1);
  const [height = 0, width = 0, filters = 0, depth = 0] = kernel.shape;
  const padding = node.text('padding', '');
  const dilated = node.integers('dilations').some((dilation) => dilation !== 1);
  if (kernel.shape.length !== 4 || dilated || (padding !== 'SAME' && padding !== 'VALID')) {
    throw new Refusal('it is dilated, or its padding or kernel is unusual', 'Use padding SAME or VALID and no dilation.');
  }
  const input = context.value(node, 2);
  const bias = biasAfter(context, node, filters);
  const layer = context.assembler.add(
    {
      op: 'conv2dTranspose',
      name: node.name,
      inputs: [input],
      filters,
      kernelSize: [height, width],
      strides: spatial(node, 'strides'),
      padding: padding === 'SAME' ? 'same' : 'valid',
      useBias: bias !== undefined,
    },
    weights(kernel, bias?.bias),
  );
  const made = context.assembler.shapeOf(layer);
  const [, ...wanted] = shapeOperand(context, node, 0);
  if (context.assembler.shapeOf(input).at(-1) !== depth || wanted.some((size, i) => size !== -1 && size !== made[i])) {
    throw new ShapeRefusal(
      `it makes [${wanted.join(', ')}] where [${made.join(', ')}] follows from its input`,
      'Use the default output size.',
    );
  }
  if (bias !== undefined) context.absorb(layer, bias.sum);
  return layer;
}

function borderedInput(context: GraphContext, node: NodeDef, input: string, padding: Dilation['padding']): ReturnType<typeof padded> {
  if (typeof padding === 'string') return { input, padding };
  if (padding.flat().every((border) => border === 0)) return { input, padding: 'valid' };
  return { input: context.assembler.add({ op: 'zeroPad2d', name: `${node.name}_pad`, inputs: [input], padding }), padding: 'valid' };
}

function weights(kernel: Constant, bias: (() => Float32Array) | undefined): ParameterSources {
  return { kernel: kernel.values, ...(bias === undefined ? {} : { bias }) };
}

/** Product with a constant matrix, with the bias that is added to it. */
export function matMul(context: GraphContext, node: NodeDef): string {
  const kernel = context.constant(node, 1);
  const transposed = node.flag('transpose_b', false) || node.flag('adj_y', false);
  if (node.flag('transpose_a', false) || node.flag('adj_x', false))
    throw new Refusal('it transposes its input', 'Only weights may be transposed.');
  const [rows = 0, columns = 0] = kernel.shape;
  const [inputs, units] = transposed ? [columns, rows] : [rows, columns];
  if (kernel.shape.length !== 2)
    throw new Refusal(`its weights have the shape [${kernel.shape.join(', ')}]`, 'Two dimensions are expected.');
  const raw = context.value(node);
  const given = context.assembler.shapeOf(raw);
  if (given.length !== 1 || elementCount(given) !== inputs) {
    throw new ShapeRefusal(`its input is [${given.join(', ')}] and its weights take ${inputs} values`, 'Flatten before it.');
  }
  const bias = biasAfter(context, node, units);
  const parameters = {
    ...weights(kernel, bias?.bias),
    kernel: transposed ? (): Float32Array => transpose(kernel.values(), units, inputs) : kernel.values,
  };
  const input = flattened(context.assembler, `${node.name}_flat`, raw);
  const layer = context.assembler.add({ op: 'dense', name: node.name, inputs: [input], units, useBias: bias !== undefined }, parameters);
  if (bias !== undefined) context.absorb(layer, bias.sum);
  return layer;
}

/** `[rows, columns]` → `[columns, rows]`. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? 0);
}

export function pool(context: GraphContext, node: NodeDef): string {
  requireNhwc(node);
  if (node.text('padding', '') === 'EXPLICIT') throw new Refusal('its padding is EXPLICIT', 'SAME and VALID are supported.');
  const { input, padding } = padded(context, node, context.value(node));
  const op = node.op === 'MaxPool' ? 'maxPool2d' : 'averagePool2d';
  return context.assembler.add({
    op,
    name: node.name,
    inputs: [input],
    poolSize: spatial(node, 'ksize'),
    strides: spatial(node, 'strides'),
    padding,
  });
}
