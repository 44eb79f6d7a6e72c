import { brotliCompressSync, constants, deflateRawSync, gzipSync } from 'node:zlib';
import { halvesToFloats } from '../float16.js';
import { readTflite } from './read.js';
import type { TfliteModel, TfliteTensor } from './types.js';

/** One operator with trained weights. */
export interface TfliteLayerSummary {
  /** Name of the layer; in files by other tools, of the operator's output tensor. */
  readonly name: string;
  /** TFLite name, e.g. `CONV_2D`. */
  readonly op: string;
  /** As stored: convolution and transposed convolution `[out, h, w, in]`, depthwise `[1, h, w, channels]`, fully connected `[out, in]`. */
  readonly shape: readonly number[];
  readonly dtype: TfliteTensor['dtype'];
  readonly weights: number;
  /** 1 = per tensor. */
  readonly scales: number;
  /** Fraction of weights that are zero (equal to the zero point). */
  readonly zeros: number;
  /** Distinct stored values in the whole tensor. */
  readonly codes: number;
  /** Most distinct stored values in one output channel. */
  readonly codesPerChannelMax: number;
}

/** What {@link inspectTflite} returns. Sizes are in bytes. */
export interface TfliteSummary {
  readonly description: string;
  readonly bytes: number;
  /** gzip, level 9. */
  readonly gzipBytes: number;
  /** brotli, quality 11. */
  readonly brotliBytes: number;
  /**
   * Size of a ZIP archive with the file in it as `a.tflite`, the measure that tfmot's guides call "gzipped" (spec 5.3).
   * A name of n bytes instead adds `2 (n - 8)`.
   */
  readonly zipBytes: number;
  readonly inputs: readonly TensorSummary[];
  readonly outputs: readonly TensorSummary[];
  readonly tensors: readonly TensorSummary[];
  /** Names of all operators, in order. */
  readonly operators: readonly string[];
  readonly layers: readonly TfliteLayerSummary[];
}

/** Name, type and quantization parameters of a tensor. */
export interface TensorSummary {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: TfliteTensor['dtype'];
  readonly scale: readonly number[];
  readonly zeroPoint: readonly number[];
}

/**
 * What is in a .tflite file: operators, tensors, per layer zeros and distinct codes, and its size raw and compressed.
 *
 * @param bytes The file.
 * @param where What to call the file in errors.
 * @throws PcqatError as {@link readTflite}.
 * @example
 * ```ts
 * import { encodeTflite, inspectTflite } from 'pcqat';
 * const quantized = { scale: Float32Array.of(0.5), zeroPoint: Int32Array.of(0), axis: 0 };
 * const bytes = encodeTflite({
 *   description: 'dense',
 *   tensors: [
 *     { name: 'x', shape: [1, 4], dtype: 'int8', ...quantized },
 *     { name: 'dense/kernel', shape: [2, 4], dtype: 'int8', ...quantized, data: Uint8Array.of(0, 1, 2, 0, 0, 1, 1, 0) },
 *     { name: 'b', shape: [2], dtype: 'int32', scale: Float32Array.of(0.25), zeroPoint: Int32Array.of(0), axis: 0, data: new Uint8Array(8) },
 *     { name: 'y', shape: [1, 2], dtype: 'int8', ...quantized },
 *   ],
 *   operators: [{ op: 'FULLY_CONNECTED', inputs: [0, 1, 2], outputs: [3], options: {} }],
 *   inputs: [0],
 *   outputs: [3],
 * });
 * console.log(inspectTflite(bytes).layers[0]); // { name: 'dense', zeros: 0.5, codes: 3, codesPerChannelMax: 3, … }
 * ```
 */
export function inspectTflite(bytes: Uint8Array, where?: string): TfliteSummary {
  const model = readTflite(bytes, where);
  const summary = (index: number): TensorSummary => summarizeTensor(model.tensors[index] as TfliteTensor);
  return {
    description: model.description,
    bytes: bytes.byteLength,
    gzipBytes: gzipSync(bytes, { level: 9 }).byteLength,
    brotliBytes: brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }).byteLength,
    zipBytes: zipArchiveSize(bytes, 'a.tflite'),
    inputs: model.inputs.map(summary),
    outputs: model.outputs.map(summary),
    tensors: model.tensors.map(summarizeTensor),
    operators: model.operators.map(({ op }) => op),
    layers: summarizeLayers(model),
  };
}

/** Size of a ZIP archive that holds `bytes` under `archiveName`, DEFLATE level 6, without writing it (spec 5.3). */
export function zipArchiveSize(bytes: Uint8Array, archiveName: string): number {
  const headers = 30 + 46 + 22; // local file header, central directory entry, end record
  return deflateRawSync(bytes, { level: 6 }).byteLength + headers + 2 * Buffer.byteLength(archiveName);
}

