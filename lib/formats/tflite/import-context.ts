import type { Shape } from '../../graph/types.js';
import { halvesToFloats } from '../float16.js';
import { reshaped } from '../import/affine.js';
import type { ModelAssembler } from '../import/assemble.js';
import { Refusal } from '../import/attempt.js';
import type { ReadBudget } from '../import/budget.js';
import type { TfliteModel, TfliteOperator, TfliteTensor } from './types.js';

/** Shapes, axes and paddings are short. */
const MAX_INTEGERS = 64;

/** What translating the operators of a .tflite file shares. */
export class TfliteContext {
  /** Layer that holds the value of a tensor, by the tensor's index. */
  readonly values = new Map<number, string>();
  readonly weightScales = new Map<string, Float32Array>();
  /** Constants behind a DEQUANTIZE, by its output. */
  readonly #dequantized = new Map<number, number>();
  /** Layers that only change a shape, and the layer whose value they hold. */
  readonly #reshapes = new Map<string, string>();

  constructor(
    readonly assembler: ModelAssembler,
    readonly model: TfliteModel,
    readonly budget: ReadBudget,
  ) {}

  tensor(index: number): TfliteTensor {
    const tensor = this.model.tensors[index];
    if (tensor === undefined) throw new Refusal('it lacks an input', 'The file is damaged.');
    return tensor;
  }

  output(operator: TfliteOperator): TfliteTensor {
    return this.tensor(operator.outputs[0] ?? -1);
  }

  /** A layer name for an operator. Converters join the names of what they fused. */
  name(operator: TfliteOperator): string {
    return this.output(operator).name.split(';', 1)[0] ?? '';
  }

  has(operator: TfliteOperator, index: number): boolean {
    return (operator.inputs[index] ?? -1) >= 0;
  }

  isConstant(operator: TfliteOperator, index: number): boolean {
    return this.has(operator, index) && this.tensor(this.#source(operator, index)).data !== undefined;
  }

  /** Says that the output of a DEQUANTIZE is its constant input. */
  passConstant(operator: TfliteOperator): void {
    this.#dequantized.set(operator.outputs[0] ?? -1, this.#source(operator, 0));
  }

  /** The layer that holds an input. */
  value(operator: TfliteOperator, index = 0): string {
    const value = this.values.get(operator.inputs[index] ?? -1);
    if (value !== undefined) return value;
    const what = this.isConstant(operator, index) ? 'is constant' : "is not computed from the model's input";
    throw new Refusal(`its input ${index} ${what}`, 'Only constant weights, and values of one input, are supported.');
  }

  shape(operator: TfliteOperator, index = 0): Shape {
    return this.assembler.shapeOf(this.value(operator, index));
  }

  constant(operator: TfliteOperator, index: number): TfliteTensor {
    if (!this.isConstant(operator, index)) throw new Refusal(`its input ${index} is not constant`, 'Only constant weights are supported.');
    return this.tensor(this.#source(operator, index));
  }

  /** A constant that stands for real numbers. */
  reals(operator: TfliteOperator, index: number): TfliteTensor {
    const constant = this.constant(operator, index);
    const isReal = constant.dtype === 'float32' || constant.dtype === 'float16' || constant.scale.length > 0;
    if (!isReal) throw new Refusal(`its input ${index} has integers without a scale`, 'Only quantized integers are supported.');
    return constant;
  }

  /** A small constant list of integers. */
  integers(operator: TfliteOperator, index: number): number[] {
    const { dtype, data = new Uint8Array() } = this.constant(operator, index);
    if (dtype !== 'int32' || data.length > 4 * MAX_INTEGERS)
      throw new Refusal(`its input ${index} is no short list of int32`, 'The file is damaged.');
    return Array.from(new Int32Array(data.slice().buffer));
  }

  /** The values of what {@link reals} gave. */
  floats({ data = new Uint8Array(), dtype, ...tensor }: TfliteTensor): Float32Array {
    if (dtype === 'float32' || dtype === 'float16') {
      this.budget.charge(dtype === 'float32' ? data.length : 2 * data.length);
      return dtype === 'float32' ? new Float32Array(data.slice().buffer) : halvesToFloats(data);
    }
    const codes = integersOf(dtype, data);
    this.budget.charge(4 * codes.length);
    return dequantized(codes, tensor);
  }

  /** A layer's value in another shape. Reshapes of reshapes become one, or none. */
  reshape(name: string, input: string, shape: Shape): string {
    const source = this.#reshapes.get(input) ?? input;
    const result = reshaped(this.assembler, name, source, shape);
    if (result !== source) this.#reshapes.set(result, source);
    return result;
  }

  #source(operator: TfliteOperator, index: number): number {
    const input = operator.inputs[index] ?? -1;
    return this.#dequantized.get(input) ?? input;
  }
}

type Codes = Int8Array | Uint8Array | Int16Array | Int32Array;

function integersOf(dtype: 'int8' | 'uint8' | 'int16' | 'int32', data: Uint8Array): Codes {
  switch (dtype) {
    case 'int8':
      return new Int8Array(data.buffer, data.byteOffset, data.length);
    case 'uint8':
      return data;
    case 'int16':
      return new Int16Array(data.slice().buffer);
    case 'int32':
      return new Int32Array(data.slice().buffer);
  }
}

function dequantized(codes: Codes, { scale, zeroPoint, axis, shape }: Omit<TfliteTensor, 'data' | 'dtype'>): Float32Array {
  const inner = shape.slice(axis + 1).reduce((product, dimension) => product * dimension, 1);
  const channels = scale.length;
  const result = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const channel = channels === 1 ? 0 : Math.floor(i / inner) % channels;
    result[i] = ((codes[i] ?? 0) - (zeroPoint[channel] ?? 0)) * (scale[channel] ?? 0);
  }
  return result;
}
