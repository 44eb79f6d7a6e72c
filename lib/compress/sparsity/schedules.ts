import { PcqatError } from '../../errors.js';
import type { PruningDecision, PruningSchedule } from './types.js';

/** Step window that both schedules share. */
export interface ScheduleWindow {
  /** First step at which masks may change, ≥ 0. Steps count from 1. Default 0. */
  readonly beginStep?: number;
  /** Last such step (inclusive); −1 = no end. Default −1. */
  readonly endStep?: number;
  /** Steps between two mask updates, ≥ 1. Default 100. */
  readonly frequency?: number;
}

/** Options of {@link constantSparsity}. */
export interface ConstantSparsityOptions extends ScheduleWindow {
  /** Fraction of zeros, in [0, 1). */
  readonly targetSparsity: number;
}

/** Options of {@link polynomialDecay}. */
export interface PolynomialDecayOptions {
  /** Fraction of zeros at `beginStep`, in [0, 1). */
  readonly initialSparsity: number;
  /** Fraction of zeros from `endStep` on, in [0, 1). */
  readonly finalSparsity: number;
  /** First step at which masks may change, ≥ 0. */
  readonly beginStep: number;
  /** Step at which `finalSparsity` is reached; greater than `beginStep`. */
  readonly endStep: number;
  /** Exponent of the decay. Default 3. */
  readonly power?: number;
  /** Steps between two mask updates, ≥ 1. Default 100. */
  readonly frequency?: number;
}

/**
 * Prunes to one sparsity every `frequency` steps (spec 1.4). The first step is 1, so with the defaults the first mask is
 * computed at step 100 and the steps before train dense.
 *
 * @throws {@link PcqatError} `ERR_OPTION`
 * @example
 * ```ts
 * import { constantSparsity, pruningDecision } from 'pcqat';
 * const schedule = constantSparsity({ targetSparsity: 0.5, beginStep: 100, frequency: 10 });
 * console.log(pruningDecision(schedule, 110)); // { shouldPrune: true, sparsity: 0.5 }
 * ```
 */
export function constantSparsity(options: ConstantSparsityOptions): PruningSchedule {
  const { targetSparsity, beginStep = 0, endStep = -1, frequency = 100 } = options;
  return validateSchedule({ kind: 'constant', targetSparsity, beginStep, endStep, frequency });
}

/**
 * Sparsity rises (or falls) from `initialSparsity` to `finalSparsity` as `(s₀ − s₁)(1 − p)^power + s₁`,
 * `p = (step − beginStep) / (endStep − beginStep)` (Zhu & Gupta 2017, spec 1.4). The final value is reached exactly if
 * `endStep − beginStep` is a multiple of `frequency`.
 *
 * @throws {@link PcqatError} `ERR_OPTION`; also for `beginStep = endStep`, where the reference computes 0/0
 * @example
 * ```ts
 * import { polynomialDecay, pruningDecision } from 'pcqat';
 * const schedule = polynomialDecay({ initialSparsity: 0.2, finalSparsity: 0.8, beginStep: 100, endStep: 110, frequency: 1 });
 * console.log(pruningDecision(schedule, 105).sparsity.toFixed(3)); // 0.725
 * ```
 */
export function polynomialDecay(options: PolynomialDecayOptions): PruningSchedule {
  const { initialSparsity, finalSparsity, beginStep, endStep, power = 3, frequency = 100 } = options;
  return validateSchedule({ kind: 'polynomial', initialSparsity, finalSparsity, beginStep, endStep, power, frequency });
}

/** Checks a schedule, wherever it came from (a call, a recipe, a file), and returns it. */
export function validateSchedule(schedule: PruningSchedule): PruningSchedule {
  const { beginStep, endStep, frequency } = schedule;
  requireInteger('beginStep', beginStep, 0);
  requireInteger('frequency', frequency, 1);
  requireInteger('endStep', endStep, -1);
  if (schedule.kind === 'constant') {
    if (endStep !== -1 && endStep < beginStep) reject('endStep', endStep, `-1 or at least beginStep (${beginStep})`);
    requireSparsity('targetSparsity', schedule.targetSparsity);
  } else {
    if (endStep <= beginStep) reject('endStep', endStep, `greater than beginStep (${beginStep})`);
    if (!(Number.isFinite(schedule.power) && schedule.power >= 0)) reject('power', schedule.power, 'a number of at least 0');
    requireSparsity('initialSparsity', schedule.initialSparsity);
    requireSparsity('finalSparsity', schedule.finalSparsity);
  }
  return schedule;
}

/**
 * What a schedule says for a step: masks change when the step lies in the window and is a multiple of `frequency` after
 * `beginStep`. The sparsity is computed in f32, operation by operation as the reference does, so it gives the same masks.
 *
 * @param step - number of the training step; the first one is 1
 * @example
 * ```ts
 * import { constantSparsity, pruningDecision } from 'pcqat';
 * console.log(pruningDecision(constantSparsity({ targetSparsity: 0.5 }), 99).shouldPrune); // false
 * ```
 */
export function pruningDecision(schedule: PruningSchedule, step: number): PruningDecision {
  const { beginStep, endStep, frequency } = schedule;
  const shouldPrune = step >= beginStep && (step <= endStep || endStep < 0) && (step - beginStep) % frequency === 0;
  return { shouldPrune, sparsity: sparsityAt(schedule, step) };
}

function sparsityAt(schedule: PruningSchedule, step: number): number {
  const f32 = Math.fround;
  if (schedule.kind === 'constant') return f32(schedule.targetSparsity);
  const { beginStep, endStep, power } = schedule;
  const progress = Math.min(1, Math.max(0, f32(f32(step - beginStep) / f32(endStep - beginStep))));
  const initial = f32(schedule.initialSparsity);
  const final = f32(schedule.finalSparsity);
  const decay = f32(Math.pow(f32(1 - progress), power));
  return f32(f32(f32(initial - final) * decay) + final);
}

function requireSparsity(field: string, value: number): void {
  if (!(value >= 0 && value < 1)) reject(field, value, 'in [0, 1)');
}

function requireInteger(field: string, value: number, least: number): void {
  if (!(Number.isSafeInteger(value) && value >= least)) reject(field, value, `an integer of at least ${least}`);
}

function reject(field: string, value: unknown, rule: string): never {
  throw new PcqatError('ERR_OPTION', `${field} is ${String(value)} but must be ${rule}`, { where: `schedule.${field}` });
}
