/** What a weight chain looks like at the end of an epoch. */
export interface LayerSummary {
  /** E.g. `conv1/kernel`. */
  readonly weight: string;
  /** Fraction of zeros in the weight that the layer uses (before fake quantization). */
  readonly sparsity: number;
  /** Distinct values in it; only for weights with a codebook. */
  readonly distinct?: number;
  /** Smallest magnitude that the last mask update kept; only while pruning. */
  readonly threshold?: number;
}

/** One finished epoch. */
export interface EpochRecord {
  /** From 0. */
  readonly epoch: number;
  readonly steps: number;
  /** Mean over the epoch's examples, each measured before the step that learns from it. */
  readonly loss: number;
  /** Fraction, as {@link Evaluation.accuracy}. */
  readonly accuracy: number;
  readonly validationLoss?: number;
  readonly validationAccuracy?: number;
  /** Of the last step. */
  readonly learningRate: number;
  /** Mean over the steps of the global L2 norm before clipping. */
  readonly gradientNorm: number;
  /** Training and validation. */
  readonly seconds: number;
  /** Of every weight with a chain. */
  readonly layers: readonly LayerSummary[];
}

/** Course of a training. */
export interface History {
  readonly epochs: readonly EpochRecord[];
}

/** Sums over the finished steps of the present epoch. */
export interface EpochTotals {
  readonly rows: number;
  readonly lossSum: number;
  readonly correct: number;
  readonly gradientNormSum: number;
  readonly learningRate: number;
  readonly seconds: number;
}

/**
 * Where a training stands: plain JSON data. With the model (which holds the optimizer's state) it is all that `fit` needs to
 * continue as if it had never stopped.
 */
export interface TrainingState {
  /** Epoch of the next step, from 0. */
  readonly epoch: number;
  /** Steps of that epoch already taken. */
  readonly stepInEpoch: number;
  /** Of the steps already taken in that epoch. */
  readonly totals: EpochTotals;
  readonly epochs: readonly EpochRecord[];
}

export const NO_TOTALS: EpochTotals = { rows: 0, lossSum: 0, correct: 0, gradientNormSum: 0, learningRate: 0, seconds: 0 };

/** The state before the first step. */
export const INITIAL_STATE: TrainingState = { epoch: 0, stepInEpoch: 0, totals: NO_TOTALS, epochs: [] };
