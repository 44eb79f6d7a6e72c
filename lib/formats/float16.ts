const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);

/** The number that a half-precision (IEEE 754 binary16) code stands for. */
export function halfToFloat(code: number): number {
  const sign = code & 0x8000 ? -1 : 1;
  const exponent = (code >> 10) & 0x1f;
  const fraction = code & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The nearest half-precision code, ties to even; infinity for what is too large. */
export function floatToHalf(value: number): number {
  real[0] = value;
  const bits = word[0] ?? 0;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65,520 on
  // Below 2⁻¹⁴ the step is 2⁻²⁴: adding 0.5 lets the addition itself round.
  if (magnitude < 0x38800000) {
    real[0] = Math.abs(value) + 0.5;
    return sign | ((word[0] ?? 0) - 0x3f000000);
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

/** Half-precision codes, little endian and not aligned, as numbers. */
export function halvesToFloats(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: Math.floor(bytes.byteLength / 2) }, (_, i) => halfToFloat(view.getUint16(2 * i, true)));
}
