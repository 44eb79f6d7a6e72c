import { PcqatError } from '../errors.js';

/** A learning rate over training steps, as plain data; made by the functions below. */
export type LearningRateSchedule =
  | { readonly kind: 'constant'; readonly value: number }
  | {
      readonly kind: 'exponential';
      readonly initial: number;
      readonly decaySteps: number;
      readonly decayRate: number;
      readonly staircase: boolean;
    }
  | { readonly kind: 'cosine'; readonly initial: number; readonly decaySteps: number; readonly alpha: number }
  | { readonly kind: 'piecewise'; readonly boundaries: readonly number[]; readonly values: readonly number[] }
  | { readonly kind: 'warmUp'; readonly steps: number; readonly initial: number; readonly then: LearningRateSchedule };

/** A constant, or a schedule. */
export type LearningRate = number | LearningRateSchedule;

function require(valid: boolean, message: string, field: string): void {
  if (!valid) throw new PcqatError('ERR_OPTION', message, { where: `learningRate ${field}` });
}

const isRate = (value: unknown): boolean => typeof value === 'number' && value >= 0 && Number.isFinite(value);
const requireRate = (field: string, value: unknown): void =>
  require(isRate(value), `${field} is ${String(value)} but must be a number of at least 0`, field);
const requireSteps = (field: string, value: unknown): void =>
  require(Number.isSafeInteger(value) &&
    (value as number) >= 1, `${field} is ${String(value)} but must be an integer of at least 1`, field);

/** Throws `ERR_OPTION` naming the field that is wrong; returns its argument. */
export function validateLearningRate<T extends LearningRate>(rate: T): T {
  const schedule: LearningRateSchedule = typeof rate === 'number' ? { kind: 'constant', value: rate } : rate;
  switch (schedule.kind) {
    case 'constant':
      requireRate('value', schedule.value);
      break;
    case 'exponential':
      requireRate('initial', schedule.initial);
      requireSteps('decaySteps', schedule.decaySteps);
      require(schedule.decayRate > 0 && Number.isFinite(schedule.decayRate), 'decayRate must be a number above 0', 'decayRate');
      break;
    case 'cosine':
      requireRate('initial', schedule.initial);
      requireSteps('decaySteps', schedule.decaySteps);
      require(schedule.alpha >= 0 && schedule.alpha <= 1, `alpha is ${String(schedule.alpha)} but must be in [0, 1]`, 'alpha');
      break;
    case 'piecewise': {
      const { boundaries, values } = schedule;
      require(values.length === boundaries.length + 1, 'piecewise needs one value more than boundaries', 'values');
      require(boundaries.every((b, i) => b >= 0 && b > (boundaries[i - 1] ?? -1)), 'boundaries must rise', 'boundaries');
      values.forEach((value) => requireRate('values', value));
      break;
    }
    case 'warmUp':
      requireSteps('steps', schedule.steps);
      requireRate('initial', schedule.initial);
      validateLearningRate(schedule.then);
      break;
    default:
      require(false, `unknown schedule '${String((schedule as { kind: unknown }).kind)}'`, 'kind');
  }
  return rate;
}

/**
 * The learning rate of the step after `step` finished ones (0 for the first), as Keras counts.
 *
 * @example
 * ```ts
 * import { exponentialDecay, learningRateAt } from 'pcqat';
 * const schedule = exponentialDecay({ initial: 0.1, decaySteps: 10, decayRate: 0.5 });
 * console.log(learningRateAt(schedule, 20)); // 0.025
 * ```
 */
