import type { OptimizerSpec } from '../../binding.js';
import { PcqatError } from '../errors.js';
import { type LearningRate, validateLearningRate } from './schedules.js';

/** How weights follow gradients; made by {@link adam}, {@link adamw} or {@link sgd}. Plain data. */
export interface Optimizer {
  readonly spec: OptimizerSpec;
  readonly learningRate: LearningRate;
}

/** Options of {@link adam}. */
export interface AdamOptions {
  /** Default 1e-3. */
  readonly learningRate?: LearningRate;
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.999. */
  readonly beta2?: number;
  /** Added to the root of the uncorrected second moment, as in Keras. Default 1e-7. */
  readonly epsilon?: number;
}

/** Options of {@link adamw}. */
export interface AdamWOptions extends AdamOptions {
  /** Default 0.004, as in Keras. Applies to kernels only, and not to masked weights. */
  readonly weightDecay?: number;
}

/** Options of {@link sgd}. */
export interface SgdOptions {
  /** Default 0.01. */
  readonly learningRate?: LearningRate;
  /** In [0, 1). Default 0. */
  readonly momentum?: number;
  /** Default `false`. */
  readonly nesterov?: boolean;
  /** L2: added to the gradient of kernels, masked weights excepted. Default 0. */
  readonly weightDecay?: number;
}

function inRange(name: string, value: number, valid: boolean, range: string): number {
  if (!valid) throw new PcqatError('ERR_OPTION', `${name} is ${String(value)} but must be ${range}`, { where: `optimizer ${name}` });
  return value;
}

const unit = (name: string, value: number): number => inRange(name, value, value >= 0 && value < 1, 'in [0, 1)');
const decay = (value: number): number => inRange('weightDecay', value, value >= 0 && Number.isFinite(value), 'a number of at least 0');

function adamLike(kind: 'adam' | 'adamw', options: AdamOptions, weightDecay: number): Optimizer {
  const { learningRate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-7 } = options;
  inRange('epsilon', epsilon, epsilon > 0 && Number.isFinite(epsilon), 'a number above 0');
  const moments = { beta1: unit('beta1', beta1), beta2: unit('beta2', beta2), epsilon };
  return { spec: { kind, ...moments, weightDecay: decay(weightDecay) }, learningRate: validateLearningRate(learningRate) };
}

/**
 * Adam (Kingma & Ba 2014) exactly as Keras computes it: `α = lr · √(1 − β2ᵗ) / (1 − β1ᵗ)`, `w ← w − α · m / (√v + ε)`.
 *
 * @throws PcqatError `ERR_OPTION` for a value outside its range.
 *
 * @example
 * ```ts
 * import { adam, cosineDecay } from 'pcqat';
 * const optimizer = adam({ learningRate: cosineDecay({ initial: 1e-3, decaySteps: 1000 }) });
 * ```
 */
export function adam(options: AdamOptions = {}): Optimizer {
  return adamLike('adam', options, 0);
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter 2017): also `w ← w − lr · weightDecay · w` on kernels.
 *
 * @throws PcqatError `ERR_OPTION` for a value outside its range.
 *
 * @example
 * ```ts
 * import { adamw } from 'pcqat';
 * const optimizer = adamw({ learningRate: 1e-3, weightDecay: 0.01 });
 * ```
 */
export function adamw(options: AdamWOptions = {}): Optimizer {
  return adamLike('adamw', options, options.weightDecay ?? 0.004);
}

/**
 * Stochastic gradient descent with Keras' momentum: `v ← momentum · v − lr · g`, `w ← w + v`
 * (Nesterov: `w ← w + momentum · v − lr · g`).
 *
 * @throws PcqatError `ERR_OPTION` for a value outside its range.
 *
 * @example
 * ```ts
 * import { sgd } from 'pcqat';
 * const optimizer = sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true });
 * ```
 */
export function sgd(options: SgdOptions = {}): Optimizer {
  const { learningRate = 0.01, momentum = 0, nesterov = false, weightDecay = 0 } = options;
  const spec = { kind: 'sgd', momentum: unit('momentum', momentum), nesterov, weightDecay: decay(weightDecay) } as const;
  return { spec, learningRate: validateLearningRate(learningRate) };
}

/** Slots that an optimizer keeps per trainable tensor: Adam m and v, SGD velocity. */
export function slotCount(kind: OptimizerSpec['kind']): number {
  return kind === 'sgd' ? 1 : 2;
}