function summarizeTensor({ name, shape, dtype, scale, zeroPoint }: TfliteTensor): TensorSummary {
  return { name, shape, dtype, scale: [...scale], zeroPoint: [...zeroPoint] };
}

const WEIGHT_INPUT = 1;
const BIAS_INPUT = 2;
const KERNEL = '/kernel';
/** Axis of the output channels of an operator's weights as TFLite stores them. */
const CHANNEL_AXIS: Readonly<Record<string, number>> = { CONV_2D: 0, DEPTHWISE_CONV_2D: 3, FULLY_CONNECTED: 0, TRANSPOSE_CONV: 0 };

/** An operator with trained weights, and where its tensors are. */
export interface WeightedOperator {
  readonly name: string;
  readonly op: string;
  /** Position among the operators. */
  readonly index: number;
  /** Indices of tensors; no bias: −1. */
  readonly kernel: number;
  readonly bias: number;
  /** Axis of the output channels in the kernel. */
  readonly axis: number;
}

/** The operators with constant weights, in order; float16 ones are looked up behind the operator that widens them. */
export function weightedOperators(model: TfliteModel): WeightedOperator[] {
  const widened = new Map(model.operators.filter(({ op }) => op === 'DEQUANTIZE').map(({ inputs, outputs }) => [outputs[0], inputs[0]]));
  return model.operators.flatMap(({ op, inputs, outputs }, index) => {
    const axis = CHANNEL_AXIS[op];
    const given = inputs[WEIGHT_INPUT] ?? -1;
    const kernel = widened.get(given) ?? given;
    const weight = model.tensors[kernel];
    if (axis === undefined || weight?.data === undefined || weight.shape[axis] === undefined) return [];
    // Kernels of our files are called `<layer>/kernel`; foreign files name them in many ways.
    const name = weight.name.endsWith(KERNEL) ? weight.name.slice(0, -KERNEL.length) : (model.tensors[outputs[0] ?? -1]?.name ?? '');
    return [{ name, op, index, kernel, bias: inputs[BIAS_INPUT] ?? -1, axis }];
  });
}

function summarizeLayers(model: TfliteModel): TfliteLayerSummary[] {
  return weightedOperators(model).map(({ name, op, kernel, axis }) => {
    const weight = model.tensors[kernel] as TfliteTensor;
    const { weights, zeros, codes, codesPerChannelMax } = countCodes(weight, axis);
    const { shape, dtype } = weight;
    return { name, op, shape, dtype, scales: Math.max(1, weight.scale.length), weights, zeros: zeros / weights, codes, codesPerChannelMax };
  });
}

/** What {@link countCodes} finds. */
export interface CodeCounts {
  readonly weights: number;
  /** Weights that are zero (equal to the zero point). */
  readonly zeros: number;
  readonly codes: number;
  readonly codesPerChannelMax: number;
  /** Distinct stored values of each output channel, ascending. */
  readonly perChannel: readonly (readonly number[])[];
}

/** Counts the stored values of a weight whose output channels lie along `axis`. */
export function countCodes(weight: TfliteTensor, axis: number): CodeCounts {
  const values = elements(weight);
  const channels = weight.shape[axis] ?? 1;
  const inner = weight.shape.slice(axis + 1).reduce((product, dimension) => product * dimension, 1);
  const perChannel = Array.from({ length: channels }, () => new Set<number>());
  const all = new Set<number>();
  let zeros = 0;
  for (const [i, value] of values.entries()) {
    const channel = Math.floor(i / inner) % channels;
    all.add(value);
    perChannel[channel]?.add(value);
    if (value === (weight.zeroPoint[weight.zeroPoint.length > 1 ? channel : 0] ?? 0)) zeros++;
  }
  const codesPerChannelMax = perChannel.reduce((most, { size }) => Math.max(most, size), 0);
  const ascending = (set: ReadonlySet<number>): number[] => [...set].sort((a, b) => a - b);
  return { weights: values.length, zeros, codes: all.size, codesPerChannelMax, perChannel: perChannel.map(ascending) };
}

/** The constant data of a tensor as numbers (the bytes of a file need not be aligned). */
function elements({ dtype, data = new Uint8Array() }: TfliteTensor): ArrayLike<number> & { entries(): IterableIterator<[number, number]> } {
  const { buffer } = data.slice();
  switch (dtype) {
    case 'int8':
      return new Int8Array(buffer);
    case 'uint8':
      return new Uint8Array(buffer);
    case 'int16':
      return new Int16Array(buffer);
    case 'int32':
      return new Int32Array(buffer);
    case 'float16':
      return halvesToFloats(data);
    case 'float32':
      return new Float32Array(buffer);
  }
}
