import { PcqatError } from '../errors.js';
import { cloneTensor, type Model, type Tensor } from '../graph/model.js';
import type { ActivationQuantizer, WeightChain } from './chains.js';

/** Names of the state that compression keeps beside a weight: `<weight>:<state>` (see `WeightChain`). */
export const weightStates = ['mask', 'threshold', 'pruning_step', 'centroids', 'indices', 'zero_index', 'min', 'max'] as const;

export type WeightState = (typeof weightStates)[number];

/**
 * What a stripped clustered weight remembers of its codebook: `<weight>:clustered_as`, `i32` `[2]` =
 * [number of clusters, 1 if it was clustered per channel]. Saved with the model like every tensor.
 */
export const clusteredAs = 'clustered_as';

/** A weight as the functions of this folder see it. */
export interface WeightView {
  readonly parameter: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
  /** Length of the last axis. */
  readonly channels: number;
}

/** The f32 weight `parameter` of `model`; throws `ERR_UNKNOWN_LAYER` if there is none, `ERR_DTYPE` if it is not f32. */
export function weightOf(model: Model, parameter: string): WeightView {
  const tensor = model.tensors.get(parameter);
  if (tensor === undefined) {
    throw new PcqatError('ERR_UNKNOWN_LAYER', `the model has no parameter '${parameter}'`, {
      remedy: `It has ${[...model.tensors.keys()].filter((name) => !name.includes(':')).join(', ')}.`,
    });
  }
  const data = tensor.data;
  if (!(data instanceof Float32Array)) throw new PcqatError('ERR_DTYPE', 'a weight must be f32', { where: `parameter '${parameter}'` });
  return { parameter, shape: tensor.shape, data, channels: tensor.shape.at(-1) ?? 1 };
}

/** State `state` of a weight, with the array type that the caller expects. */
export function stateOf<T extends Tensor['data']>(
  model: Model,
  parameter: string,
  state: string,
  type: abstract new (...args: never[]) => T,
): T {
  const data = model.tensors.get(`${parameter}:${state}`)?.data;
  if (!(data instanceof type)) {
    throw new PcqatError('ERR_INVARIANT', `the model lacks the state '${parameter}:${state}' that its weight chain needs`, {
      where: `parameter '${parameter}'`,
      remedy: 'Build the chain with pruneLowMagnitude, clusterWeights or quantizeApply, or load the model with loadModel.',
    });
  }
  return data;
}

/** Throws `ERR_NON_FINITE` when a weight holds NaN or Inf. */
export function requireFinite(weight: WeightView): void {
  const at = weight.data.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) {
    throw new PcqatError('ERR_NON_FINITE', `weight ${at} is ${weight.data[at]}`, {
      where: `parameter '${weight.parameter}'`,
      remedy: 'Train or load the model again; compression needs finite weights.',
    });
  }
}

/** A model under construction: shares nothing mutable with its source. */
export interface ModelDraft {
  readonly graph: Model['graph'];
  readonly tensors: Map<string, Tensor>;
  readonly chains: Map<string, WeightChain>;
  readonly quantizers: Map<string, ActivationQuantizer>;
}

/** Throws `ERR_OPTION` that says what was given instead, when `value` is no model: a layer, a list, a class, … */
export function requireModel(value: unknown): asserts value is Model {
  const { graph, tensors, chains, quantizers } = (value ?? {}) as Partial<Model>;
  if ([tensors, chains, quantizers].every((map) => map instanceof Map) && Array.isArray(graph?.nodes)) return;
  const given =
    value === null || value === undefined ? String(value) : `a ${Object.getPrototypeOf(value)?.constructor?.name ?? typeof value}`;
  throw new PcqatError('ERR_OPTION', `a Model is needed, not ${given}`, {
    where: 'model',
    remedy: 'Make one with createModel, loadModel or the zoo; choose layers with `layers`.',
  });
}

/**
 * Copies a model, arrays included, without its optimizer state (its slots fit the old chains only).
 *
 * @throws PcqatError `ERR_OPTION` when `model` is none
 */
export function draftOf(model: Model): ModelDraft {
  requireModel(model);
  const tensors = new Map<string, Tensor>();
  for (const [name, tensor] of model.tensors) tensors.set(name, cloneTensor(tensor));
  return { graph: model.graph, tensors, chains: new Map(model.chains), quantizers: new Map(model.quantizers) };
}

/** Removes the given states of a weight. */
export function dropStates(draft: ModelDraft, parameter: string, states: readonly WeightState[]): void {
  for (const state of states) draft.tensors.delete(`${parameter}:${state}`);
}

/** Removes the memory of a codebook from a weight that is about to train without one. */
export function forgetClusters(draft: ModelDraft, parameter: string): void {
  draft.tensors.delete(`${parameter}:${clusteredAs}`);
}
