import { PcqatError } from '../../errors.js';

/** What the quantizers that follow their values have in common. */
interface FollowingQuantizer {
  /** 2–8: codes are 0 … 2^bits − 1. */
  readonly bits: number;
  /** One range per index of the last axis, whatever the rank. Only for weights. */
  readonly perAxis: boolean;
  /** The range is widened until zero lies in its middle: `[-a, a]`, or one code more below zero with a wide range. */
  readonly symmetric: boolean;
  /** The lowest code is not used, so that codes are as many above zero as below. */
  readonly narrowRange: boolean;
}

/** The range is that of the values at hand. See {@link lastValueQuantizer}. */
export interface LastValueQuantizer extends FollowingQuantizer {
  readonly kind: 'lastValue';
}

/** The range follows a moving average. See {@link movingAverageQuantizer}. */
export interface MovingAverageQuantizer extends FollowingQuantizer {
  readonly kind: 'movingAverage';
  /** In (0, 1). Absent: as {@link QuantizeOptions.activationDecay} says; for weights 0.999. */
  readonly decay?: number;
}

/** The range covers all values ever seen. See {@link allValuesQuantizer}. */
export interface AllValuesQuantizer extends FollowingQuantizer {
  readonly kind: 'allValues';
}

/** The range is given. See {@link fixedQuantizer}. */
export interface FixedQuantizer {
  readonly kind: 'fixed';
  readonly min: number;
  readonly max: number;
  readonly bits: number;
  readonly narrowRange: boolean;
}

/** How a weight or an output is fake-quantized (spec 3.4): immutable plain data, which survives JSON and compares by value. */
export type Quantizer = LastValueQuantizer | MovingAverageQuantizer | AllValuesQuantizer | FixedQuantizer;

/** Options of the quantizers that follow their values; each says its defaults. */
export type QuantizerOptions = Partial<FollowingQuantizer>;

/** Options of {@link movingAverageQuantizer}. */
export interface MovingAverageOptions extends QuantizerOptions {
  readonly decay?: number;
}

/** Options of {@link fixedQuantizer}. */
export interface FixedOptions {
  readonly min: number;
  readonly max: number;
  /** Default 8. The reference ignores it (W32). */
  readonly bits?: number;
  /** Default `false`. */
  readonly narrowRange?: boolean;
}

/**
 * The range of the values at hand, at every step (tfmot `LastValueQuantizer`): how the default scheme quantizes kernels.
 * Defaults: 8 bits, per tensor, symmetric, narrow.
 *
 * @throws {@link PcqatError} `ERR_OPTION` naming the field
 * @example
 * ```ts
 * import { lastValueQuantizer, quantizeAnnotateLayer, quantizeApply, zoo } from 'pcqat';
 * const annotated = quantizeAnnotateLayer(zoo.lenet5(), 'conv1', { weights: lastValueQuantizer({ bits: 4, perAxis: true }) });
 * console.log(quantizeApply(annotated).chains.get('conv1/kernel')?.fakeQuant); // { bits: 4, perChannel: true }
 * ```
 */
export function lastValueQuantizer(options: QuantizerOptions = {}): LastValueQuantizer {
  return made({ kind: 'lastValue', bits: 8, perAxis: false, symmetric: true, narrowRange: true }, options);
}

/**
 * A range that follows the batches by `v ← v − (v − r) · (1 − decay)` (tfmot `MovingAverageQuantizer`): how the default scheme
 * quantizes outputs. Unlike the reference's, it also works per axis (W32). Defaults: 8 bits, per tensor, asymmetric, wide.
 *
 * @throws {@link PcqatError} `ERR_OPTION` naming the field
 * @example
 * ```ts
 * import { movingAverageQuantizer, quantizeAnnotateLayer, quantizeApply, zoo } from 'pcqat';
 * const annotated = quantizeAnnotateLayer(zoo.lenet5(), 'dense1', { output: movingAverageQuantizer({ bits: 4, decay: 0.9 }) });
 * console.log([...quantizeApply(annotated).quantizers.values()].some(({ bits }) => bits === 4)); // true
 * ```
 */
export function movingAverageQuantizer(options: MovingAverageOptions = {}): MovingAverageQuantizer {
  return made({ kind: 'movingAverage', bits: 8, perAxis: false, symmetric: false, narrowRange: false }, options);
}

