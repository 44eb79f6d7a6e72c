import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { TfliteModel, TfliteTensor } from '#lib/formats/tflite/types.js';
import { type Int8Case, randomDataset } from './int8-graphs.js';
import { randomNumbers } from './random.js';

/** A case converted with post-training quantization, as model and as file. */
export async function convertCase({ model, shape }: Int8Case): Promise<{ tflite: TfliteModel; file: Uint8Array }> {
  const tflite = await convertToInt8(model, { representativeData: randomDataset(shape, 40, 3) });
  return { tflite, file: encodeTflite(tflite) };
}

/** Uniform int8 input of `rows` rows, every value possible. */
export function randomInt8(tflite: TfliteModel, rows: number, seed: number): Int8Array {
  const random = randomNumbers(seed);
  const size = tflite.tensors[tflite.inputs[0]!]!.shape.reduce((product, dimension) => product * dimension, 1);
  return Int8Array.from({ length: rows * size }, () => Math.floor(random() * 256) - 128);
}

/**
 * The same network as old uint8 models store it: values and zero points shifted by 128, one scale for each weight (its first), and
 * weights with a zero point of their own.
 */
export function toUint8(tflite: TfliteModel): TfliteModel {
  const weighted = tflite.operators
    .filter(({ op }) => /CONV|FULLY/.test(op))
    .map(({ op, inputs }) => (op === 'TRANSPOSE_CONV' ? [inputs[2]!, inputs[1]!, inputs[3]] : inputs));
  const weights = new Set(weighted.map(([, kernel]) => kernel!));
  const scaleOf = (index: number): number => tflite.tensors[index]!.scale[0] ?? 1;
  const biasScale = new Map<number, number>();
  for (const [input, kernel, bias] of weighted) {
    if (bias !== undefined) biasScale.set(bias, Math.fround(scaleOf(input!) * scaleOf(kernel!)));
  }
  const convert = (tensor: TfliteTensor, index: number): TfliteTensor => {
    const bias = biasScale.get(index);
    if (bias !== undefined) return { ...tensor, scale: Float32Array.of(bias), zeroPoint: Int32Array.of(0), axis: 0 };
    if (tensor.dtype !== 'int8') return tensor;
    const offset = weights.has(index) ? 131 : 128; // weights: zero point 3 above the middle
    const zeroPoint = (weights.has(index) ? 0 : tensor.zeroPoint[0]!) + offset;
    return {
      ...tensor,
      dtype: 'uint8',
      scale: tensor.scale.slice(0, 1),
      zeroPoint: Int32Array.of(zeroPoint),
      axis: 0,
      ...(tensor.data === undefined ? {} : { data: tensor.data.map((value) => Math.min(((value << 24) >> 24) + offset, 255)) }),
    };
  };
  return { ...tflite, tensors: tflite.tensors.map(convert), operators: tflite.operators.map((operator) => ({ ...operator, version: 1 })) };
}
