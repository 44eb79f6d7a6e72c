import type { IntegerSession } from '../../binding.js';
import type { Dataset } from '../data/types.js';
import { PcqatError } from '../errors.js';
import type { TfliteModel, TfliteTensor } from '../formats/tflite/types.js';
import { loadBinding } from '../native.js';

/** Options of {@link Int8Runner} and {@link evaluateInt8}. */
export interface Int8Options {
  /** Default: all cores. Results do not depend on it. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

/** Rows in one native call: enough to keep every thread busy, few enough to stop soon after an abort. */
const ROWS = 256;

/**
 * Runs an integer .tflite model on the native executor, with the arithmetic of TFLite's reference kernels (spec 5.2). Inputs and outputs
 * are real numbers: they are quantized and dequantized with the parameters of the model's input and output tensors.
 *
 * @throws PcqatError `ERR_FORMAT` or `ERR_UNSUPPORTED`, naming operator and tensor, for a model that is wrong or has an operator
 * that the executor lacks.
 * @example
 * ```ts
 * import { Int8Runner } from 'pcqat';
 * const quantized = { scale: Float32Array.of(0.1), zeroPoint: Int32Array.of(0), axis: 0, dtype: 'int8' as const };
 * const runner = new Int8Runner({
 *   description: 'relu',
 *   tensors: [{ name: 'x', shape: [1, 2], ...quantized }, { name: 'y', shape: [1, 2], ...quantized }],
 *   operators: [{ op: 'RELU', inputs: [0], outputs: [1], options: {} }],
 *   inputs: [0],
 *   outputs: [1],
 * });
 * console.log(await runner.run(Float32Array.of(-1, 1))); // 0, 1
 * runner.dispose();
 * ```
 */
export class Int8Runner {
  readonly input: TfliteTensor;
  readonly output: TfliteTensor;
  /** Values in one row of the input and of the output. */
  readonly inputSize: number;
  readonly outputSize: number;
  readonly #session: IntegerSession;

  constructor(model: TfliteModel, options: Int8Options = {}) {
    const { IntegerSession } = loadBinding();
    const half = model.tensors.find(({ dtype }) => dtype === 'float16');
    if (half !== undefined) {
      throw new PcqatError('ERR_UNSUPPORTED', 'it holds float16 weights and is no integer model', {
        where: `tensor '${half.name}'`,
        remedy: 'Import it with importModel and use evaluate or predict.',
      });
    }
    this.#session = new IntegerSession(model, options.threads === undefined ? {} : { threads: options.threads });
    // The session has checked that there is exactly one of each.
    this.input = model.tensors[model.inputs[0] ?? -1] as TfliteTensor;
    this.output = model.tensors[model.outputs[0] ?? -1] as TfliteTensor;
    this.inputSize = this.input.shape.reduce((product, dimension) => product * dimension, 1);
    this.outputSize = this.output.shape.reduce((product, dimension) => product * dimension, 1);
  }

  /**
   * The model's real-valued output for each row of `x`. A call of about 0.1 ms or less, by the calls before, is done before this returns; a
   * longer one runs off the JavaScript thread.
   *
   * @throws PcqatError `ERR_SHAPE` when `x` is not whole rows, `ERR_NON_FINITE` for NaN or infinity, `ERR_SESSION_BUSY` while another call runs.
   */
  async run(x: Float32Array): Promise<Float32Array> {
    return dequantize(await this.runQuantized(quantize(x, this.input)), this.output);
  }

  /** The same with the bytes of the tensors: no quantization, no dequantization. */
  async runQuantized<T extends Int8Array | Uint8Array | Float32Array>(x: T): Promise<Int8Array | Uint8Array | Float32Array> {
    return this.#session.run(x);
  }