/**
 * A range that covers every value ever seen in training (tfmot `AllValuesQuantizer`): how the default scheme quantizes the input.
 * Unlike the reference's, it also works per axis. Defaults: 8 bits, per tensor, asymmetric, wide.
 *
 * @throws {@link PcqatError} `ERR_OPTION` naming the field
 * @example
 * ```ts
 * import { allValuesQuantizer } from 'pcqat';
 * console.log(JSON.stringify(allValuesQuantizer({ symmetric: true })));
 * ```
 */
export function allValuesQuantizer(options: QuantizerOptions = {}): AllValuesQuantizer {
  return made({ kind: 'allValues', bits: 8, perAxis: false, symmetric: false, narrowRange: false }, options);
}

/**
 * A range that never moves (tfmot `FixedQuantizer`). It must include 0, or nudging would shift it.
 *
 * @throws {@link PcqatError} `ERR_OPTION` naming the field
 * @example
 * ```ts
 * import { fixedQuantizer } from 'pcqat';
 * console.log(fixedQuantizer({ min: 0, max: 6, bits: 4 }).bits); // 4
 * ```
 */
export function fixedQuantizer(options: FixedOptions): FixedQuantizer {
  return made({ kind: 'fixed', min: Number.NaN, max: Number.NaN, bits: 8, narrowRange: false }, options);
}

function made<Q extends Quantizer>(defaults: Q, options: object): Q {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return checkQuantizer({ ...defaults, ...Object.fromEntries(given), kind: defaults.kind }, `${defaults.kind}Quantizer`) as Q;
}

type Rule = readonly [holds: (value: unknown) => boolean, text: string];
const boolean: Rule = [(value) => typeof value === 'boolean', 'true or false'];
const finite: Rule = [(value) => Number.isFinite(Math.fround(Number(value))) && typeof value === 'number', 'a finite number'];
const bits: Rule = [(value) => Number.isInteger(value) && Number(value) >= 2 && Number(value) <= 8, 'an integer of 2 to 8'];
const decay: Rule = [(value) => typeof value === 'number' && value > 0 && value < 1, 'in (0, 1)'];

const following = { bits, perAxis: boolean, symmetric: boolean, narrowRange: boolean };
const fieldsOf: Readonly<Record<Quantizer['kind'], Readonly<Record<string, Rule>>>> = {
  lastValue: following,
  movingAverage: { ...following, decay },
  allValues: following,
  fixed: { min: finite, max: finite, bits, narrowRange: boolean },
};

/** Checks a quantizer that may come from JSON. @returns a frozen copy. @throws PcqatError `ERR_OPTION` naming the field */
export function checkQuantizer(value: unknown, where: string): Quantizer {
  const reject = (field: string, problem: string): PcqatError => new PcqatError('ERR_OPTION', problem, { where: `${where}${field}` });
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw reject('', `a quantizer is ${String(value)} but must be made by lastValueQuantizer, movingAverageQuantizer, …, or be false`);
  }
  const { kind, ...fields } = value as Readonly<Record<string, unknown>>;
  if (typeof kind !== 'string' || !Object.hasOwn(fieldsOf, kind)) {
    throw reject('.kind', `kind is ${String(kind)} but must be ${Object.keys(fieldsOf).join(', ')}`);
  }
  const rules = fieldsOf[kind as Quantizer['kind']];
  for (const name of Object.keys(fields)) {
    if (!Object.hasOwn(rules, name)) throw reject(`.${name}`, `there is no field '${name}'; ${kind} has ${Object.keys(rules).join(', ')}`);
  }
  for (const [name, [holds, text]] of Object.entries(rules)) {
    if (name === 'decay' && fields[name] === undefined) continue;
    if (!holds(fields[name])) throw reject(`.${name}`, `${name} is ${String(fields[name])} but must be ${text}`);
  }
  const checked = { ...value } as Quantizer;
  if (checked.kind === 'fixed' && !(checked.min <= 0 && checked.max >= 0 && checked.min < checked.max)) {
    throw reject('.min', `the range is ${checked.min} to ${checked.max} but must go from at most 0 to at least 0, and not be empty`);
  }
  return Object.freeze(checked);
}
