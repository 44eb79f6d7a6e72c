import type { ActivationQuantizer, ChainFakeQuant, RangeUpdate } from '../compress/chains.js';
import type { Run } from './run.js';
import { passWhere, type Tfjs, type TfTensor } from './tfjs.js';

/** Denormal ranges count as 0/0, as in TensorFlow, which flushes them. */
const SMALLEST_NORMAL = 2 ** -126;

export interface Range {
  readonly min: TfTensor;
  readonly max: TfTensor;
}

/** How a range follows the values that it quantizes. */
interface RangeRule {
  readonly update: RangeUpdate;
  readonly bits: number;
  readonly symmetric: boolean;
  readonly narrowRange: boolean;
  readonly decay: number;
}

/** A range so shifted that 0 has a code of its own. `[1]`, or `[channels]`. */
interface NudgedRange extends Range {
  readonly scale: TfTensor;
  readonly inverse: TfTensor;
  readonly zeroCode: TfTensor;
  /** The range is 0/0: the values become 0 and gradients pass. */
  readonly isZero: TfTensor;
}

/** Each operation rounds to f32 once, in the order of spec 3.5, so that codes are those of the reference. */
function nudge(tf: Tfjs, range: Range, bits: number, narrowRange: boolean): NudgedRange {
  const [lowest, highest] = [narrowRange ? 1 : 0, 2 ** bits - 1];
  const tiny = (bound: TfTensor): TfTensor => tf.less(tf.abs(bound), SMALLEST_NORMAL);
  const isZero = tf.logicalAnd(tiny(range.min), tiny(range.max));
  // Anything but a division by zero; the result is not used.
  const width = tf.where(isZero, tf.scalar(1), tf.sub(range.max, range.min));
  const scale = tf.div(width, highest - lowest);
  const inverse = tf.div(tf.scalar(highest - lowest), width);
  const exact = tf.clipByValue(tf.sub(tf.scalar(lowest), tf.div(range.min, scale)), lowest, highest);
  // Halves away from zero; `floor(x + 0.5)` would round x + 0.5 first.
  const below = tf.floor(exact);
  const zero = tf.add(below, tf.cast(tf.greaterEqual(tf.sub(exact, below), 0.5), 'float32'));
  const min = tf.mul(tf.sub(tf.scalar(lowest), zero), scale);
  const max = tf.mul(tf.sub(tf.scalar(highest), zero), scale);
  return { min, max, scale, inverse, zeroCode: tf.floor(tf.add(tf.mul(tf.neg(min), inverse), 0.5)), isZero };
}

/** The range after the values with extremes `low` and `high`, 0 included (spec 3.4). */
function movedRange(tf: Tfjs, rule: RangeRule, old: Range, low: TfTensor, high: TfTensor): Range {
  let [min, max] = [tf.minimum(low, 0), tf.maximum(high, 0)];
  if (rule.symmetric) {
    const levels = 2 ** rule.bits;
    const ratio = rule.narrowRange ? -1 : -(levels - 2) / levels;
    const first = tf.minimum(min, tf.div(max, ratio));
    max = tf.maximum(max, tf.mul(rule.update === 'runningMinMax' ? first : min, ratio));
    min = first;
  }
  min = tf.add(min, 0); // no −0
  switch (rule.update) {
    case 'none':
      return old;
    case 'lastValue':
      return { min, max };
    case 'movingAverage': {
      const rate = Math.fround(1 - rule.decay);
      const towards = (from: TfTensor, to: TfTensor): TfTensor => tf.sub(from, tf.mul(tf.sub(from, to), rate));
      return { min: towards(old.min, min), max: towards(old.max, max) };
    }
    case 'runningMinMax':
      return { min: tf.minimum(old.min, min), max: tf.maximum(old.max, max) };
  }
}

/** Smallest and largest value, `[1]`, or per last axis, `[channels]`. */
function extremes(tf: Tfjs, x: TfTensor, perChannel: boolean): [low: TfTensor, high: TfTensor] {
  const rows = perChannel ? tf.reshape(x, [-1, x.shape.at(-1) ?? 1]) : tf.reshape(x, [-1, 1]);
  return [tf.min(rows, 0), tf.max(rows, 0)];
}

/** What fake quantization makes of values: itself, and where gradients pass. */
interface Quantized {
  readonly value: TfTensor;
  readonly passes: TfTensor;
}

/** The per-tensor operator divides by the scale, the per-channel one multiplies by its inverse; they differ in rounding. */
function quantized(tf: Tfjs, x: TfTensor, nudged: NudgedRange, perChannel: boolean): Quantized {
  const { min, max, scale, inverse, zeroCode, isZero } = nudged;
  const shifted = tf.sub(tf.minimum(tf.maximum(x, min), max), min);
  const steps = perChannel ? tf.mul(shifted, inverse) : tf.div(shifted, scale);
  const value = tf.mul(tf.floor(tf.add(tf.sub(steps, zeroCode), 0.5)), scale);
  const inside = tf.logicalAnd(tf.greaterEqual(x, min), tf.lessEqual(x, max));
  return { value: tf.where(isZero, tf.zerosLike(value), value), passes: tf.logicalOr(inside, isZero) };
}

/** Fake quantization of a weight; moves its range as the rule says. */
export function quantizeWeight(run: Run, weight: string, x: TfTensor, fakeQuant: ChainFakeQuant): Quantized {
  const { bits, perChannel, symmetric = true, narrowRange = true, update = 'lastValue', decay = 0.999 } = fakeQuant;
  const range = { min: run.read(`${weight}:min`), max: run.read(`${weight}:max`) };
  const rule = { update, bits, symmetric, narrowRange, decay };
  // A last-value range follows from the weight, so inference writes it too.
  const moves = update === 'lastValue' || (run.training && update !== 'none');
  const moved = moves ? moveRange(run, weight, rule, range, x, perChannel) : range;
  return quantized(run.tf, x, nudge(run.tf, moved, bits, narrowRange), perChannel);
}

function moveRange(run: Run, name: string, rule: RangeRule, old: Range, x: TfTensor, perChannel: boolean): Range {
  const moved = movedRange(run.tf, rule, old, ...extremes(run.tf, x, perChannel));
  run.write(`${name}:min`, moved.min);
  run.write(`${name}:max`, moved.max);
  return moved;
}

/** Fake quantization of the output of a node. */
export function quantizeActivation(run: Run, node: string, x: TfTensor, quantizer: ActivationQuantizer): TfTensor {
  const { tf } = run;
  const { bits, symmetric = false, narrowRange = false, update, decay } = quantizer;
  const rule = { update, bits, symmetric, narrowRange, decay };
  let range: Range = { min: run.read(`${node}:min`), max: run.read(`${node}:max`) };
  if (run.mode === 'observe') {
    if (update === 'none') return x;
    if (run.resetRanges) range = { min: tf.zerosLike(range.min), max: tf.zerosLike(range.max) };
    moveRange(run, node, { ...rule, update: 'runningMinMax' }, range, x, false);
    return x;
  }
  if (run.training && update !== 'none') range = moveRange(run, node, rule, range, x, false);
  const { value, passes } = quantized(tf, x, nudge(tf, range, bits, narrowRange), false);
  return passWhere(tf, x, value, passes);
}
