// The options of the builder with Keras' defaults filled in, as attributes of nodes.
import type { Conv1dOptions, ConvolutionOptions, PairLike, Pool1dOptions, Pool2dOptions } from './builder-options.js';
import type { GraphNode, Pair } from './types.js';

type AttributesOf<O extends GraphNode['op']> = Omit<Extract<GraphNode, { readonly op: O }>, 'op' | 'name' | 'inputs'>;

export function toPair(value: PairLike): Pair {
  return typeof value === 'number' ? [value, value] : value;
}

export function convolution(options: ConvolutionOptions): Omit<AttributesOf<'conv2d'>, 'filters'> {
  const { kernelSize, strides = 1, padding = 'valid', dilation = 1, useBias = true } = options;
  return { kernelSize: toPair(kernelSize), strides: toPair(strides), padding, dilation: toPair(dilation), useBias };
}

export function convolution1d(options: Omit<Conv1dOptions, 'filters'>): Omit<AttributesOf<'conv1d'>, 'filters'> {
  const { kernelSize, strides = 1, padding = 'valid', dilation = 1, useBias = true } = options;
  return { kernelSize, strides, padding, dilation, useBias };
}

export function pool2d(
  options: Pool2dOptions,
): Pick<Extract<GraphNode, { op: 'averagePool2d' | 'maxPool2d' }>, 'poolSize' | 'strides' | 'padding'> {
  const { poolSize = 2, strides = poolSize, padding = 'valid' } = options;
  return { poolSize: toPair(poolSize), strides: toPair(strides), padding };
}

export function pool1d(
  options: Pool1dOptions,
): Pick<Extract<GraphNode, { op: 'averagePool1d' | 'maxPool1d' }>, 'poolSize' | 'strides' | 'padding'> {
  const { poolSize = 2, strides = poolSize, padding = 'valid' } = options;
  return { poolSize, strides, padding };
}
