/** High 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(other / 0x10000)) >>> 0;
}

/** Counter and key of a block of four random words. */
export interface PhiloxInput {
  readonly key: readonly [low: number, high: number];
  readonly counter: readonly [number, number, number, number];
}

/** The counter-based generator Philox4x32-10 (Salmon et al. 2011), as `native/philox4x32.h` has it. */
export function philox4x32({ key, counter }: PhiloxInput): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [low0, high0] = [Math.imul(0xd2511f53, c0) >>> 0, multiplyHigh(0xd2511f53, c0)];
    const [low1, high1] = [Math.imul(0xcd9e8d57, c2) >>> 0, multiplyHigh(0xcd9e8d57, c2)];
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

function words(value: number): [low: number, high: number] {
  const bits = BigInt.asUintN(64, BigInt(value));
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
}

/** Which elements dropout keeps (1): the native core's choice for this seed, step and instruction. */
export function dropoutMask(count: number, rate: number, stream: { seed: number; step: number; instruction: number }): Uint8Array {
  const threshold = Math.fround(rate);
  const key = words(stream.seed);
  const [stepLow, stepHigh] = words(stream.step);
  const mask = new Uint8Array(count);
  for (let block = 0; block < count; block += 4) {
    const random = philox4x32({ key, counter: [block / 4, stream.instruction, stepLow, stepHigh] });
    for (let i = block; i < Math.min(block + 4, count); i++) {
      mask[i] = ((random[i - block] ?? 0) >>> 8) * 2 ** -24 >= threshold ? 1 : 0;
    }
  }
  return mask;
}
