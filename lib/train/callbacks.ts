import type { EpochRecord, TrainingState } from './history.js';
import type { WeightSummary } from './summarize.js';

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

/** Sparsity, thresholds and codebooks after an epoch or a step (tfmot `PruningSummaries`, `ClusteringSummaries`; spec 1.7, 2.7). */
export interface Summary {
  /** From 0. */
  readonly epoch: number;
  /** Optimizer steps so far; continues across epochs and `start`. */
  readonly step: number;
  /** Every weight with a chain, in the order of `model.chains`. */
  readonly layers: readonly WeightSummary[];
}

/**
 * What `fit` calls while it trains; it waits for promises. An exception ends the training and rejects `fit`'s promise.
 * The model's tensors are up to date in `onEpoch`, `onSummary` and `onInterrupt`, not in `onStep`.
 */
export interface Callbacks {
  onStep?(info: StepInfo): void | Promise<void>;
  /** With what is needed to continue from here ({@link TrainingState}). */
  onEpoch?(record: EpochRecord, state: TrainingState): void | Promise<void>;
  /** After each epoch or every `summaryFrequency` steps, if the model has weight chains. Nothing is computed for it unless it is given. */
  onSummary?(summary: Summary): void | Promise<void>;
  /** After `signal` stopped the training, before `fit` rejects: save the model and this state here. */
  onInterrupt?(state: TrainingState): void | Promise<void>;
}
