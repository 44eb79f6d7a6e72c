import type { ActivationQuantizer, WeightChain } from '../compress/chains.js';
import type { Graph } from './types.js';

/** A named array of a model: a parameter (`conv1/kernel`) or compression state (`conv1/kernel:mask`). */
export interface Tensor {
  readonly shape: readonly number[];
  /** Mutable: training writes into it. */
  readonly data: Float32Array | Uint8Array | Int32Array;
}

/** Optimizer state kept with a model so that training can go on. */
export interface OptimizerState {
  /** `adam`, `adamw` or `sgd`. */
  readonly kind: string;
  /** Steps taken so far. */
  readonly step: number;
  /** Slots per trainable tensor name, e.g. `conv1/kernel` → [m, v]. */
  readonly slots: ReadonlyMap<string, readonly Float32Array[]>;
}

/**
 * A graph with its parameters, and the weight chains and activation quantizers that a compression technique put on it.
 * Graph, chains and quantizers are immutable; the arrays in `tensors` are what training changes.
 */
export interface Model {
  readonly graph: Graph;
  /** Parameters `<node>/<parameter>` and state `<node>/<parameter>:<state>`, `<node>:<state>`. */
  readonly tensors: Map<string, Tensor>;
  /** By parameter name (`conv1/kernel`). Absent = the weight is used as stored. */
  readonly chains: ReadonlyMap<string, WeightChain>;
  /** Fake quantization of the output of a node, by node name (the `input` node included). */
  readonly quantizers: ReadonlyMap<string, ActivationQuantizer>;
  /** Present after training. */
  optimizer?: OptimizerState;
}
