import type { ForwardOptions, StepOptions, StepResult } from '../../binding.js';
import type { Model, OptimizerState } from '../graph/model.js';
import type { LoweredProgram } from './lower.js';
import { ModelSession, type ModelSessionOptions } from './model-session.js';

/** What the training loop needs of an engine: the native core ({@link ModelSession}) or another one that computes the same. */
export interface TrainingSession {
  /** Optimizer steps taken so far. */
  readonly step: number;
  /** Copies one tensor of the model into the session. */
  push(name: string): void;
  /** Copies one tensor of the session into the model's array. */
  pull(name: string): void;
  /** Copies every tensor and the optimizer's slots into the model. */
  pullAll(): void;
  /** Continues from saved optimizer state. */
  restoreOptimizer(state: OptimizerState): void;
  /** One optimizer step. After a non-finite result or a violation the session is as before the call. */
  train(x: Float32Array, y: Int32Array | Float32Array, options: Pick<StepOptions, 'learningRate'>): Promise<StepResult>;
  forward(x: Float32Array, options?: ForwardOptions): Promise<Float32Array>;
  dispose(): void;
}

/** Opens a session of an engine on a model. */
export type OpenSession = (model: Model, lowered: LoweredProgram, options: ModelSessionOptions) => TrainingSession;

/** The native core. */
export const openNativeSession: OpenSession = (model, lowered, options) => new ModelSession(model, lowered, options);
