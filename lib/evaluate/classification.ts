import type { Dataset } from '../data/types.js';
import { PcqatError, requireCount } from '../errors.js';
import { elementCount } from '../graph/shapes.js';
import { argmax, logSumExp } from '../train/metrics.js';
import { sameOrder } from './rows.js';
import type { Runner } from './runner.js';

/** Options of {@link classify}. */
export interface ClassifyOptions {
  /** Rows at a time; does not change the result. Default 128. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
}

/** How one class fares. */
export interface ClassResult {
  /** From the data's `labelNames`; else its number. */
  readonly name: string;
  /** Examples of this class. */
  readonly rows: number;
  /** Fraction of its examples that were found; `null` where it has none. */
  readonly recall: number | null;
  /** Fraction of the examples taken for it that are of it; `null` where none was. */
  readonly precision: number | null;
}

/** What {@link classify} found. */
export interface Classification {
  readonly rows: number;
  /** Fraction of examples whose largest output is that of their label. Ties go to the lowest class. */
  readonly accuracy: number;
  /**
   * Mean cross-entropy. Outputs that are non-negative and sum to 1 in every row are taken as probabilities, others as logits. Absent for
   * integer outputs and probabilities rounded to 8 bits, which are too coarse for it.
   */
  readonly loss?: number;
  /** One for each output of the model. */
  readonly classes: readonly ClassResult[];
  /** `confusion[label][predicted]`: numbers of examples. */
  readonly confusion: readonly (readonly number[])[];
}

/** As `tf.keras.losses`: what is surely wrong does not cost infinity. */
const SMALLEST_PROBABILITY = 1e-7;
/** Rows of probabilities sum to 1 this well in f32, and this well where they were rounded to 8 bits. */
const EXACT = 1e-3;
const ROUNDED = 0.05;
/** The confusion matrix has their square. */
const MAX_CLASSES = 4096;

function checkedLabels({ size, y }: Dataset, classes: number, where: string): Int32Array {
  if (!(y instanceof Int32Array)) throw new PcqatError('ERR_DTYPE', 'classification needs class labels (Int32Array)', { where });
  if (y.length !== size) throw new PcqatError('ERR_SHAPE', `there are ${y.length} labels for ${size} examples`, { where });
  const bad = y.findIndex((label) => label < 0 || label >= classes);
  if (bad < 0) return y;
  throw new PcqatError('ERR_LABEL_RANGE', `the label of example ${bad} is ${y[bad]} but the model has classes 0 to ${classes - 1}`, {
    where,
  });
}

/** Checks that data and model fit. @returns labels and number of classes */
function fitted({ inputShape, outputShape }: Runner, data: Dataset): { labels: Int32Array; classes: number } {
  const where = `data '${data.name}'`;
  if (data.size === 0) throw new PcqatError('ERR_EMPTY_DATA', 'there are no examples', { where });
  if (!sameOrder(data.inputShape, inputShape)) {
    const shapes = `examples are [${data.inputShape.join(', ')}] but the model's input is [${inputShape.join(', ')}]`;
    throw new PcqatError('ERR_SHAPE', shapes, { where, remedy: 'Choose the data and features that the model was made for.' });
  }
  if (data.x.length !== data.size * elementCount(inputShape)) {
    throw new PcqatError('ERR_SHAPE', `it has ${data.x.length} values for ${data.size} examples`, { where });
  }
  const classes = elementCount(outputShape);
  if (classes < 2 || classes !== outputShape.at(-1)) {
    throw new PcqatError('ERR_SHAPE', `the model's output [${outputShape.join(', ')}] is no row of two or more classes`, {
      where: 'model',
    });
  }
  if (classes > MAX_CLASSES) {
    throw new PcqatError('ERR_UNSUPPORTED', `the model has ${classes} classes, more than ${MAX_CLASSES}`, { where: 'model' });
  }
  return { labels: checkedLabels(data, classes, where), classes };
}

/** Sums the cross-entropy of rows both ways, until it is known which one holds. */
class LossSum {
  /** Largest distance of a row's sum from 1; infinite once a row is no probabilities. */
  #deviation = 0;
  #fromProbabilities = 0;
  #fromLogits = 0;

