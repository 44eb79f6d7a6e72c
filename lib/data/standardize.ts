import { PcqatError } from '../errors.js';
import type { Dataset, DatasetSplits } from './types.js';

/**
 * Shifts and scales features to mean 0 and standard deviation 1, with statistics of the training part only, applied to all parts.
 * Works in place: no second copy of the features.
 *
 * @param axis Which axis of an example keeps its own statistics, e.g. 1 for the coefficients of `[frames, coefficients, 1]`, 2 for the
 *   channels of `[height, width, channels]`.
 * @throws PcqatError `ERR_OPTION` for an axis that the examples do not have.
 */
export function standardize(splits: DatasetSplits, axis: number): DatasetSplits {
  const { inputShape } = splits.train;
  const length = inputShape[axis];
  if (length === undefined)
    throw new PcqatError('ERR_OPTION', `axis ${axis} is none of [${inputShape.join(', ')}]`, { where: 'standardize' });
  const stride = inputShape.slice(axis + 1).reduce((product, dimension) => product * dimension, 1);
  const { mean, inverseDeviation } = statistics(splits.train, length, stride);
  for (const { x } of [splits.train, splits.validation, splits.test]) {
    for (let i = 0; i < x.length; i++) {
      const at = Math.floor(i / stride) % length;
      x[i] = ((x[i] as number) - (mean[at] as number)) * (inverseDeviation[at] as number);
    }
  }
  return splits;
}

function statistics({ x }: Dataset, length: number, stride: number): { mean: Float64Array; inverseDeviation: Float64Array } {
  const mean = new Float64Array(length);
  const squares = new Float64Array(length);
  const count = x.length / length;
  for (let i = 0; i < x.length; i++) {
    const at = Math.floor(i / stride) % length;
    mean[at] = (mean[at] as number) + (x[i] as number) / count;
  }
  for (let i = 0; i < x.length; i++) {
    const at = Math.floor(i / stride) % length;
    squares[at] = (squares[at] as number) + ((x[i] as number) - (mean[at] as number)) ** 2 / count;
  }
  // A feature that never changes stays as it is, at 0.
  return { mean, inverseDeviation: squares.map((variance) => (variance > 0 ? 1 / Math.sqrt(variance) : 1)) };
}
