import type { OptimizerSpec } from '../../binding.js';
import type { Tfjs, TfTensor } from './tfjs.js';

/** One tensor that an optimizer moves. */
export interface Update {
  readonly weight: TfTensor;
  readonly gradient: TfTensor;
  /** Adam: m, v. SGD: velocity. */
  readonly slots: readonly TfTensor[];
  /** Subject to weight decay. */
  readonly decays: boolean;
  /** 1 where weights decay; absent: everywhere. */
  readonly mask?: TfTensor | undefined;
  /** No element ends up below. */
  readonly minimum?: number | undefined;
}

/** The tensor and its slots after one step. */
export interface Updated {
  readonly weight: TfTensor;
  readonly slots: readonly TfTensor[];
}

type Adam = Extract<OptimizerSpec, { kind: 'adam' | 'adamw' }>;
type Sgd = Extract<OptimizerSpec, { kind: 'sgd' }>;

const f = Math.fround;

/** What decay takes of a weight: `rate · w`, not of masked ones. */
function decayOf(tf: Tfjs, { weight, mask }: Update, rate: number): TfTensor {
  const decayed = tf.mul(weight, f(rate));
  return mask === undefined ? decayed : tf.where(mask, decayed, tf.zerosLike(decayed));
}

function adam(tf: Tfjs, spec: Adam, learningRate: number, step: number, update: Update): Updated {
  const { gradient, slots } = update;
  const [m, v] = slots as [TfTensor, TfTensor];
  // Powers in f32, 1 − β in double, then rounded: as Keras does it.
  const root = Math.sqrt(f(1 - f(f(spec.beta2) ** step)));
  const alpha = f(f(f(learningRate) * f(root)) / f(1 - f(f(spec.beta1) ** step)));
  const follow = (slot: TfTensor, value: TfTensor, beta: number): TfTensor => tf.add(slot, tf.mul(tf.sub(value, slot), f(1 - beta)));
  const [mNew, vNew] = [follow(m, gradient, spec.beta1), follow(v, tf.square(gradient), spec.beta2)];
  const rate = spec.kind === 'adamw' && update.decays ? f(learningRate) * f(spec.weightDecay ?? 0) : 0;
  const weight = rate === 0 ? update.weight : tf.sub(update.weight, decayOf(tf, update, rate));
  const change = tf.div(tf.mul(mNew, alpha), tf.add(tf.sqrt(vNew), f(spec.epsilon)));
  return { weight: tf.sub(weight, change), slots: [mNew, vNew] };
}

function sgd(tf: Tfjs, spec: Sgd, learningRate: number, update: Update): Updated {
  const rate = update.decays ? (spec.weightDecay ?? 0) : 0;
  const gradient = rate === 0 ? update.gradient : tf.add(update.gradient, decayOf(tf, update, rate));
  const [velocity] = update.slots as [TfTensor];
  const change = tf.mul(gradient, f(learningRate));
  const moved = tf.sub(tf.mul(velocity, f(spec.momentum)), change);
  return { weight: tf.add(update.weight, spec.nesterov ? tf.sub(tf.mul(moved, f(spec.momentum)), change) : moved), slots: [moved] };
}

/** One step of Keras' Adam, AdamW or SGD. `step` counts from 1. */
export function updated(tf: Tfjs, spec: OptimizerSpec, learningRate: number, step: number, update: Update): Updated {
  const result = spec.kind === 'sgd' ? sgd(tf, spec, learningRate, update) : adam(tf, spec, learningRate, step, update);
  return update.minimum === undefined ? result : { ...result, weight: tf.maximum(result.weight, f(update.minimum)) };
}
