import type { Dataset, DataSource } from '../data/types.js';
import { PcqatError } from '../errors.js';
import { elementCount, sameShape } from '../graph/shapes.js';
import type { Shape } from '../graph/types.js';
import type { Loss } from './losses.js';

/** What a model needs from data. Without a loss, labels are not looked at. */
export interface DataRequirement {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly loss?: Loss;
}

interface Examples {
  readonly rows: number;
  readonly x: Float32Array;
  readonly y: Int32Array | Float32Array;
}

export function isDataset(source: DataSource): source is Dataset {
  return typeof source !== 'function';
}

/** `[28, 28]` and `[28, 28, 1]` hold the same numbers in the same order. */
export function withoutTrailingOnes(shape: Shape): Shape {
  return shape.slice(0, shape.findLastIndex((dimension) => dimension !== 1) + 1);
}

function requireLength(what: string, actual: number, expected: number, where: string): void {
  if (actual !== expected) throw new PcqatError('ERR_SHAPE', `${what} has ${actual} values but needs ${expected}`, { where });
}

function requireFinite(what: string, values: Float32Array, rowSize: number, where: string): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) {
      throw new PcqatError('ERR_NON_FINITE', `${what} of example ${Math.floor(i / rowSize)} holds ${values[i]}`, {
        where,
        remedy: 'Remove or repair it.',
      });
    }
  }
}

function checkClasses(labels: Int32Array, classes: number, where: string): void {
  const bad = labels.findIndex((label) => label < 0 || label >= classes);
  if (bad < 0) return;
  throw new PcqatError('ERR_LABEL_RANGE', `label of example ${bad} is ${labels[bad]} but the model has classes 0 to ${classes - 1}`, {
    where,
  });
}

function checkTargets({ rows, y }: Examples, { loss, outputShape }: DataRequirement, where: string): void {
  const width = elementCount(outputShape);
  if (y instanceof Int32Array) {
    if (loss?.kind !== 'softmaxCrossEntropy') {
      throw new PcqatError('ERR_DTYPE', 'class labels need the loss softmaxCrossEntropy', {
        where,
        remedy: 'Give targets as Float32Array rows.',
      });
    }
    requireLength('y', y.length, rows, where);
    checkClasses(y, width, where);
    return;
  }
  if (!(y instanceof Float32Array))
    throw new PcqatError('ERR_DTYPE', 'y must be an Int32Array of labels or a Float32Array of rows', { where });
  requireLength('y', y.length, rows * width, where);
  requireFinite('target', y, width, where);
  const bad = loss?.kind === 'softmaxCrossEntropy' ? y.findIndex((value) => value < 0 || value > 1) : -1;
  if (bad >= 0) {
    throw new PcqatError('ERR_LABEL_RANGE', `target of example ${Math.floor(bad / width)} holds ${y[bad]}, which is no probability`, {
      where,
    });
  }
}

/**
 * Checks examples against a model before it sees them.
 *
 * @throws PcqatError `ERR_EMPTY_DATA`, `ERR_DTYPE`, `ERR_SHAPE`, `ERR_LABEL_RANGE`, `ERR_NON_FINITE`, naming the first bad example.
 */
export function checkExamples(examples: Examples, requirement: DataRequirement, where: string): void {
  const { rows, x } = examples;
  if (!Number.isSafeInteger(rows) || rows < 1) throw new PcqatError('ERR_EMPTY_DATA', 'there are no examples', { where });
  if (!(x instanceof Float32Array)) throw new PcqatError('ERR_DTYPE', 'x must be a Float32Array', { where });
  const rowSize = elementCount(requirement.inputShape);
  requireLength('x', x.length, rows * rowSize, where);
  requireFinite('x', x, rowSize, where);
  if (requirement.loss !== undefined) checkTargets(examples, requirement, where);
}

/** Checks a whole data set in memory: the shape it states, and every example. */
export function checkDataset(dataset: Dataset, requirement: DataRequirement): void {
  const where = `data '${dataset.name}'`;
  if (!Array.isArray(dataset.inputShape)) throw new PcqatError('ERR_SHAPE', 'inputShape must be the shape of one example', { where });
  if (!sameShape(withoutTrailingOnes(dataset.inputShape), withoutTrailingOnes(requirement.inputShape))) {
    throw new PcqatError(
      'ERR_SHAPE',
      `examples are [${dataset.inputShape.join(', ')}] but the model's input is [${requirement.inputShape.join(', ')}]`,
      {
        where,
      },
    );
  }
  checkExamples({ rows: dataset.size, x: dataset.x, y: dataset.y }, requirement, where);
}
