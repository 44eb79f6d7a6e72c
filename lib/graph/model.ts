import type { ActivationQuantizer, WeightChain } from '../compress/chains.js';
import { elementCount, inferShapes, parameterShapes } from './shapes.js';
import type { Graph, Shape } from './types.js';

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

/** What a parameter is for. */
export interface ParameterInfo {
  readonly name: string;
  readonly node: string;
  readonly shape: Shape;
  /** `false` for the moving statistics of batch normalization. */
  readonly trainable: boolean;
}

/** Parameters of a graph in layer order. */
export function listParameters(graph: Graph): ParameterInfo[] {
  const shapes = inferShapes(graph);
  return graph.nodes.flatMap((node) => {
    const input = shapes.get(node.inputs[0] ?? '') ?? [];
    return Array.from(parameterShapes(node, input), ([parameter, shape]) => ({
      name: `${node.name}/${parameter}`,
      node: node.name,
      shape,
      trainable: !parameter.startsWith('moving_'),
    }));
  });
}

/**
 * Names of a model's parameters in layer order, without compression state such as masks.
 *
 * @example
 * ```ts
 * import { parameterNames, zoo } from 'pcqat';
 * console.log(parameterNames(zoo.mnistCnn())); // [ 'conv1/kernel', 'conv1/bias', 'dense/kernel', 'dense/bias' ]
 * ```
 */
export function parameterNames(model: Model): string[] {
  return listParameters(model.graph).map((parameter) => parameter.name);
}

/**
 * Number of parameter elements, as Keras' `count_params`: moving statistics included unless `trainableOnly`.
 *
 * @example
 * ```ts
 * import { countParameters, zoo } from 'pcqat';
 * console.log(countParameters(zoo.mnistCnn())); // 20410
 * ```
 */
export function countParameters(model: Model, options: { readonly trainableOnly?: boolean } = {}): number {
  return listParameters(model.graph)
    .filter((parameter) => parameter.trainable || options.trainableOnly !== true)
    .reduce((sum, parameter) => sum + elementCount(parameter.shape), 0);
}

/** A copy of a tensor that shares no memory with it. */
export function cloneTensor(tensor: Tensor): Tensor {
  return { shape: tensor.shape, data: tensor.data.slice() };
}

/**
 * A copy that shares no arrays with the source, optimizer state included.
 *
 * @example
 * ```ts
 * import { cloneModel, zoo } from 'pcqat';
 * const model = zoo.mnistCnn();
 * const copy = cloneModel(model);
 * console.log(copy.tensors.get('dense/bias')?.data === model.tensors.get('dense/bias')?.data); // false
 * ```
 */
export function cloneModel(model: Model): Model {
  const copy: Model = {
    graph: model.graph,
    tensors: new Map(Array.from(model.tensors, ([name, tensor]) => [name, cloneTensor(tensor)])),
    chains: new Map(model.chains),
    quantizers: new Map(model.quantizers),
  };
  if (model.optimizer !== undefined) {
    const { kind, step, slots } = model.optimizer;
    copy.optimizer = { kind, step, slots: new Map(Array.from(slots, ([name, arrays]) => [name, arrays.map((array) => array.slice())])) };
  }
  return copy;
}
