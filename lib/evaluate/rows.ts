import { PcqatError } from '../errors.js';
import { elementCount, sameShape } from '../graph/shapes.js';
import type { Shape } from '../graph/types.js';

/**
 * Number of rows in `x`.
 *
 * @throws PcqatError `ERR_DTYPE`, `ERR_SHAPE`, `ERR_EMPTY_DATA`, `ERR_NON_FINITE`
 */
export function checkedRowCount(x: Float32Array, inputShape: Shape, where = 'x'): number {
  if (!(x instanceof Float32Array)) throw new PcqatError('ERR_DTYPE', 'it must be a Float32Array', { where });
  const size = elementCount(inputShape);
  if (x.length % size !== 0) {
    throw new PcqatError('ERR_SHAPE', `it has ${x.length} values, which are no whole rows of ${size} = ${inputShape.join('×')}`, { where });
  }
  if (x.length === 0) throw new PcqatError('ERR_EMPTY_DATA', 'there are no rows', { where });
  const bad = x.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new PcqatError('ERR_NON_FINITE', `row ${Math.floor(bad / size)} holds ${x[bad]}`, { where });
  return x.length / size;
}

const withoutOnes = (shape: Shape): Shape => shape.filter((dimension) => dimension !== 1);

/** Do both hold the same numbers in the same order? Axes of length 1 do not matter, and a flat one is the other flattened. */
export function sameOrder(a: Shape, b: Shape): boolean {
  const [one, other] = [withoutOnes(a), withoutOnes(b)];
  return sameShape(one, other) || (elementCount(one) === elementCount(other) && (one.length === 1 || other.length === 1));
}

/** Arrays of one kind, one behind the other. */
export function concatenated<T extends Float32Array | Int8Array | Uint8Array>(parts: readonly T[], kind: new (length: number) => T): T {
  const result = new kind(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** The rows of `x` in portions. */
export function* portions(x: Float32Array, rowSize: number, rows: number): Generator<Float32Array> {
  for (let start = 0; start < x.length; start += rows * rowSize) yield x.subarray(start, start + rows * rowSize);
}
