import { PcqatError } from '../../errors.js';
import { elementCount } from '../../graph/shapes.js';
import type { Shape } from '../../graph/types.js';
import type { TfliteModel, TfliteTensor } from '../tflite/types.js';
import type { GraphWriter, OnnxOutput } from './graph-writer.js';
import { permuted } from './tensors.js';
import type { DataTypeName } from './types.js';

/** The tensors of an int8 model while it is written: which have been made, and their parameters. */
export class QdqTensors {
  /** Real numbers behind the dequantization of each activation, by tensor. */
  readonly #values = new Map<number, OnnxOutput>();

  constructor(
    readonly model: TfliteModel,
    readonly writer: GraphWriter,
  ) {}

  tensor(index: number | undefined): TfliteTensor {
    const found = this.model.tensors[index ?? -1];
    if (found === undefined) throw new PcqatError('ERR_OPTION', `there is no tensor ${index}`, { where: 'model.operators' });
    return found;
  }

  /** Shape of an activation without the batch, which is 1. */
  shape(index: number | undefined): Shape {
    const { name, shape } = this.tensor(index);
    if (shape[0] !== 1) throw unsupported(`the tensor '${name}' has the shape [${shape.join(', ')}]`, 'Use a batch of 1.');
    return shape.slice(1);
  }

  value(index: number | undefined): OnnxOutput {
    const found = this.#values.get(index ?? -1);
    if (found !== undefined) return found;
    throw unsupported(`the tensor '${this.tensor(index).name}' is a constant, or used before it is made`, 'Use activations there.');
  }

  keep(index: number, value: OnnxOutput): void {
    this.#values.set(index, value);
  }

  /** Rounds a real value to the codes of a tensor and takes it back. */
  requantize(index: number, real: OnnxOutput): OnnxOutput {
    const codes = this.quantized(index, real);
    return this.dequantized(index, codes);
  }

  quantized(index: number, real: OnnxOutput): OnnxOutput {
    const { name } = this.tensor(index);
    const type = this.type(index);
    return this.writer.node('QuantizeLinear', [real, ...this.#parameters(index)], { name: `${name}/codes`, shape: real.shape, type });
  }

  dequantized(index: number, codes: OnnxOutput): OnnxOutput {
    const made = this.writer.node('DequantizeLinear', [codes, ...this.#parameters(index)], {
      name: `${this.tensor(index).name}/real`,
      shape: codes.shape,
    });
    this.#values.set(index, made);
    return made;
  }

  /** Element type of an activation. */
  type(index: number): DataTypeName {
    const { name, dtype, scale } = this.tensor(index);
    if ((dtype === 'int8' || dtype === 'uint8') && scale.length === 1) return dtype;
    throw unsupported(
      `the tensor '${name}' is ${dtype}${scale.length === 1 ? '' : ` with ${scale.length} scales`}`,
      'Use int8 activations.',
    );
  }

  readonly #parameterNames = new Map<number, readonly string[]>();

  #parameters(index: number): readonly string[] {
    const known = this.#parameterNames.get(index);
    if (known !== undefined) return known;
    const { name, scale, zeroPoint } = this.tensor(index);
    const type = this.type(index);
    const zero = type === 'int8' ? Int8Array.from(zeroPoint) : Uint8Array.from(zeroPoint);
    const made = [
      this.writer.floats(`${name}/scale`, [], scale),
      this.writer.bytes(`${name}/zero_point`, type, [], new Uint8Array(zero.buffer)),
    ];
    this.#parameterNames.set(index, made);
    return made;
  }

  /**
   * Integer weights as real numbers.
   *
   * @param order - axis `i` in the file is axis `order[i]` of the tensor
   * @param dims - shape in the file, as many elements
   */
  weights(index: number | undefined, order: readonly number[], dims: Shape): string {
    const { name, shape, dtype, scale, zeroPoint, axis, data } = this.tensor(index);
    if (data === undefined || (dtype !== 'int8' && dtype !== 'uint8') || scale.length === 0) {
      throw unsupported(`the weights '${name}' are no constant 8-bit integers`, 'Use int8 weights.');
    }
    if (data.length !== elementCount(shape) || order.length !== shape.length) {
      throw new PcqatError('ERR_SHAPE', `it has ${data.length} bytes for [${shape.join(', ')}]`, { where: `tensor '${name}'` });
    }
    const codes = dtype === 'int8' ? new Int8Array(data.buffer, data.byteOffset, data.length) : data;
    const moved = permuted(Float32Array.from(codes), shape, order);
    const bytes = dtype === 'int8' ? new Uint8Array(Int8Array.from(moved).buffer) : Uint8Array.from(moved);
    const stored = this.writer.bytes(`${name}/codes`, dtype, dims, bytes);
    return this.#constant(
      name,
      stored,
      dims,
      order.indexOf(axis),
      scale,
      dtype === 'int8' ? Int8Array.from(zeroPoint) : Uint8Array.from(zeroPoint),
      dtype,
    );
  }

  bias(index: number | undefined): readonly string[] {
    if (index === undefined || index < 0) return [];
    const { name, shape, dtype, scale, data } = this.tensor(index);
    if (data === undefined || dtype !== 'int32' || scale.length === 0)
      throw unsupported(`the bias '${name}' is not int32`, 'Use int32 biases.');
    const stored = this.writer.bytes(`${name}/codes`, 'int32', shape, data.slice());
    return [this.#constant(name, stored, shape, 0, scale)];
  }

  #constant(
    name: string,
    stored: string,
    shape: Shape,
    axis: number,
    scale: Float32Array,
    zero?: Int8Array<ArrayBuffer> | Uint8Array<ArrayBuffer>,
    type?: DataTypeName,
  ): string {
    const dims = scale.length === 1 ? [] : [scale.length];
    const inputs = [stored, this.writer.floats(`${name}/scale`, dims, scale)];
    if (zero !== undefined && type !== undefined)
      inputs.push(this.writer.bytes(`${name}/zero_point`, type, dims, new Uint8Array(zero.buffer)));
    const attributes = dims.length === 0 ? {} : { axis: { int: axis } };
    return this.writer.constantNode('DequantizeLinear', inputs, `${name}/real`, shape, attributes);
  }

  /** A constant int32 list such as paddings. */
  integers(index: number | undefined): number[] {
    const { name, dtype, data } = this.tensor(index);
    if (data === undefined || dtype !== 'int32' || data.length % 4 !== 0)
      throw unsupported(`'${name}' is not a constant int32 list`, 'Use constants.');
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    return Array.from({ length: data.length / 4 }, (_, i) => view.getInt32(4 * i, true));
  }
}

export function unsupported(problem: string, remedy: string): PcqatError {
  return new PcqatError('ERR_UNSUPPORTED', `As ONNX, ${problem}`, { remedy });
}
