import type { TfliteModel, TfliteOperator, TfliteTensor } from '../../formats/tflite/types.js';
import type { Int8Weights } from './fold.js';
import type { ActivationParameters } from './parameters.js';

/** An activation that has been added to the program. */
export interface Int8Value extends ActivationParameters {
  readonly tensor: number;
  /** Of the tensor, without the batch dimension. */
  readonly shape: readonly number[];
}

/** Collects the tensors and operators of an int8 model. */
export class TfliteProgram {
  readonly #tensors: TfliteTensor[] = [];
  readonly #operators: TfliteOperator[] = [];

  activation(name: string, shape: readonly number[], { scale, zeroPoint }: ActivationParameters): Int8Value {
    const tensor = this.#add({
      name,
      shape: [1, ...shape],
      dtype: 'int8',
      scale: Float32Array.of(scale),
      zeroPoint: Int32Array.of(zeroPoint),
      axis: 0,
    });
    return { tensor, shape, scale, zeroPoint };
  }

  /** An int8 kernel with its codes already in TFLite's order. */
  kernel(name: string, shape: readonly number[], axis: number, codes: Int8Array, scales: Float32Array): number {
    return this.#add({ name, shape, dtype: 'int8', scale: scales, zeroPoint: new Int32Array(scales.length), axis, data: bytesOf(codes) });
  }

  bias(name: string, { bias, biasScales }: Int8Weights): number {
    const zeroPoint = new Int32Array(biasScales.length);
    return this.#add({ name, shape: [bias.length], dtype: 'int32', scale: biasScales, zeroPoint, axis: 0, data: bytesOf(bias) });
  }

  /** An int32 constant that is not quantized: shapes, paddings, axes. */
  integers(name: string, shape: readonly number[], values: readonly number[]): number {
    const data = bytesOf(Int32Array.from(values));
    return this.#add({ name, shape, dtype: 'int32', scale: new Float32Array(), zeroPoint: new Int32Array(), axis: 0, data });
  }

  /** @param version - Default: the one that 8-bit tensors need. */
  operator(op: string, inputs: readonly number[], output: Int8Value, options: TfliteOperator['options'] = {}, version?: number): Int8Value {
    this.#operators.push({ op, inputs, outputs: [output.tensor], options, ...(version === undefined ? {} : { version }) });
    return output;
  }

  reshape(name: string, input: Int8Value, shape: readonly number[]): Int8Value {
    const newShape = [1, ...shape];
    const target = this.integers(`${name}/shape`, [newShape.length], newShape);
    return this.operator('RESHAPE', [input.tensor, target], this.activation(name, shape, input), { newShape });
  }

  rename({ tensor }: Int8Value, name: string): void {
    const renamed = this.#tensors[tensor];
    if (renamed !== undefined) this.#tensors[tensor] = { ...renamed, name };
  }

  model(description: string, input: Int8Value, output: Int8Value): TfliteModel {
    return { description, tensors: this.#tensors, operators: this.#operators, inputs: [input.tensor], outputs: [output.tensor] };
  }

  #add(tensor: TfliteTensor): number {
    this.#tensors.push(tensor);
    return this.#tensors.length - 1;
  }
}

function bytesOf(values: Int8Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
