import { littleEndian } from '../formats/certificate/describe.js';
import type { TfliteTensor } from '../formats/tflite/types.js';
import { AgreementSum } from './agreement.js';
import { dequantize } from './int8.js';

/** Arrays in a certificate: little-endian bytes in base64. */
export function toBase64(values: Int8Array | Float32Array): string {
  const bytes = values instanceof Float32Array ? littleEndian(values) : new Uint8Array(values.buffer, values.byteOffset, values.length);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

export function int8FromBase64(text: string): Int8Array {
  return Int8Array.from(Buffer.from(text, 'base64'), (byte) => (byte << 24) >> 24);
}

/** A length that is no multiple of 4 loses its end; callers check lengths. */
export function floatsFromBase64(text: string): Float32Array {
  const bytes = Buffer.from(text, 'base64');
  return Float32Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) => bytes.readFloatLE(4 * i));
}

/** Differences of recorded outputs from those of our executor, in steps of the output: what a certificate states and `verify` finds again. */
export function probeDifferences(
  output: TfliteTensor,
  executor: Int8Array,
  other: Int8Array | Float32Array,
): { readonly meanSteps: number; readonly maxSteps: number } {
  const real = other instanceof Float32Array ? other : dequantize(other, output);
  const { meanSteps, maxSteps } = new AgreementSum(output, executor.length).add(dequantize(executor, output), real).result();
  return { meanSteps, maxSteps };
}
