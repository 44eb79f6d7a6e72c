import { PcqatError } from '../../errors.js';
import { floatToHalf } from '../../formats/float16.js';
import { OPERATOR_SCHEMAS } from '../../formats/tflite/schema.js';
import type { TfliteModel, TfliteOperator, TfliteTensor } from '../../formats/tflite/types.js';
import type { ActivationParameters } from './parameters.js';

/** An activation that has been added to the program. */
export interface TfliteValue extends ActivationParameters {
  readonly tensor: number;
  /** Of the tensor, without the batch dimension. */
  readonly shape: readonly number[];
}

/** How a program holds numbers: int8 throughout, or f32 with weights of f32 or f16. */
export type Precision = 'int8' | 'f32' | 'f16';

/** Kernel, in TFLite's order, and bias of an operator. Scales are empty in a float program. */
export interface StoredWeights {
  readonly kernel: Int8Array | Float32Array;
  readonly scales: Float32Array;
  readonly bias: Int32Array | Float32Array;
  readonly biasScales: Float32Array;
}

const NONE = { scale: new Float32Array(), zeroPoint: new Int32Array(), axis: 0 };
/** Of values in a float program. */
const UNQUANTIZED: ActivationParameters = { scale: 0, zeroPoint: 0 };
const LARGEST_HALF = 65_504;
/** DEQUANTIZE takes f16 from this version on. */
const HALF_VERSION = 3;
/** DEPTHWISE_CONV_2D dilates from this version on. */
const DILATION_VERSION = 2;

/** Collects the tensors and operators of a model. */
export class TfliteProgram {
  readonly #tensors: TfliteTensor[] = [];
  readonly #operators: TfliteOperator[] = [];

  constructor(readonly precision: Precision = 'int8') {}

  get isFloat(): boolean {
    return this.precision !== 'int8';
  }

  /** @param parameters - not looked at in a float program */
  activation(name: string, shape: readonly number[], parameters: ActivationParameters): TfliteValue {
    const { scale, zeroPoint } = this.isFloat ? UNQUANTIZED : parameters;
    const common = { name, shape: [1, ...shape] };
    const tensor = this.#add(
      this.isFloat
        ? { ...common, dtype: 'float32', ...NONE }
        : { ...common, dtype: 'int8', scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zeroPoint), axis: 0 },
    );
    return { tensor, shape, scale, zeroPoint };
  }

  /** @param axis - of the scales */
  kernel(name: string, shape: readonly number[], axis: number, { kernel, scales }: StoredWeights): number {
    if (kernel instanceof Float32Array) return this.#reals(name, shape, kernel);
    return this.#add({ name, shape, dtype: 'int8', scale: scales, zeroPoint: new Int32Array(scales.length), axis, data: bytesOf(kernel) });
  }

  bias(name: string, { bias, biasScales }: StoredWeights): number {
    if (bias instanceof Float32Array) return this.#reals(name, [bias.length], bias);
    const zeroPoint = new Int32Array(biasScales.length);
    return this.#add({ name, shape: [bias.length], dtype: 'int32', scale: biasScales, zeroPoint, axis: 0, data: bytesOf(bias) });
  }

  /** An int32 constant that is not quantized: shapes, paddings, axes. */
  integers(name: string, shape: readonly number[], values: readonly number[]): number {
    return this.#add({ name, shape, dtype: 'int32', ...NONE, data: bytesOf(Int32Array.from(values)) });
  }

  /** @param version - in an int8 program; default: the one that 8-bit tensors need */
  operator(
    op: string,
    inputs: readonly number[],
    output: TfliteValue,
    options: TfliteOperator['options'] = {},
    version?: number,
  ): TfliteValue {
    const chosen = this.isFloat ? floatVersion(op, options) : version;
    this.#operators.push({ op, inputs, outputs: [output.tensor], options, ...(chosen === undefined ? {} : { version: chosen }) });
    return output;
  }

  reshape(name: string, input: TfliteValue, shape: readonly number[]): TfliteValue {
    const newShape = [1, ...shape];
    const target = this.integers(`${name}/shape`, [newShape.length], newShape);
    return this.operator('RESHAPE', [input.tensor, target], this.activation(name, shape, input), { newShape });
  }

  rename({ tensor }: TfliteValue, name: string): void {
    const renamed = this.#tensors[tensor];
    if (renamed !== undefined) this.#tensors[tensor] = { ...renamed, name };
  }

  model(description: string, input: TfliteValue, output: TfliteValue): TfliteModel {
    return { description, tensors: this.#tensors, operators: this.#operators, inputs: [input.tensor], outputs: [output.tensor] };
  }

  /** Constant real numbers; f16 ones are widened by an operator, as TensorFlow's converter has it. */
  #reals(name: string, shape: readonly number[], values: Float32Array): number {
    if (this.precision === 'f32') return this.#add({ name, shape, dtype: 'float32', ...NONE, data: bytesOf(values) });
    const large = values.find((value) => Math.abs(value) > LARGEST_HALF);
    if (large !== undefined) {
      throw new PcqatError('ERR_UNSUPPORTED', `the value ${large} is too large for float16`, {
        where: `tensor '${name}'`,
        remedy: "Use weights: 'f32'.",
      });
    }
    const data = bytesOf(Uint16Array.from(values, floatToHalf));
    const half = this.#add({ name, shape, dtype: 'float16', ...NONE, data });
    const widened = this.#add({ name: `${name}/dequantized`, shape, dtype: 'float32', ...NONE });
    this.#operators.push({ op: 'DEQUANTIZE', inputs: [half], outputs: [widened], options: {}, version: HALF_VERSION });
    return widened;
  }

  #add(tensor: TfliteTensor): number {
    this.#tensors.push(tensor);
    return this.#tensors.length - 1;
  }
}

function floatVersion(op: string, { dilationWFactor = 1, dilationHFactor = 1 }: TfliteOperator['options']): number {
  if (op === 'DEPTHWISE_CONV_2D' && (dilationWFactor !== 1 || dilationHFactor !== 1)) return DILATION_VERSION;
  return OPERATOR_SCHEMAS[op]?.floatVersion ?? 1;
}

function bytesOf(values: Int8Array | Int32Array | Uint16Array | Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
