import type { ForwardOptions, Isa, OptimizerSpec, Session, StepOptions, StepResult } from '../../binding.js';
import { PcqatError } from '../errors.js';
import type { Model, OptimizerState } from '../graph/model.js';
import { loadBinding } from '../native.js';
import type { LoweredProgram } from './lower.js';
import { slotCount } from './optimizers.js';

/** Options of {@link ModelSession}. */
export interface ModelSessionOptions {
  readonly maxBatch: number;
  /** Present: the session can train. */
  readonly optimizer?: OptimizerSpec;
  readonly clipNorm?: number;
  readonly clipValue?: number;
  readonly threads?: number;
  readonly seed?: number;
  readonly gradients?: 'f32' | 'bf16';
  readonly isa?: Isa;
  /** Keeps what every node computed in the last `forward`, for `value`. */
  readonly keepValues?: boolean;
}

/**
 * The slots of one tensor in saved optimizer state.
 *
 * @throws PcqatError `ERR_OPTION` if the state is another optimizer's or another model's.
 */
export function savedSlots(
  state: OptimizerState,
  kind: OptimizerSpec['kind'] | undefined,
  name: string,
  length: number,
): readonly Float32Array[] {
  const where = 'optimizer state';
  if (kind === undefined || state.kind !== kind) {
    throw new PcqatError('ERR_OPTION', `the model was trained with ${state.kind} and cannot continue with ${String(kind)}`, { where });
  }
  const slots = state.slots.get(name) ?? [];
  if (slots.length !== slotCount(kind) || slots.some((slot) => slot.length !== length)) {
    throw new PcqatError('ERR_OPTION', `it does not fit tensor '${name}'`, { where, remedy: 'Start a new training without `start`.' });
  }
  return slots;
}

/** Throws `ERR_NON_FINITE` when a value of the tensor is NaN or infinite. */
export function requireFinite(name: string, data: ArrayLike<number>): void {
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i])) {
      throw new PcqatError('ERR_NON_FINITE', `element ${i} is ${data[i]}`, {
        where: `tensor '${name}'`,
        remedy: 'Start from a model with finite weights.',
      });
    }
  }
}

/** A native session that runs one model: copies the model's tensors in and out by name. */
export class ModelSession {
  readonly #model: Model;
  readonly #lowered: LoweredProgram;
  readonly #session: Session;
  readonly #optimizer: OptimizerSpec | undefined;
  #step = 0;

  /** @throws PcqatError `ERR_NON_FINITE` naming a tensor that holds NaN or Inf; what the native core throws. */
  constructor(model: Model, lowered: LoweredProgram, options: ModelSessionOptions) {
    this.#model = model;
    this.#lowered = lowered;
    this.#optimizer = options.optimizer;
    const native = loadBinding();
    this.#session = new native.Session(lowered.program, { ...options, training: options.optimizer !== undefined });
    try {
      for (const name of lowered.tensors.keys()) this.push(name);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Optimizer steps taken so far. */
  get step(): number {
    return this.#step;
  }

  /** Copies one tensor of the model into the session. */
  push(name: string): void {
    const tensor = this.#model.tensors.get(name);
    if (tensor === undefined) throw new PcqatError('ERR_INTERNAL', 'the model has no such tensor', { where: `tensor '${name}'` });
    if (tensor.data instanceof Float32Array) requireFinite(name, tensor.data);
    this.#session.setTensor(this.#id(name), tensor.data);
  }

  /** Copies one tensor of the session into the model's array. */
  pull(name: string): void {
    this.#model.tensors.get(name)?.data.set(this.#session.getTensor(this.#id(name)));
  }

  /** Continues from saved optimizer state. @throws PcqatError `ERR_OPTION` if it is another optimizer's or another model's. */
  restoreOptimizer(state: OptimizerState): void {
    for (const [name, id, length] of this.#trainable()) {
      savedSlots(state, this.#optimizer?.kind, name, length).forEach((slot, i) => this.#session.setSlot(id, i, slot));
    }
    this.#step = state.step;
  }

  /** Copies every tensor and the optimizer's slots into the model, so that it is as after the last finished step. */
  pullAll(): void {
    for (const name of this.#lowered.tensors.keys()) this.pull(name);
    if (this.#optimizer === undefined) return;
    const { kind } = this.#optimizer;
    const slots = new Map<string, Float32Array[]>();
    for (const [name, id] of this.#trainable()) {
      slots.set(
        name,
        Array.from({ length: slotCount(kind) }, (_, i) => this.#session.getSlot(id, i)),
      );
    }
    this.#model.optimizer = { kind, step: this.#step, slots };
  }

  /** One optimizer step. After a non-finite result or a violation the session is as before the call. */
  async train(x: Float32Array, y: Int32Array | Float32Array, options: Pick<StepOptions, 'learningRate'>): Promise<StepResult> {
    const result = await this.#session.trainStep(x, y, { ...options, step: this.#step + 1 });
    if (result.nonFinite === undefined && result.violation === undefined) this.#step++;
    return result;
  }

  forward(x: Float32Array, options: ForwardOptions = {}): Promise<Float32Array> {
    return this.#session.forward(x, options);
  }

  /** What a node computed in the last `forward`, all rows; `undefined` for a node that is part of a later one. Needs `keepValues`. */
  value(node: string): Float32Array | undefined {
    const id = this.#lowered.values.get(node);
    return id === undefined ? undefined : this.#session.getValue(id);
  }

  dispose(): void {
    this.#session.dispose();
  }

  #id(name: string): number {
    const id = this.#lowered.tensors.get(name);
    if (id === undefined) throw new PcqatError('ERR_INTERNAL', 'the program has no such tensor', { where: `tensor '${name}'` });
    return id;
  }

  *#trainable(): Generator<[name: string, id: number, length: number]> {
    for (const [id, { name, trainable }] of this.#lowered.program.tensors.entries()) {
      if (trainable) yield [name, id, this.#model.tensors.get(name)?.data.length ?? 0];
    }
  }
}