export function learningRateAt(rate: LearningRate, step: number): number {
  if (typeof rate === 'number') return rate;
  switch (rate.kind) {
    case 'constant':
      return rate.value;
    case 'exponential': {
      const progress = step / rate.decaySteps;
      return rate.initial * rate.decayRate ** (rate.staircase ? Math.floor(progress) : progress);
    }
    case 'cosine': {
      const cosine = 0.5 * (1 + Math.cos((Math.PI * Math.min(step, rate.decaySteps)) / rate.decaySteps));
      return rate.initial * ((1 - rate.alpha) * cosine + rate.alpha);
    }
    case 'piecewise': {
      const i = rate.boundaries.findIndex((boundary) => step <= boundary);
      return rate.values.at(i) ?? 0;
    }
    case 'warmUp': {
      if (step >= rate.steps) return learningRateAt(rate.then, step - rate.steps);
      return rate.initial + ((learningRateAt(rate.then, 0) - rate.initial) * step) / rate.steps;
    }
  }
}

/**
 * The same rate at every step.
 *
 * @throws PcqatError `ERR_OPTION` unless the rate is a finite number of at least 0.
 * @example
 * ```ts
 * import { constant, sgd } from 'pcqat';
 * const optimizer = sgd({ learningRate: constant(0.05) });
 * ```
 */
export function constant(value: number): LearningRateSchedule {
  return validateLearningRate({ kind: 'constant', value });
}

/**
 * `initial · decayRate ^ (step / decaySteps)`; with `staircase` (default `false`) the exponent is rounded down.
 *
 * @throws PcqatError `ERR_OPTION` for a value outside its range.
 * @example
 * ```ts
 * import { adam, exponentialDecay } from 'pcqat';
 * const optimizer = adam({ learningRate: exponentialDecay({ initial: 1e-3, decaySteps: 100, decayRate: 0.96 }) });
 * ```
 */
export function exponentialDecay(options: {
  readonly initial: number;
  readonly decaySteps: number;
  readonly decayRate: number;
  readonly staircase?: boolean;
}): LearningRateSchedule {
  return validateLearningRate({ kind: 'exponential', staircase: false, ...options });
}

/**
 * Half a cosine from `initial` to `alpha · initial` in `decaySteps` steps, then flat (Loshchilov & Hutter 2016). `alpha` in [0, 1], default 0.
 *
 * @throws PcqatError `ERR_OPTION` for a value outside its range.
 * @example
 * ```ts
 * import { adam, cosineDecay } from 'pcqat';
 * const optimizer = adam({ learningRate: cosineDecay({ initial: 1e-3, decaySteps: 500 }) });
 * ```
 */
export function cosineDecay(options: {
  readonly initial: number;
  readonly decaySteps: number;
  readonly alpha?: number;
}): LearningRateSchedule {
  return validateLearningRate({ kind: 'cosine', alpha: 0, ...options });
}

/**
 * `values[0]` up to and including step `boundaries[0]`, then `values[1]`, and so on. One value more than boundaries.
 *
 * @throws PcqatError `ERR_OPTION` if boundaries do not rise or the counts do not fit.
 * @example
 * ```ts
 * import { piecewiseConstant, sgd } from 'pcqat';
 * const optimizer = sgd({ learningRate: piecewiseConstant({ boundaries: [100, 200], values: [0.1, 0.01, 0.001] }) });
 * ```
 */
export function piecewiseConstant(options: {
  readonly boundaries: readonly number[];
  readonly values: readonly number[];
}): LearningRateSchedule {
  return validateLearningRate({ kind: 'piecewise', boundaries: [...options.boundaries], values: [...options.values] });
}

/**
 * A straight line from `initial` (default 0) to the first rate of `then` in `steps` steps; then `then`, from its start.
 *
 * @throws PcqatError `ERR_OPTION` for a value outside its range.
 * @example
 * ```ts
 * import { adam, cosineDecay, warmUp } from 'pcqat';
 * const optimizer = adam({ learningRate: warmUp({ steps: 100, then: cosineDecay({ initial: 1e-3, decaySteps: 900 }) }) });
 * ```
 */
export function warmUp(options: { readonly steps: number; readonly then: LearningRate; readonly initial?: number }): LearningRateSchedule {
  const { steps, initial = 0, then } = options;
  return validateLearningRate({ kind: 'warmUp', steps, initial, then: typeof then === 'number' ? constant(then) : then });
}
