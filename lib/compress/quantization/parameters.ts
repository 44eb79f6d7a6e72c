/**
 * Quantization parameters as the reference's converter computes them (spec 5.1): in double, from f32 ranges.
 */

/** Ranges narrower than this are widened: they would give meaningless scales. */
const NARROWEST = 1e-6;

export interface ActivationParameters {
  /** f32. */
  readonly scale: number;
  /** −128…127. */
  readonly zeroPoint: number;
}

/** Rounds halves away from zero (C's `round`). */
export function roundHalfAway(x: number): number {
  return Math.sign(x) * Math.round(Math.abs(x));
}

/**
 * Scale and zero point of an int8 activation with the range `[min, max]`, which is widened to include 0.
 * The zero point is derived from the end of the range that gives the smaller rounding error.
 */
export function activationParameters(min: number, max: number): ActivationParameters {
  let low = Math.min(min, 0);
  let high = Math.max(max, 0);
  if (high - low < NARROWEST) {
    low = Math.min(low, -NARROWEST / 2);
    high = Math.max(high, NARROWEST / 2);
  }
  const scale = (high - low) / 255;
  const fromLow = -low / scale;
  const fromHigh = 255 - high / scale;
  const errorLow = Math.abs(low / scale);
  const errorHigh = 255 + Math.abs(high / scale);
  const zeroPoint = roundHalfAway(errorLow < errorHigh ? fromLow : fromHigh);
  return { scale: Math.fround(scale), zeroPoint: Math.min(Math.max(zeroPoint, 0), 255) - 128 };
}

/** Softmax and sigmoid have fixed parameters in TFLite: 0 to 255/256. */
export const UNIT_PARAMETERS: ActivationParameters = { scale: 1 / 256, zeroPoint: -128 };

/** So has tanh: −1 to 127/128. */
export const TANH_PARAMETERS: ActivationParameters = { scale: 1 / 128, zeroPoint: 0 };

/** Scale of a symmetric, narrow weight with the range `[-a, a]`, in double. */
export function weightScale(a: number, bits = 8): number {
  return Math.max(2 * a, NARROWEST) / (2 ** bits - 2);
}
