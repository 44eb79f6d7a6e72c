import type { Affine } from '../import/affine.js';
import { refuseOrder } from './convolutions.js';
import { axisIn, floats, type ImportContext, integer, layerName, number, refuse } from './context.js';
import { lastShaped } from './dense.js';
import { elementsOf } from './tensors.js';
import type { OnnxNode } from './types.js';
import { type Activation, type Constant, lastAxis, type LastAxis } from './values.js';

export function convertBatchNorm(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  if (integer(node, 'training_mode', 0) !== 0 || node.outputs.slice(1).some((name) => context.isRead(name))) {
    refuse('it computes statistics of the batch', 'Export the model in inference (eval) mode.');
  }
  if (integer(node, 'spatial', 1) !== 1) refuse('it normalizes every pixel on its own (spatial = 0)', 'Normalize channels.');
  const last = lastAxis(value, axisIn(1, value.axes.length)) ?? refuseOrder();
  const input = lastShaped(context, value, last);
  const [gamma, beta, mean, variance] = [1, 2, 3, 4].map((i) => {
    const constant = context.requiredConstant(node, i, 'parameters');
    if (elementsOf(constant.dims) !== last.size)
      refuse(`it has ${elementsOf(constant.dims)} parameters for ${last.size} channels`, 'The file is damaged.');
    return perChannel(constant, last);
  });
  const made = context.add(
    {
      op: 'batchNorm',
      name: layerName(node),
      inputs: [input],
      momentum: Math.min(Math.max(number(node, 'momentum', 0.9), 0), 0.9999),
      epsilon: number(node, 'epsilon', 1e-5),
    },
    { gamma: gamma ?? none, beta: beta ?? none, moving_mean: mean ?? none, moving_variance: variance ?? none },
  );
  return { ...unbounded(value), node: made };
}

const none = (): Float32Array => new Float32Array();

function unbounded({ nonNegative: _, ...value }: Activation): Activation {
  return value;
}

/** A constant with one value, or one per entry of the axis, in the order of ours. */
export function perChannel(constant: Constant, { size, entries }: LastAxis): () => Float32Array {
  return () => {
    const values = floats(constant);
    if (values.length === 1) return new Float32Array(size).fill(values[0] ?? 0);
    return entries === undefined ? values : Float32Array.from(entries(), (entry) => values[entry] ?? 0);
  };
}

/** `x · scale + shift` for constants that have one value per channel, or one for all. Undefined when they have others. */
export function applyConstant(
  context: ImportContext,
  name: string,
  value: Activation,
  constant: Constant,
  parameters: (values: () => Float32Array) => Affine,
): Activation | undefined {
  const target = constantTarget(context, value, constant);
  if (target === undefined) return undefined;
  return { ...unbounded(value), node: context.affine(name, target.node, parameters(perChannel(constant, target.last))) };
}

/** Gives a constant to the layer before it as its bias, where that expects one and has a value per channel. */
export function giveBias(context: ImportContext, node: OnnxNode, value: Activation, constant: Constant): Activation | undefined {
  const expected = context.expectedBiases.get(value.node);
  if (expected?.reader !== node) return undefined;
  const target = constantTarget(context, value, constant);
  if (target?.node !== value.node) return undefined;
  expected.values = perChannel(constant, target.last);
  return unbounded(value);
}

interface Target {
  readonly node: string;
  readonly last: LastAxis;
}

/** The node whose last axis is the only one along which the constant varies; for a single number, the node as it is. */
function constantTarget(context: ImportContext, value: Activation, constant: Constant): Target | undefined {
  const { axes } = value;
  if (elementsOf(constant.dims) === 1) return { node: value.node, last: { front: [], size: context.channels(value.node) } };
  if (constant.dims.length > axes.length) return undefined;
  const offset = axes.length - constant.dims.length;
  const varying = constant.dims.flatMap((size, i) => (size === 1 ? [] : [i + offset]));
  const [axis] = varying;
  if (varying.length > 1 || axis === undefined) return undefined;
  const last = lastAxis(value, axis);
  if (last === undefined || last.size !== constant.dims[axis - offset]) return undefined;
  return { node: lastShaped(context, value, last), last };
}
