import { PcqatError } from '../errors.js';
import { subset } from './arrays.js';
import { permutation } from './batches.js';
import type { Dataset, DatasetSplits } from './types.js';

/** What {@link split} takes. */
export interface SplitOptions {
  /** Fraction of each class for validation. Default 0.1. */
  readonly validation?: number;
  /** Fraction of each class for the test. Default 0.1. */
  readonly test?: number;
  /** Default 0. */
  readonly seed?: number;
  /** Licence and credit. Default empty. */
  readonly credit?: string;
}

/**
 * Splits a data set at random, class by class, so that each part has the same share of every class.
 *
 * @throws PcqatError `ERR_OPTION` for fractions that are not in (0, 1) or leave nothing to train on; `ERR_EMPTY_DATA` when a part gets no example.
 *
 * @example
 * ```ts
 * import { arrayDataset, split } from 'pcqat';
 * const all = arrayDataset({ x: new Float32Array(100), y: Array.from({ length: 100 }, (_, i) => i % 2), inputShape: [1] });
 * const { train, validation, test } = split(all, { validation: 0.1, test: 0.2, seed: 3 });
 * console.log(train.size, validation.size, test.size); // 70 10 20
 * ```
 */
export function split(dataset: Dataset, options: SplitOptions = {}): DatasetSplits {
  const { validation = 0.1, test = 0.1, seed = 0, credit = '' } = options;
  if (!(validation > 0 && test > 0 && validation + test < 1)) {
    throw new PcqatError('ERR_OPTION', `the fractions validation ${validation} and test ${test} must be above 0 and together below 1`, {
      where: 'split',
    });
  }
  const parts: { train: number[]; validation: number[]; test: number[] } = { train: [], validation: [], test: [] };
  for (const members of classMembers(dataset, permutation(dataset.size, seed, 0))) {
    const validationEnd = Math.round(members.length * validation);
    const testEnd = validationEnd + Math.round(members.length * test);
    members.forEach((example, i) => {
      const part = i < validationEnd ? parts.validation : i < testEnd ? parts.test : parts.train;
      part.push(example);
    });
  }
  const part = (name: keyof typeof parts): Dataset =>
    subset(
      dataset,
      parts[name].sort((a, b) => a - b),
      `${dataset.name} ${name}`,
    );
  return { train: part('train'), validation: part('validation'), test: part('test'), credit };
}

/** Takes the last examples of a training set for validation, as data sets with a fixed test set do. */
export function holdOut(train: Dataset, count: number): { train: Dataset; validation: Dataset } {
  if (!Number.isSafeInteger(count) || count < 1 || count >= train.size) {
    throw new PcqatError('ERR_OPTION', `validation is ${count} but must be a whole number from 1 to ${train.size - 1}`, {
      where: `data set '${train.name}'`,
    });
  }
  const rest = train.size - count;
  return {
    train: range(train, 0, rest, train.name),
    validation: range(train, rest, train.size, train.name.replace(/ train$/, '') + ' validation'),
  };
}

/** A run of examples, without a copy. */
function range(dataset: Dataset, start: number, end: number, name: string): Dataset {
  const rowSize = dataset.x.length / dataset.size;
  const width = dataset.y.length / dataset.size;
  const x = dataset.x.subarray(start * rowSize, end * rowSize);
  return { ...dataset, name, size: end - start, x, y: dataset.y.subarray(start * width, end * width) };
}

function classMembers(dataset: Dataset, order: Uint32Array): number[][] {
  if (!(dataset.y instanceof Int32Array) || dataset.classes === undefined) return [[...order]];
  const members: number[][] = Array.from({ length: dataset.classes }, () => []);
  for (const example of order) members[dataset.y[example] as number]?.push(example);
  return members;
}
