import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import type { Shape } from '../../graph/types.js';
import { imageOf, type Window } from '../../graph/windows.js';
import type { Int8Layer } from './int8-layers.js';
import type { ActivationParameters } from './parameters.js';
import type { TfliteValue, TfliteProgram } from './tflite-program.js';

/** What emitting a layer needs. */
export interface EmitContext {
  readonly model: Model;
  readonly program: TfliteProgram;
  readonly shapes: ReadonlyMap<string, Shape>;
  /** Scale and zero point of outputs that have their own. */
  readonly parameters: ReadonlyMap<string, ActivationParameters>;
  /** The layer whose output is the model's. */
  readonly output: string;
  /** Values reshaped to images, by tensor. */
  readonly images: Map<number, TfliteValue>;
}

/** Shape of a layer's output inside the program: `[length, channels]` travels as an image of height 1. */
export function innerShape({ shapes }: EmitContext, { output }: Int8Layer): Shape {
  return imageOf(shapes.get(output) ?? []);
}

/** The value as the operators take it: `[length, channels]` (only the model's input is so) as an image of height 1. */
export function asImage({ program, images }: EmitContext, value: TfliteValue, name: string): TfliteValue {
  if (value.shape.length !== 2) return value;
  const image = images.get(value.tensor) ?? program.reshape(`${name}/image`, value, imageOf(value.shape));
  images.set(value.tensor, image);
  return image;
}

/** The tensor of a layer's output with the scale and zero point of its range. */
export function outputOf(context: EmitContext, layer: Int8Layer): TfliteValue {
  return context.program.activation(layer.output, innerShape(context, layer), parametersOf(context, layer));
}

/** In a float program they mean nothing. */
export function parametersOf({ parameters, program }: EmitContext, { output }: Int8Layer): ActivationParameters {
  const found = program.isFloat ? { scale: 0, zeroPoint: 0 } : parameters.get(output);
  if (found === undefined) throw new PcqatError('ERR_INTERNAL', 'the layer has no range', { where: `layer '${output}'` });
  return found;
}

export function sameParameters(a: ActivationParameters, b: ActivationParameters): boolean {
  return a.scale === b.scale && a.zeroPoint === b.zeroPoint;
}

/** Options of a window. Padding other than SAME has become an operator of its own. */
export function windowOptions({ strides, padding }: Pick<Window, 'strides' | 'padding'>): Readonly<Record<string, string | number>> {
  return { padding: padding === 'same' ? 'SAME' : 'VALID', strideW: strides[1], strideH: strides[0] };
}

export function fused({ activation }: Int8Layer): { readonly fusedActivationFunction: string } {
  return { fusedActivationFunction: activation };
}