  /** Frees native memory at once. */
  dispose(): void {
    this.#session.dispose();
  }
}

/**
 * The outputs of an int8 model for rows of real inputs; see {@link Int8Runner}, which is better for many calls.
 *
 * @throws PcqatError as {@link Int8Runner}.
 * @example
 * ```ts
 * import { runInt8 } from 'pcqat';
 * const quantized = { scale: Float32Array.of(0.1), zeroPoint: Int32Array.of(0), axis: 0, dtype: 'int8' as const };
 * const relu6 = {
 *   description: 'relu6',
 *   tensors: [{ name: 'x', shape: [1, 2], ...quantized }, { name: 'y', shape: [1, 2], ...quantized }],
 *   operators: [{ op: 'RELU6', inputs: [0], outputs: [1], options: {} }],
 *   inputs: [0],
 *   outputs: [1],
 * };
 * console.log(await runInt8(relu6, Float32Array.of(-1, 9))); // 0, 6
 * ```
 */
export async function runInt8(model: TfliteModel, x: Float32Array): Promise<Float32Array> {
  const runner = new Int8Runner(model);
  try {
    return await runner.run(x);
  } finally {
    runner.dispose();
  }
}

/**
 * Fraction of the examples whose largest output is that of their label, on the integer executor. Ties go to the lowest class.
 *
 * @throws PcqatError `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_DTYPE` (targets instead of labels), `ERR_LABEL_RANGE` for bad data;
 * else as {@link Int8Runner}.
 * @example
 * ```ts
 * import { evaluateInt8 } from 'pcqat';
 * const quantized = { scale: Float32Array.of(0.1), zeroPoint: Int32Array.of(0), axis: 0, dtype: 'int8' as const };
 * const relu = {
 *   description: 'relu',
 *   tensors: [{ name: 'x', shape: [1, 2], ...quantized }, { name: 'y', shape: [1, 2], ...quantized }],
 *   operators: [{ op: 'RELU', inputs: [0], outputs: [1], options: {} }],
 *   inputs: [0],
 *   outputs: [1],
 * };
 * const data = { name: 'two', size: 2, inputShape: [2], x: Float32Array.of(1, 0, -1, 2), y: Int32Array.of(0, 1), classes: 2 };
 * console.log(await evaluateInt8(relu, data)); // { accuracy: 1 }
 * ```
 */
export async function evaluateInt8(model: TfliteModel, data: Dataset, options: Int8Options = {}): Promise<{ accuracy: number }> {
  const where = `data set '${data.name}'`;
  if (data.size === 0) throw new PcqatError('ERR_EMPTY_DATA', 'the data set has no examples', { where });
  const runner = new Int8Runner(model, options);
  try {
    const { inputSize, outputSize } = runner;
    if (data.x.length !== data.size * inputSize) {
      throw new PcqatError('ERR_SHAPE', `${data.x.length} values are not ${data.size} rows of the ${inputSize} that the model takes`, {
        where,
      });
    }
    const labels = checkedLabels(data, outputSize, where);
    let correct = 0;
    for (let start = 0; start < data.size; start += ROWS) {
      options.signal?.throwIfAborted();
      const end = Math.min(start + ROWS, data.size);
      const y = await runner.run(data.x.subarray(start * inputSize, end * inputSize));
      for (let row = start; row < end; row++) {
        const first = (row - start) * outputSize;
        if (largest(y.subarray(first, first + outputSize)) === labels[row]) correct++;
      }
    }
    return { accuracy: correct / data.size };
  } finally {
    runner.dispose();
  }
}

function checkedLabels({ size, y }: Dataset, classes: number, where: string): Int32Array {
  if (!(y instanceof Int32Array)) throw new PcqatError('ERR_DTYPE', 'accuracy needs class labels (Int32Array)', { where });
  if (y.length !== size) throw new PcqatError('ERR_SHAPE', `there are ${y.length} labels for ${size} examples`, { where });
  const bad = y.findIndex((label) => label < 0 || label >= classes);
  if (bad >= 0) throw new PcqatError('ERR_LABEL_RANGE', `label ${y[bad]} of example ${bad} is not one of ${classes} classes`, { where });
  return y;
}

function largest(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > (values[best] ?? 0) ? i : best), 0);
}

/** Real numbers as the values of a tensor. As TFLite's QUANTIZE: `round(x / scale) + zero point`, halves away from zero, in f32. */
export function quantize(x: Float32Array, { name, dtype, scale, zeroPoint }: TfliteTensor): Int8Array | Uint8Array | Float32Array {
  const bad = x.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new PcqatError('ERR_NON_FINITE', `input value ${bad} is ${x[bad]}`, { where: `tensor '${name}'` });
  if (dtype === 'float32') return x;
  const [step = 1, zero = 0] = [scale[0], zeroPoint[0]];
  const [low, high] = dtype === 'uint8' ? [0, 255] : [-128, 127];
  const result = dtype === 'uint8' ? new Uint8Array(x.length) : new Int8Array(x.length);
  for (let i = 0; i < x.length; i++) {
    const ratio = Math.fround((x[i] ?? 0) / step);
    const rounded = Math.sign(ratio) * Math.floor(Math.abs(ratio) + 0.5);
    result[i] = Math.min(Math.max(rounded + zero, low), high);
  }
  return result;
}

/** The real numbers that the values of a tensor stand for. */
export function dequantize(y: Int8Array | Uint8Array | Float32Array, { scale, zeroPoint }: TfliteTensor): Float32Array {
  if (y instanceof Float32Array) return y;
  const [step = 1, zero = 0] = [scale[0], zeroPoint[0]];
  return Float32Array.from(y, (value) => step * (value - zero));
}
