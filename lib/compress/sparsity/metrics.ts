import { PcqatError } from '../../errors.js';
import type { Tensor } from '../../graph/model.js';

/**
 * Fraction of zeros (−0 counts), in [0, 1]; 0 for an empty array.
 *
 * @example
 * ```ts
 * import { sparsityOf } from 'pcqat';
 * console.log(sparsityOf([0, 1, -0, 2])); // 0.5
 * ```
 */
export function sparsityOf(values: ArrayLike<number>): number {
  let zeros = 0;
  for (let i = 0; i < values.length; i++) if (values[i] === 0) zeros++;
  return values.length === 0 ? 0 : zeros / values.length;
}

/** Options of {@link isPrunedMByN}. */
export interface PrunedMByNOptions {
  /** Zeros per group, ≥ 1. */
  readonly m: number;
  /** Group length, ≥ m. */
  readonly n: number;
  /**
   * `C_OUT` (default): the last axis is the output channel, groups run along the input axis, as kernels are stored here.
   * `C_IN`: groups run along the last axis as stored.
   */
  readonly lastChannel?: 'C_OUT' | 'C_IN';
}

/**
 * Does every group of `n` consecutive values (the last may be short) hold at most `n − m` non-zeros?
 *
 * @param weight - rank 2 `[in, out]` or rank 4 HWIO
 * @throws {@link PcqatError} `ERR_SHAPE` for another rank, `ERR_OPTION` for m > n or an unknown layout
 * @example
 * ```ts
 * import { isPrunedMByN } from 'pcqat';
 * const weight = { shape: [4, 1], data: Float32Array.of(1, 2, 0, 0) };
 * console.log(isPrunedMByN(weight, { m: 2, n: 4 })); // true
 * ```
 */
export function isPrunedMByN(weight: Tensor, options: PrunedMByNOptions): boolean {
  const { m, n, lastChannel = 'C_OUT' } = options;
  if (!(Number.isInteger(m) && Number.isInteger(n) && m >= 1 && m <= n)) {
    throw new PcqatError('ERR_OPTION', `m = ${m} and n = ${n} must be integers with 1 ≤ m ≤ n`, { where: 'isPrunedMByN' });
  }
  if (lastChannel !== 'C_OUT' && lastChannel !== 'C_IN') {
    throw new PcqatError('ERR_OPTION', `lastChannel is '${String(lastChannel)}' but must be 'C_OUT' or 'C_IN'`, { where: 'isPrunedMByN' });
  }
  const { shape, data } = weight;
  if (shape.length !== 2 && shape.length !== 4) {
    throw new PcqatError('ERR_SHAPE', `the weight has rank ${shape.length} but m-by-n patterns need rank 2 or 4`, {
      where: 'isPrunedMByN',
    });
  }
  // A row is one run of input values; in C_OUT layout its values lie `outputs` apart.
  const last = shape.at(-1) ?? 1;
  const inputs = lastChannel === 'C_OUT' ? (shape.at(-2) ?? 1) : last;
  const stride = lastChannel === 'C_OUT' ? last : 1;
  const rows = data.length / inputs;
  for (let row = 0; row < rows; row++) {
    const start = Math.floor(row / stride) * inputs * stride + (row % stride);
    for (let group = 0; group < inputs; group += n) {
      let nonZeros = 0;
      for (let i = group; i < Math.min(group + n, inputs); i++) if (data[start + i * stride] !== 0) nonZeros++;
      if (nonZeros > n - m) return false;
    }
  }
  return true;
}
