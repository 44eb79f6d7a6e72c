import { type BatchOptions, batches } from '../data/batches.js';
import type { Batch, DataSource } from '../data/types.js';
import { PcqatError } from '../errors.js';
import { checkExamples, type DataRequirement, isDataset } from './check-data.js';

/** One pass over data, as batches of at most `batchSize` rows. */
export interface PassOptions extends BatchOptions {
  readonly requirement: DataRequirement;
  /** For messages, e.g. `train`. */
  readonly name: string;
}

/**
 * The batches of one pass. A data set in memory has been checked as a whole by the caller; each batch of a stream is checked here.
 *
 * @throws PcqatError `ERR_EMPTY_DATA` for a stream without batches, what `checkExamples` throws for a bad batch.
 */
export async function* pass(source: DataSource, options: PassOptions): AsyncGenerator<Batch> {
  const { requirement, name, ...batchOptions } = options;
  if (isDataset(source)) {
    yield* batches(source, batchOptions);
    return;
  }
  let count = 0;
  for await (const batch of source()) {
    const where = `${name} batch ${count}`;
    checkExamples(batch, requirement, where);
    if (batch.rows > options.batchSize) {
      throw new PcqatError('ERR_SHAPE', `the batch has ${batch.rows} rows but batchSize is ${options.batchSize}`, {
        where,
        remedy: 'Raise batchSize.',
      });
    }
    count++;
    yield batch;
  }
  if (count === 0) throw new PcqatError('ERR_EMPTY_DATA', 'the stream has no batches', { where: name });
}

/** Whether labels are class numbers or rows: of a data set, or of the first batch of a stream. */
export async function labelKind(source: DataSource): Promise<'sparse' | 'dense'> {
  if (isDataset(source)) return source.y instanceof Int32Array ? 'sparse' : 'dense';
  for await (const batch of source()) return batch.y instanceof Int32Array ? 'sparse' : 'dense';
  throw new PcqatError('ERR_EMPTY_DATA', 'the stream has no batches', { where: 'data' });
}
