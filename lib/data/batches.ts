import { PcqatError } from '../errors.js';
import { Random } from '../graph/random.js';
import type { Augmentation } from './augment.js';
import type { Batch, Dataset } from './types.js';

/** How {@link batches} goes through a data set. */
export interface BatchOptions {
  /** Examples in a batch. The last batch may be smaller. */
  readonly batchSize: number;
  /** Visit the examples in an order drawn from `seed` and `epoch`. Default `false`: in their order. */
  readonly shuffle?: boolean;
  /** Default 0. */
  readonly seed?: number;
  /** Number of the pass, from 0. Each pass has its own order and augmentation. Default 0. */
  readonly epoch?: number;
  /** Changes copies of the examples. Depends on `seed`, `epoch` and the example only, not on batch size or order. */
  readonly augment?: Augmentation;
  /** Leave out the last batch if it is smaller than `batchSize`. Default `false`. */
  readonly dropRemainder?: boolean;
}

/**
 * One pass over a data set. Batches that are neither shuffled nor augmented are views of the data set, not copies.
 *
 * @throws PcqatError `ERR_OPTION` for a batch size, seed or epoch that is no whole number in its range; `ERR_EMPTY_DATA` when
 *   `dropRemainder` leaves nothing.
 *
 * @example
 * ```ts
 * import { arrayDataset, batches } from 'pcqat';
 * const data = arrayDataset({ x: [1, 2, 3, 4, 5], y: [0, 1, 0, 1, 0], inputShape: [1] });
 * for (const batch of batches(data, { batchSize: 2, shuffle: true, seed: 7, epoch: 0 })) console.log(batch.rows, batch.x, batch.y);
 * ```
 */
export function* batches(dataset: Dataset, options: BatchOptions): Generator<Batch> {
  const { batchSize, shuffle = false, seed = 0, epoch = 0, augment, dropRemainder = false } = options;
  requireInteger('batchSize', batchSize, 1);
  requireInteger('seed', seed, Number.MIN_SAFE_INTEGER);
  requireInteger('epoch', epoch, 0);
  const { size } = dataset;
  const end = dropRemainder ? size - (size % batchSize) : size;
  if (end === 0)
    throw new PcqatError('ERR_EMPTY_DATA', `no batch of ${batchSize} fits into ${size} examples`, { where: `data set '${dataset.name}'` });

  const order = shuffle ? permutation(size, seed, epoch) : undefined;
  const augmented = augment && { augment, random: (example: number) => new Random(seed, `augment/${epoch}/${example}`) };
  for (let start = 0; start < end; start += batchSize) {
    const rows = Math.min(batchSize, end - start);
    yield order === undefined && augmented === undefined ? view(dataset, start, rows) : gather(dataset, start, rows, order, augmented);
  }
}

/** A permutation of `0 … size − 1` (Fisher and Yates), the same on every machine for the same seed and epoch. */
export function permutation(size: number, seed: number, epoch: number): Uint32Array {
  const random = new Random(seed, `shuffle/${epoch}`);
  const order = Uint32Array.from({ length: size }, (_, i) => i);
  for (let i = size - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    const kept = order[i] as number;
    order[i] = order[j] as number;
    order[j] = kept;
  }
  return order;
}

function view(dataset: Dataset, start: number, rows: number): Batch {
  const rowSize = dataset.x.length / dataset.size;
  const width = dataset.y.length / dataset.size;
  return {
    rows,
    x: dataset.x.subarray(start * rowSize, (start + rows) * rowSize),
    y: dataset.y.subarray(start * width, (start + rows) * width),
  };
}

interface Augmented {
  readonly augment: Augmentation;
  readonly random: (example: number) => Random;
}

function gather(dataset: Dataset, start: number, rows: number, order: Uint32Array | undefined, augmented: Augmented | undefined): Batch {
  const rowSize = dataset.x.length / dataset.size;
  const width = dataset.y.length / dataset.size;
  const x = new Float32Array(rows * rowSize);
  const y = dataset.y instanceof Int32Array ? new Int32Array(rows * width) : new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const from = order === undefined ? start + row : (order[start + row] as number);
    x.set(dataset.x.subarray(from * rowSize, (from + 1) * rowSize), row * rowSize);
    y.set(dataset.y.subarray(from * width, (from + 1) * width), row * width);
    augmented?.augment({
      x: x.subarray(row * rowSize, (row + 1) * rowSize),
      y: y.subarray(row * width, (row + 1) * width),
      random: augmented.random(from),
      dataset,
    });
  }
  return { rows, x, y };
}

function requireInteger(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  const range = least >= 0 ? ` of at least ${least}` : '';
  throw new PcqatError('ERR_OPTION', `${name} is ${value} but must be a whole number${range}`, { where: 'batches' });
}