  add(outputs: Float32Array, label: number): void {
    this.#fromLogits += logSumExp(outputs) - (outputs[label] ?? 0);
    if (this.#deviation > ROUNDED) return;
    const deviation = Math.abs(outputs.reduce((total, value) => total + value, 0) - 1);
    this.#deviation = Math.max(this.#deviation, outputs.every((value) => value >= 0) ? deviation : Infinity);
    this.#fromProbabilities -= Math.log(Math.max(outputs[label] ?? 0, SMALLEST_PROBABILITY));
  }

  mean(rows: number): number | undefined {
    if (this.#deviation > ROUNDED) return this.#fromLogits / rows;
    return this.#deviation > EXACT ? undefined : this.#fromProbabilities / rows;
  }
}

/**
 * Runs a model on labelled examples: accuracy, loss, and which classes it takes for which.
 *
 * @throws PcqatError `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_DTYPE` (targets instead of labels), `ERR_LABEL_RANGE` for data that do not fit the
 *   model; `ERR_NON_FINITE` for NaN or infinity in examples or outputs; what the runner throws
 * @example
 * ```ts
 * import { classify, openRunner, zoo } from 'pcqat';
 * const data = { name: 'noise', size: 2, inputShape: [28, 28, 1], x: new Float32Array(2 * 784).fill(0.5), y: Int32Array.of(3, 4) };
 * const runner = await openRunner(zoo.lenet5());
 * const { accuracy, confusion } = await classify(runner, data);
 * console.log(accuracy, confusion[3]); // row of the examples that are 3
 * runner.dispose();
 * ```
 */
export async function classify(runner: Runner, data: Dataset, options: ClassifyOptions = {}): Promise<Classification> {
  const { batchSize = 128, signal } = options;
  requireCount('batchSize', batchSize);
  const { labels, classes } = fitted(runner, data);
  const rowSize = elementCount(runner.inputShape);
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  const loss = new LossSum();
  for (let start = 0; start < data.size; start += batchSize) {
    signal?.throwIfAborted();
    const end = Math.min(start + batchSize, data.size);
    const outputs = await runner.run(data.x.subarray(start * rowSize, end * rowSize), signal === undefined ? {} : { signal });
    for (let row = start; row < end; row++) {
      const output = outputs.subarray((row - start) * classes, (row - start + 1) * classes);
      if (!output.every(Number.isFinite)) {
        throw new PcqatError('ERR_NON_FINITE', `the model's output for example ${row} is not finite`, { where: `data '${data.name}'` });
      }
      const label = labels[row] ?? 0;
      (confusion[label] as number[])[argmax(output)]! += 1;
      loss.add(output, label);
    }
  }
  const mean = runner.outputScale === undefined ? loss.mean(data.size) : undefined;
  const correct = confusion.reduce((sum, counts, label) => sum + (counts[label] ?? 0), 0);
  return {
    rows: data.size,
    accuracy: correct / data.size,
    ...(mean === undefined ? {} : { loss: mean }),
    classes: confusion.map((counts, label) => classResult(confusion, label, counts, data.labelNames?.[label] ?? String(label))),
    confusion,
  };
}

function classResult(confusion: readonly (readonly number[])[], label: number, counts: readonly number[], name: string): ClassResult {
  const found = counts[label] ?? 0;
  const rows = counts.reduce((sum, count) => sum + count, 0);
  const taken = confusion.reduce((sum, others) => sum + (others[label] ?? 0), 0);
  return { name, rows, recall: rows === 0 ? null : found / rows, precision: taken === 0 ? null : found / taken };
}
