import type { Isa, OptimizerSpec, Session } from '../../binding.js';
import { maskDecision, updateMask } from '#lib/compress/sparsity/mask.js';
import type { Model, Tensor } from '#lib/graph/model.js';
import { loadBinding } from '#lib/native.js';
import { softmaxCrossEntropy } from '#lib/train/losses.js';
import { lower, type LoweredProgram } from '#lib/train/lower.js';
import { freezeBatchNorm } from './frozen-batch-norm.js';
import { arrayOf, load, tensorsOf, wrap, type Trace } from './traces.js';

const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };

/** What one training step of ours gave, and what the reference recorded; gradients and state by our tensor names. */
export interface StepComparison {
  readonly loss: readonly [ours: number, recorded: number];
  readonly logits: readonly [ours: Float32Array, recorded: Float32Array];
  readonly gradients: ReadonlyMap<string, readonly [ours: Float32Array, recorded: Float32Array]>;
  readonly state: ReadonlyMap<string, readonly [ours: Tensor['data'], recorded: Tensor['data']]>;
}

/** Replays a recorded trace in a Session, built by our own facade. */
export class Replay {
  readonly #trace: Trace;
  readonly #model: Model;
  readonly #lowered: LoweredProgram;
  readonly #session: Session;
  readonly #moments = new Map<string, readonly [Float32Array, Float32Array]>();

  constructor(trace: Trace, isa: Isa) {
    this.#trace = trace;
    const wrapped = wrap(trace);
    load(wrapped, trace.start);
    load(wrapped, trace.constants);
    // The reference's clustering wrapper does not tell a batch norm that it trains (docs/differences.md).
    this.#model = trace.stage.startsWith('cluster') ? freezeBatchNorm(wrapped) : wrapped;
    this.#lowered = lower(this.#model, { loss: softmaxCrossEntropy() });
    const optimizer: OptimizerSpec =
      trace.optimizer.name === 'adam' ? { kind: 'adam', ...adam } : { kind: 'sgd', momentum: 0, nesterov: false };
    const options = { maxBatch: 16, training: true, optimizer, threads: 1, isa };
    this.#session = new (loadBinding().Session)(this.#lowered.program, options);
    this.#push();
  }

  /** Takes the state after `t` recorded steps, the optimizer's moments included. */
  restore(t: number): void {
    if (t > 0) this.#load(this.#trace.steps[t - 1].after);
    this.#push();
    for (const [name, moments] of this.#moments) moments.forEach((data, slot) => this.#session.setSlot(this.#id(name), slot, data));
  }

  /** Trains recorded step `t` (from 0) on the session's present state. */
  async step(t: number): Promise<StepComparison> {
    const { x, y, loss, logits, gradients, after } = this.#trace.steps[t];
    this.#updateMasks(t + 1);
    const step = { learningRate: this.#trace.optimizer.learningRate, step: t + 1 };
    const result = await this.#session.trainStep(arrayOf(x) as Float32Array, arrayOf(y) as Int32Array, step);
    for (const [name, id] of this.#lowered.tensors) this.#model.tensors.get(name)?.data.set(this.#session.getTensor(id));
    const recorded = this.#own(gradients);
    this.#advanceMoments(recorded);
    return {
      loss: [result.loss, arrayOf(loss)[0]],
      logits: [this.#session.getValue(this.#lowered.program.output), arrayOf(logits) as Float32Array],
      gradients: new Map(
        Array.from(recorded, ([name, { data }]) => [name, [this.#session.getGradient(this.#id(name)), data as Float32Array]]),
      ),
      state: new Map(
        Array.from(this.#own(after), ([name, { data }]) => [name, [this.#model.tensors.get(name)?.data ?? data.slice(0, 0), data]]),
      ),
    };
  }

  dispose(): void {
    this.#session.dispose();
  }

  #id(name: string): number {
    const id = this.#lowered.tensors.get(name);
    if (id === undefined) throw new Error(`the program has no tensor ${name}`);
    return id;
  }

  /** Recorded tensors that the model has; a frozen batch norm has other parameters, fixed for a step. */
  #own(arrays: Trace['start']): Map<string, Tensor> {
    return new Map([...tensorsOf(this.#model, arrays)].filter(([name]) => this.#model.tensors.has(name)));
  }

  #load(arrays: Trace['start']): void {
    const recorded = tensorsOf(this.#model, arrays);
    for (const [name, { data }] of this.#own(arrays)) this.#model.tensors.get(name)?.data.set(data);
    if (this.#trace.stage.startsWith('cluster')) freezeBatchNorm.refresh(this.#model, recorded);
  }

  #push(): void {
    for (const [name, id] of this.#lowered.tensors) {
      const data = this.#model.tensors.get(name)?.data;
      if (data !== undefined) this.#session.setTensor(id, data);
    }
  }

  /** Before a step, as `fit` does. */
  #updateMasks(step: number): void {
    for (const [parameter, chain] of this.#model.chains) {
      const policy = chain.mask?.pruning;
      const weight = this.#model.tensors.get(parameter);
      if (policy === undefined || weight === undefined) continue;
      this.#model.tensors.get(`${parameter}:pruning_step`)?.data.fill(step);
      const decision = maskDecision(policy, step);
      if (!decision.shouldPrune) continue;
      const { mask, threshold } = updateMask(weight, policy, decision.sparsity);
      this.#model.tensors.get(`${parameter}:mask`)?.data.set(mask);
      this.#model.tensors.get(`${parameter}:threshold`)?.data.fill(threshold);
      this.#session.setTensor(this.#id(`${parameter}:mask`), mask);
    }
  }

  /** Adam's moments from the recorded gradients, in f32 (spec 0.4); the traces do not hold them. */
  #advanceMoments(gradients: ReadonlyMap<string, Tensor>): void {
    if (this.#trace.optimizer.name !== 'adam') return;
    const f32 = Math.fround;
    const [rate1, rate2] = [f32(1 - adam.beta1), f32(1 - adam.beta2)];
    for (const [name, { data }] of gradients) {
      const [m, v] = this.#moments.get(name) ?? [new Float32Array(data.length), new Float32Array(data.length)];
      for (let i = 0; i < data.length; i++) {
        m[i] += f32(f32(data[i] - m[i]) * rate1);
        v[i] += f32(f32(f32(data[i] * data[i]) - v[i]) * rate2);
      }
      this.#moments.set(name, [m, v]);
    }
  }
}
