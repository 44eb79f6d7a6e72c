import { PcqatError } from '../errors.js';
import type { Model, OptimizerState, Tensor } from '../graph/model.js';
import { requireFinite, savedSlots } from '../train/model-session.js';
import { slotCount } from '../train/optimizers.js';
import type { LoweredProgram } from '../train/lower.js';
import type { OptimizerSpec, TensorSpec } from '../../binding.js';
import type { Tfjs, TfTensor } from './tfjs.js';

/** A model's tensors and the optimizer's slots on the backend. */
export class BackendState {
  readonly tensors = new Map<string, TfTensor>();
  /** By tensor name; only tensors that train. */
  readonly slots = new Map<string, readonly TfTensor[]>();
  /** What trains, in the program's order. */
  readonly trainable: readonly TensorSpec[];
  readonly #tf: Tfjs;
  readonly #model: Model;
  readonly #optimizer: OptimizerSpec | undefined;

  /** @throws PcqatError `ERR_NON_FINITE` naming a tensor that holds NaN or Inf. */
  constructor(tf: Tfjs, model: Model, lowered: LoweredProgram, optimizer: OptimizerSpec | undefined) {
    this.#tf = tf;
    this.#model = model;
    this.#optimizer = optimizer;
    this.trainable = lowered.program.tensors.filter(({ trainable }) => trainable);
    try {
      for (const name of lowered.tensors.keys()) this.push(name);
      if (optimizer === undefined) return;
      for (const { name } of this.trainable) {
        const zeros = (): TfTensor => tf.keep(tf.zerosLike(this.tensors.get(name) as TfTensor));
        this.slots.set(name, Array.from({ length: slotCount(optimizer.kind) }, zeros));
      }
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Copies one tensor of the model to the backend. */
  push(name: string): void {
    const { shape, data } = this.#tensor(name);
    if (data instanceof Float32Array) requireFinite(name, data);
    const dtype = data instanceof Float32Array ? 'float32' : data instanceof Uint8Array ? 'bool' : 'int32';
    // A copy: a backend may keep the array that it is given.
    this.set(name, this.#tf.keep(this.#tf.tensor(data.slice(), [...shape], dtype)));
  }

  /** Copies one tensor from the backend into the model's array. */
  pull(name: string): void {
    this.#tensor(name).data.set((this.tensors.get(name) as TfTensor).dataSync());
  }

  /** Copies everything into the model, the optimizer's state too. */
  pullAll(step: number): void {
    for (const name of this.tensors.keys()) this.pull(name);
    if (this.#optimizer === undefined) return;
    const slots = Array.from(this.slots, ([name, tensors]) => [name, tensors.map((slot) => Float32Array.from(slot.dataSync()))] as const);
    this.#model.optimizer = { kind: this.#optimizer.kind, step, slots: new Map(slots) };
  }

  /** @throws PcqatError `ERR_OPTION` if the state is another optimizer's or another model's. */
  restoreSlots(state: OptimizerState): void {
    for (const { name } of this.trainable) {
      const { shape, data } = this.#tensor(name);
      const saved = savedSlots(state, this.#optimizer?.kind, name, data.length);
      this.setSlots(
        name,
        saved.map((slot) => this.#tf.keep(this.#tf.tensor(slot.slice(), [...shape]))),
      );
    }
  }

  /** Takes over a kept tensor. */
  set(name: string, tensor: TfTensor): void {
    this.tensors.get(name)?.dispose();
    this.tensors.set(name, tensor);
  }

  /** Takes over kept tensors. */
  setSlots(name: string, slots: readonly TfTensor[]): void {
    for (const slot of this.slots.get(name) ?? []) slot.dispose();
    this.slots.set(name, slots);
  }

  dispose(): void {
    for (const tensor of [...this.tensors.values(), ...[...this.slots.values()].flat()]) tensor.dispose();
    this.tensors.clear();
    this.slots.clear();
  }

  #tensor(name: string): Tensor {
    const tensor = this.#model.tensors.get(name);
    if (tensor === undefined) throw new PcqatError('ERR_INTERNAL', 'the model has no such tensor', { where: `tensor '${name}'` });
    return tensor;
  }
}
