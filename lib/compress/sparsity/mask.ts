import type { Tensor } from '../../graph/model.js';
import { PcqatError } from '../../errors.js';
import { loadBinding } from '../../native.js';
import type { MaskResult } from '../../../binding.js';
import { expandBlocks, poolBlocks } from './blocks.js';
import { pruningDecision } from './schedules.js';
import type { PruningDecision, PruningPolicy } from './types.js';

/** Training calls this before a step: what happens to masks at that step. The m-by-n pattern is computed once, at step 1 (spec 1.6). */
export function maskDecision(policy: PruningPolicy, step: number): PruningDecision {
  const decision = pruningDecision(policy.schedule, step);
  return policy.mByN === undefined ? decision : { ...decision, shouldPrune: step === 1 };
}

/**
 * Mask of a weight by magnitude (spec 1.5): the largest |w| stay; ties at the threshold are all kept. With `blockSize` whole
 * blocks of a rank-2 weight stand or fall by their pooled magnitude, those at the edge by the part that lies inside (the reference
 * pools other windows there, W23); with `mByN` m of every n consecutive values along the
 * input axis become zero.
 *
 * @param weight - rank 2 for blocks, rank 2 or 4 for m-by-n; f32
 * @param sparsity - fraction to prune, in [0, 1); raised to `policy.minimumSparsity`
 * @returns the mask (`u8`, 1 = keep) and the threshold (999 for m-by-n, as in the reference)
 * @throws {@link PcqatError} `ERR_DTYPE`, `ERR_SHAPE`, `ERR_OPTION`
 * @example
 * ```ts
 * import { constantSparsity, updateMask } from 'pcqat';
 * const weight = { shape: [2, 2], data: Float32Array.of(0.1, -0.4, 0.3, -0.2) };
 * const schedule = constantSparsity({ targetSparsity: 0.5 });
 * console.log(updateMask(weight, { schedule, blockSize: [1, 1], blockPooling: 'AVG' }, 0.5).mask); // 0 1 1 0
 * ```
 */
export function updateMask(weight: Tensor, policy: PruningPolicy, sparsity: number): MaskResult {
  const { data, shape } = weight;
  if (!(data instanceof Float32Array)) throw new PcqatError('ERR_DTYPE', 'a weight to prune must be f32');
  const native = loadBinding();
  if (policy.mByN !== undefined) return keepZeros(native.mByNMask(data, shape, ...policy.mByN), data);
  const target = Math.max(sparsity, policy.minimumSparsity ?? 0);
  const [height, width] = policy.blockSize;
  // A weight that is exactly zero stays masked: when more than the target is zero already, the reference's threshold becomes 0 and
  // its mask all ones (W25). A weight that is zero everywhere keeps the reference's mask, or it could never train.
  if (height === 1 && width === 1) return native.magnitudeMask(data, target, true);
  const [rows = 0, columns = 0] = shape;
  if (rows % height === 0 && columns % width === 0) {
    return native.blockMask(data, rows, columns, [height, width], policy.blockPooling, target);
  }
  const { mask, threshold } = native.magnitudeMask(poolBlocks(weight, policy.blockSize, policy.blockPooling), target);
  return { mask: expandBlocks(mask, shape, policy.blockSize), threshold };
}

/** The rule of `pruneZeros` in binding.d.ts for the m-by-n pattern, which is made once in a training. */
function keepZeros(result: MaskResult, data: Float32Array): MaskResult {
  const { mask, threshold } = result;
  if (data.every((value) => value === 0)) return result;
  data.forEach((value, i) => value === 0 && (mask[i] = 0));
  return { mask, threshold };
}
