import { PcqatError } from '../errors.js';
import type { Shape } from '../graph/types.js';
import type { Dataset } from './types.js';

/** What {@link arrayDataset} takes. */
export interface ArrayDatasetOptions {
  /** For messages and reports. Default `arrays`. */
  readonly name?: string;
  /** Features of all examples, row-major: `examples × product(inputShape)` values. Not copied when it is a `Float32Array`. */
  readonly x: Float32Array | readonly number[];
  /** A class label for each example (`Int32Array` or numbers), or target rows (`Float32Array`). */
  readonly y: Int32Array | Uint8Array | Float32Array | readonly number[];
  /** Shape of one example, e.g. `[28, 28, 1]`. */
  readonly inputShape: Shape;
  /** Number of classes. Default: the largest label + 1. Only for labels. */
  readonly classes?: number;
  /** A name for each class. */
  readonly labelNames?: readonly string[];
}

/**
 * A data set from arrays in memory.
 *
 * @throws PcqatError `ERR_SHAPE` (lengths that do not fit `inputShape`), `ERR_EMPTY_DATA`, `ERR_NON_FINITE` (NaN or infinite features or
 *   targets), `ERR_LABEL_RANGE` (a label that is no integer in [0, classes)), `ERR_OPTION`.
 *
 * @example
 * ```ts
 * import { arrayDataset } from 'pcqat';
 * const xor = arrayDataset({ x: [0, 0, 0, 1, 1, 0, 1, 1], y: [0, 1, 1, 0], inputShape: [2] });
 * console.log(xor.size, xor.classes); // 4 2
 * ```
 */
export function arrayDataset(options: ArrayDatasetOptions): Dataset {
  const { name = 'arrays', inputShape } = options;
  const where = `data set '${name}'`;
  const rowSize = checkedRowSize(inputShape, where);
  const x = options.x instanceof Float32Array ? options.x : Float32Array.from(options.x);
  if (x.length === 0) throw new PcqatError('ERR_EMPTY_DATA', 'there are no examples', { where });
  if (x.length % rowSize !== 0) {
    throw new PcqatError('ERR_SHAPE', `x has ${x.length} values, which is no multiple of ${rowSize} = ${inputShape.join('×')}`, { where });
  }
  const size = x.length / rowSize;
  requireFinite('x', x, rowSize, where);
  const base = { name, size, inputShape: [...inputShape], x };
  if (options.y instanceof Float32Array) return { ...base, y: checkedTargets(options.y, size, where) };

  const { labels, classes } = checkedLabels(options.y, size, options.classes, where);
  const { labelNames } = options;
  if (labelNames === undefined) return { ...base, y: labels, classes };
  if (labelNames.length !== classes) {
    throw new PcqatError('ERR_OPTION', `there are ${labelNames.length} labelNames for ${classes} classes`, { where });
  }
  return { ...base, y: labels, classes, labelNames: [...labelNames] };
}

/**
 * The same examples with class labels turned into rows of probabilities (1 for the class, else 0), as {@link mixup} needs.
 *
 * @throws PcqatError `ERR_DTYPE` when the data set has target rows already.
 *
 * @example
 * ```ts
 * import { arrayDataset, oneHot } from 'pcqat';
 * const data = oneHot(arrayDataset({ x: [0.5, 0.25], y: [1, 0], inputShape: [1] }));
 * console.log(data.y); // Float32Array [ 0, 1, 1, 0 ]
 * ```
 */
export function oneHot(dataset: Dataset): Dataset {
  const { y, classes, size } = dataset;
  if (!(y instanceof Int32Array) || classes === undefined) {
    throw new PcqatError('ERR_DTYPE', 'oneHot needs class labels, but this data set has target rows', {
      where: `data set '${dataset.name}'`,
    });
  }
  const rows = new Float32Array(size * classes);
  y.forEach((label, row) => (rows[row * classes + label] = 1));
  return { ...dataset, y: rows };
}

/** The examples at `indices`, in that order, as a data set of their own. */
export function subset(dataset: Dataset, indices: ArrayLike<number>, name: string): Dataset {
  if (indices.length === 0) throw new PcqatError('ERR_EMPTY_DATA', 'no example is left for this part', { where: `data set '${name}'` });
  const rowSize = dataset.x.length / dataset.size;
  const width = dataset.y.length / dataset.size;
  const x = new Float32Array(indices.length * rowSize);
  const y = dataset.y instanceof Int32Array ? new Int32Array(indices.length) : new Float32Array(indices.length * width);
  for (let row = 0; row < indices.length; row++) {
    const from = indices[row] as number;
    x.set(dataset.x.subarray(from * rowSize, (from + 1) * rowSize), row * rowSize);
    y.set(dataset.y.subarray(from * width, (from + 1) * width), row * width);
  }
  return { ...dataset, name, size: indices.length, x, y };
}

/** The first rows of a data set, as views of its arrays; all of it when it has no more. */
export function firstRows(data: Dataset, rows: number): Dataset {
  const size = Math.min(rows, data.size);
  const labels = data.size === 0 ? 0 : data.y.length / data.size;
  const rowSize = data.inputShape.reduce((product, dimension) => product * dimension, 1);
  return { ...data, size, x: data.x.subarray(0, size * rowSize), y: data.y.subarray(0, size * labels) };
}

function checkedRowSize(shape: Shape, where: string): number {
  const bad = shape.length === 0 || shape.some((dimension) => !Number.isSafeInteger(dimension) || dimension < 1);
  if (bad) throw new PcqatError('ERR_SHAPE', `inputShape [${shape.join(', ')}] must hold positive integers`, { where });
  return shape.reduce((product, dimension) => product * dimension, 1);
}

function requireFinite(what: string, values: Float32Array, rowSize: number, where: string): void {
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    throw new PcqatError('ERR_NON_FINITE', `${what} of example ${Math.floor(i / rowSize)} holds ${values[i]}`, {
      where,
      remedy: 'Remove or repair that example.',
    });
  }
}

function checkedTargets(y: Float32Array, size: number, where: string): Float32Array {
  if (y.length === 0 || y.length % size !== 0) {
    throw new PcqatError('ERR_SHAPE', `y has ${y.length} values, which is no whole number of values for each of ${size} examples`, {
      where,
    });
  }
  requireFinite('y', y, y.length / size, where);
  return y;
}

function checkedLabels(
  y: ArrayLike<number>,
  size: number,
  wanted: number | undefined,
  where: string,
): { labels: Int32Array; classes: number } {
  if (y.length !== size) throw new PcqatError('ERR_SHAPE', `y has ${y.length} labels for ${size} examples`, { where });
  if (wanted !== undefined && (!Number.isSafeInteger(wanted) || wanted < 1)) {
    throw new PcqatError('ERR_OPTION', `classes is ${wanted} but must be a positive integer`, { where });
  }
  const labels = new Int32Array(size);
  let largest = 0;
  for (let i = 0; i < size; i++) {
    const label = y[i] as number;
    if (!Number.isInteger(label) || label < 0 || label >= (wanted ?? 2 ** 31)) {
      const range = wanted === undefined ? 'a whole number from 0' : `0 to ${wanted - 1}`;
      throw new PcqatError('ERR_LABEL_RANGE', `the label of example ${i} is ${label} but must be ${range}`, { where });
    }
    labels[i] = label;
    largest = Math.max(largest, label);
  }
  return { labels, classes: wanted ?? largest + 1 };
}
