import { elementCount } from '../../graph/shapes.js';
import type { ModelAssembler } from './assemble.js';
import { ShapeRefusal } from './attempt.js';

/** `x · scale + shift`; each holds one value, or one per channel. */
export interface Affine {
  readonly scale?: () => Float32Array;
  readonly shift?: () => Float32Array;
}

/**
 * Adds a product and sum with constants as a depthwise convolution of one tap. (A batch normalization would do for inference, but would
 * normalize as soon as the model is trained.)
 *
 * @returns the name of the node that holds the result
 */
export function addAffine(assembler: ModelAssembler, name: string, input: string, { scale, shift }: Affine): string {
  const shape = assembler.shapeOf(input);
  const channels = shape.at(-1) ?? 1;
  const parameters = {
    kernel: () => perChannel(scale, channels, 1),
    ...(shift === undefined ? {} : { bias: () => perChannel(shift, channels, 0) }),
  };
  const common = { name, padding: 'valid', depthMultiplier: 1, useBias: shift !== undefined } as const;
  if (shape.length === 2) {
    return assembler.add({ ...common, op: 'depthwiseConv1d', inputs: [input], kernelSize: 1, strides: 1, dilation: 1 }, parameters);
  }
  const convolve = (image: string): string =>
    assembler.add({ ...common, op: 'depthwiseConv2d', inputs: [image], kernelSize: [1, 1], strides: [1, 1], dilation: [1, 1] }, parameters);
  if (shape.length === 3) return convolve(input);
  if (shape.length !== 1)
    throw new ShapeRefusal(`its input has ${shape.length} dimensions`, 'Images, sequences and vectors are supported.');
  const image = assembler.add({ op: 'reshape', name: `${name}_image`, inputs: [input], shape: [1, 1, channels] });
  return assembler.add({ op: 'flatten', name: `${name}_flat`, inputs: [convolve(image)] });
}

function perChannel(values: (() => Float32Array) | undefined, channels: number, fallback: number): Float32Array {
  const found = values?.() ?? Float32Array.of(fallback);
  return found.length === 1 ? new Float32Array(channels).fill(found[0] ?? fallback) : found;
}

/** The value as a vector, as dense layers take it. */
export function flattened(assembler: ModelAssembler, name: string, input: string): string {
  return assembler.shapeOf(input).length === 1 ? input : assembler.add({ op: 'flatten', name, inputs: [input] });
}

/** The value in another shape; unchanged when it has that already. */
export function reshaped(assembler: ModelAssembler, name: string, input: string, shape: readonly number[]): string {
  const given = assembler.shapeOf(input);
  if (given.length === shape.length && given.every((dimension, i) => dimension === shape[i])) return input;
  if (shape.length === 0 || shape.length > 4)
    throw new ShapeRefusal(`its output has ${shape.length} dimensions`, 'One to four are supported.');
  if (elementCount(shape) !== elementCount(given)) {
    throw new ShapeRefusal(
      `it makes [${shape.join(', ')}] out of [${given.join(', ')}]`,
      'Only shapes that keep the batch apart are supported.',
    );
  }
  return shape.length === 1
    ? assembler.add({ op: 'flatten', name, inputs: [input] })
    : assembler.add({ op: 'reshape', name, inputs: [input], shape });
}
