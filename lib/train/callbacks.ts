import type { EpochRecord, LayerSummary, TrainingState } from './history.js';

/** One finished training step. */
export interface StepInfo {
  /** From 0. */
  readonly epoch: number;
  /** From 0. */
  readonly stepInEpoch: number;
  /** Steps per epoch; unknown for a stream. */
  readonly stepsPerEpoch?: number;
  /** Optimizer steps so far, from 1. */
  readonly step: number;
  readonly rows: number;
  /** Mean over the batch. */
  readonly loss: number;
  /** Fraction of the batch. */
  readonly accuracy: number;
  readonly learningRate: number;
  /** Global L2 norm before clipping. */
  readonly gradientNorm: number;
}

/** Sparsity, thresholds and codebooks at the end of an epoch. */
export interface Summary {
  readonly epoch: number;
  /** Optimizer steps so far. */
  readonly step: number;
  readonly layers: readonly LayerSummary[];
}

/**
 * What `fit` calls while it trains; it waits for promises. An exception ends the training and rejects `fit`'s promise.
 * The model's tensors are up to date in `onEpoch`, `onSummary` and `onInterrupt`, not in `onStep`.
 */
export interface Callbacks {
  onStep?(info: StepInfo): void | Promise<void>;
  /** With what is needed to continue from here ({@link TrainingState}). */
  onEpoch?(record: EpochRecord, state: TrainingState): void | Promise<void>;
  /** After each epoch, if the model has weight chains. */
  onSummary?(summary: Summary): void | Promise<void>;
  /** After `signal` stopped the training, before `fit` rejects: save the model and this state here. */
  onInterrupt?(state: TrainingState): void | Promise<void>;
}
