import { expect } from 'chai';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import type { Bytes } from './tflite29.js';

/**
 * Fraction of outputs that may differ, by one step, per operator: these foreign kernels are not the reference kernels that we follow.
 * - TFLite 2.9 rounds once where the reference rounds twice (CONV_2D), twice where it rounds once (FULLY_CONNECTED).
 * - LiteRT runs XNNPACK, which multiplies in f32 and rounds once (both convolutions; a depthwise sum has few terms, so ties are common).
 * - The reference divides MEAN's multiplier and rounds twice, first to a quarter of a step or so; the others use f32.
 * - XNNPACK's LEAKY_RELU and QUANTIZE (int8 to int8) have factors of 8 fractional bits and round halves up, its MUL and TRANSPOSE_CONV round once from f32.
 * - XNNPACK's RESIZE_BILINEAR knows positions exactly; TFLite rounds the scale of an axis to 1/1024, which can move values between
 *   very different neighbours by two steps where the factor is not a power of two.
 * Everything else must be equal.
 */
export const TFLITE_29: Readonly<Record<string, number>> = { CONV_2D: 0.01, FULLY_CONNECTED: 0.02, MEAN: 0.25 };
export const LITERT: Readonly<Record<string, number>> = {
  CONV_2D: 0.01,
  DEPTHWISE_CONV_2D: 0.03,
  LEAKY_RELU: 0.25,
  MEAN: 0.25,
  MUL: 0.01,
  QUANTIZE: 0.4,
  RESIZE_BILINEAR: 0.35,
  TRANSPOSE_CONV: 0.01,
};
/** Operators that may differ by more than one step. */
const STEPS: Readonly<Record<string, number>> = { RESIZE_BILINEAR: 2 };

/** Checks that every difference is one step (or what the operator may have), and that there are no more than the operators' bounds allow. */
export function expectClose(actual: Bytes, expected: Bytes, { operators }: TfliteModel, bounds: Readonly<Record<string, number>>): void {
  expect(actual).to.have.length(expected.length);
  const inexact = operators.map(({ op }) => op).filter((op) => op in bounds);
  const steps = Array.from(actual, (value, i) => Math.abs(value - expected[i]!));
  const different = steps.filter((step) => step > 0).length;
  // At least one element, so that a bound means something for small outputs.
  const allowed = inexact.length === 0 ? 0 : Math.max(1, Math.floor(inexact.reduce((sum, op) => sum + bounds[op]!, 0) * steps.length));
  const message = `${different} of ${steps.length} outputs differ (${inexact.join(', ')})`;
  expect(different, message).to.be.at.most(allowed);
  expect(
    steps.reduce((most, step) => Math.max(most, step), 0),
    message,
  ).to.be.at.most(inexact.reduce((most, op) => Math.max(most, STEPS[op] ?? 1), 1));
}
