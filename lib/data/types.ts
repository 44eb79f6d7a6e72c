import type { Shape } from '../graph/types.js';

/** Features of `rows` examples, row-major, with class labels (`Int32Array`) or target rows (`Float32Array`). */
export interface Batch {
  readonly rows: number;
  readonly x: Float32Array;
  readonly y: Int32Array | Float32Array;
}

/** Examples in memory. */
export interface Dataset {
  readonly name: string;
  readonly size: number;
  /** Shape of one example, e.g. `[49, 10, 1]`. */
  readonly inputShape: Shape;
  /** `size × product(inputShape)` values. */
  readonly x: Float32Array;
  /** `size` class labels, or `size × width` targets. */
  readonly y: Int32Array | Float32Array;
  /** Number of classes when `y` holds labels. */
  readonly classes?: number;
  readonly labelNames?: readonly string[];
}

/** Train / validation / test parts of a data set, with where it came from. */
export interface DatasetSplits {
  readonly train: Dataset;
  readonly validation: Dataset;
  readonly test: Dataset;
  /** Licence and credit, shown in reports. */
  readonly credit: string;
}

/** What `fit` and `evaluate` read: a data set in memory, or a function that starts a new pass over batches (a stream). */
export type DataSource = Dataset | (() => Iterable<Batch> | AsyncIterable<Batch>);
