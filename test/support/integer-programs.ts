import { it } from 'mocha';
import type { IntegerOperatorSpec, IntegerProgramSpec, IntegerTensorSpec } from '../../binding.js';
import { loadBinding } from '#lib/native.js';
import { expectCode } from './errors.js';

export function quantized(name: string, shape: readonly number[], change: Partial<IntegerTensorSpec> = {}): IntegerTensorSpec {
  return { name, shape, dtype: 'int8', scale: Float32Array.of(0.5), zeroPoint: Int32Array.of(0), axis: 0, ...change };
}

export function integers(name: string, values: readonly number[], shape: readonly number[] = [values.length]): IntegerTensorSpec {
  const data = new Uint8Array(Int32Array.from(values).buffer);
  return { name, shape, dtype: 'int32', scale: new Float32Array(), zeroPoint: new Int32Array(), axis: 0, data };
}

/** One operator from tensor 0 to the last tensor. */
export function program(
  op: string,
  tensors: readonly IntegerTensorSpec[],
  options: IntegerOperatorSpec['options'] = {},
): IntegerProgramSpec {
  const last = tensors.length - 1;
  return {
    tensors,
    operators: [{ op, inputs: tensors.slice(0, -1).map((_, i) => i), outputs: [last], options }],
    inputs: [0],
    outputs: [last],
  };
}

export const weights = (shape: readonly number[], change: Partial<IntegerTensorSpec> = {}): IntegerTensorSpec =>
  quantized('w', shape, { data: new Uint8Array(shape.reduce((product, dimension) => product * dimension, 1)), ...change });

/** A test that the program is refused, with a code and a message. */
export function rejects(what: string, spec: IntegerProgramSpec, code: 'ERR_FORMAT' | 'ERR_UNSUPPORTED', message: RegExp): void {
  it(`rejects ${what}`, () => expectCode(() => new (loadBinding().IntegerSession)(spec), code, message));
}
