import { PcqatError } from '../errors.js';
import { Random } from '../graph/random.js';
import type { Shape } from '../graph/types.js';
import type { Batch, DataSource } from './types.js';

/** One example of a stream: features, and a class label or a target row. */
export interface StreamExample {
  readonly x: Float32Array | readonly number[];
  readonly y: number | Float32Array;
}

/** What {@link streamBatches} takes. */
export interface StreamOptions {
  /** Shape of one example. */
  readonly inputShape: Shape;
  /** Examples in a batch; the last may be smaller. */
  readonly batchSize: number;
  /**
   * Examples held back to shuffle among them: each one that comes in takes the place of one drawn at random, which goes out. Default 0: the
   * stream's own order.
   */
  readonly shuffleBuffer?: number;
  /** Of the shuffling. Default 0. */
  readonly seed?: number;
}

/**
 * Turns a stream of examples (a generator over files, a database, a camera) into something to train on. Only one batch and the shuffle
 * buffer are in memory.
 *
 * @param open Starts a new pass. Called once for each epoch; the order differs from pass to pass when shuffling.
 * @throws PcqatError `ERR_OPTION` for bad options. While reading: `ERR_SHAPE` for an example of another size, `ERR_DTYPE` for a stream that
 *   mixes labels and target rows, `ERR_NON_FINITE`, `ERR_LABEL_RANGE`.
 *
 * @example
 * ```ts
 * import { streamBatches } from 'pcqat';
 * async function* examples() {
 *   for (let i = 0; i < 10; i++) yield { x: [i, 2 * i], y: i % 2 };
 * }
 * const source = streamBatches(examples, { inputShape: [2], batchSize: 4, shuffleBuffer: 8, seed: 1 });
 * for await (const batch of source()) console.log(batch.rows); // 4, 4, 2
 * ```
 */
export function streamBatches(
  open: () => Iterable<StreamExample> | AsyncIterable<StreamExample>,
  options: StreamOptions,
): Extract<DataSource, () => unknown> {
  const { inputShape, batchSize, shuffleBuffer = 0, seed = 0 } = options;
  for (const [name, value, least] of [
    ['batchSize', batchSize, 1],
    ['shuffleBuffer', shuffleBuffer, 0],
  ] as const) {
    if (!Number.isSafeInteger(value) || value < least) {
      throw new PcqatError('ERR_OPTION', `${name} is ${value} but must be a whole number of at least ${least}`, { where: 'streamBatches' });
    }
  }
  const rowSize = inputShape.reduce((product, dimension) => product * dimension, 1);
  let pass = 0;
  return () => group(shuffled(open(), shuffleBuffer, new Random(seed, `stream/${pass++}`)), batchSize, rowSize);
}

async function* shuffled(
  examples: Iterable<StreamExample> | AsyncIterable<StreamExample>,
  capacity: number,
  random: Random,
): AsyncGenerator<StreamExample> {
  const held: StreamExample[] = [];
  for await (const example of examples) {
    if (held.length < capacity) {
      held.push(example);
      continue;
    }
    if (capacity === 0) {
      yield example;
      continue;
    }
    const at = random.integer(capacity);
    yield held[at] as StreamExample;
    held[at] = example;
  }
  while (held.length > 0) {
    const [example] = held.splice(random.integer(held.length), 1);
    yield example as StreamExample;
  }
}

async function* group(examples: AsyncIterable<StreamExample>, batchSize: number, rowSize: number): AsyncGenerator<Batch> {
  let waiting: StreamExample[] = [];
  let first = 0;
  for await (const example of examples) {
    waiting.push(example);
    if (waiting.length < batchSize) continue;
    yield toBatch(waiting, rowSize, first);
    first += waiting.length;
    waiting = [];
  }
  if (waiting.length > 0) yield toBatch(waiting, rowSize, first);
}

function toBatch(examples: readonly StreamExample[], rowSize: number, first: number): Batch {
  const rows = examples.length;
  const x = new Float32Array(rows * rowSize);
  const width = widthOf(examples[0] as StreamExample);
  const y = width === 0 ? new Int32Array(rows) : new Float32Array(rows * width);
  examples.forEach((example, row) => {
    const where = `stream, example ${first + row}`;
    checkExample(example, rowSize, width, where);
    x.set(example.x, row * rowSize);
    if (typeof example.y === 'number') y[row] = example.y;
    else y.set(example.y, row * width);
  });
  return { rows, x, y };
}

/** Values of a target row; 0 for a label. */
function widthOf({ y }: StreamExample): number {
  return typeof y === 'number' ? 0 : y.length;
}

function checkExample(example: StreamExample, rowSize: number, width: number, where: string): void {
  const { x, y } = example;
  if (x.length !== rowSize) throw new PcqatError('ERR_SHAPE', `it has ${x.length} features instead of ${rowSize}`, { where });
  if (widthOf(example) !== width)
    throw new PcqatError('ERR_DTYPE', 'its target is of another kind or length than that of the batch', { where });
  if (typeof y === 'number' && (!Number.isInteger(y) || y < 0 || y >= 2 ** 31)) {
    throw new PcqatError('ERR_LABEL_RANGE', `its label is ${y} but must be a whole number from 0`, { where });
  }
  const finite = (values: ArrayLike<number>): boolean => Array.prototype.every.call(values, Number.isFinite);
  if (!finite(x) || (typeof y !== 'number' && !finite(y)))
    throw new PcqatError('ERR_NON_FINITE', 'it holds NaN or an infinite value', { where });
}
