import { biasOf } from './bias.js';
import { refuseOrder } from './convolutions.js';
import { floats, type ImportContext, integer, layerName, number, refuse } from './context.js';
import { permuted } from './tensors.js';
import type { OnnxNode } from './types.js';
import { type Activation, type Constant, type FileAxis, type LastAxis, lastAxis, type Dim } from './values.js';
import { recordScales } from './weights.js';

/** `[in, units]` weights; rows in the order of our elements. */
interface DenseWeights {
  readonly constant: Constant;
  readonly isTransposed: boolean;
  readonly factor: number;
  readonly inputs: number;
  readonly units: number;
}

export function convertGemm(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  if (value.axes.length !== 2 || value.axes[0] !== 'batch' || integer(node, 'transA', 0) !== 0) {
    refuse('its input is not [batch, features]', 'Flatten the input before it.');
  }
  const isTransposed = integer(node, 'transB', 0) !== 0;
  const constant = context.requiredConstant(node, 1, 'weights');
  const [first = 0, second = 0] = constant.dims;
  if (constant.dims.length !== 2) refuse(`its weights have the shape [${constant.dims.join(', ')}]`, 'Use two dimensions.');
  const [inputs, units] = isTransposed ? [second, first] : [first, second];
  const weights = { constant, isTransposed, factor: number(node, 'alpha', 1), inputs, units };
  return connect(context, node, value, weights, 2, number(node, 'beta', 1));
}

export function convertMatMul(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const constant = context.requiredConstant(node, 1, 'second factor');
  const [inputs = 0, units = 0] = constant.dims;
  if (constant.dims.length !== 2) {
    refuse(`its second factor has the shape [${constant.dims.join(', ')}]`, 'Use two dimensions: a dense layer.');
  }
  if (value.axes[0] !== 'batch') refuse('the batch is not the first dimension', 'Do not move the batch.');
  // MatMul has no bias of its own.
  return connect(context, node, value, { constant, isTransposed: false, factor: 1, inputs, units }, Infinity, 1);
}

function connect(
  context: ImportContext,
  node: OnnxNode,
  value: Activation,
  weights: DenseWeights,
  biasInput: number,
  beta: number,
): Activation {
  const axis = value.axes.length - 1;
  const last = lastAxis(value, axis) ?? refuseOrder();
  const { inputs, units } = weights;
  if (last.size !== inputs) refuse(`its weights take ${inputs} values, but ${last.size} come`, 'The file is damaged.');
  const input = axis === 1 ? context.shaped(value.node, [inputs]) : lastShaped(context, value, last);
  const name = layerName(node);
  const { bias, expected } = biasOf(context, node, biasInput, units, beta);
  const parameters = { kernel: denseKernel(weights, last), ...(bias === undefined ? {} : { bias }) };
  const base = { name, inputs: [input], useBias: bias !== undefined };
  const rank = context.assembler.shapeOf(input).length;
  const window = { strides: 1, padding: 'valid', dilation: 1, kernelSize: 1, filters: units } as const;
  const pair = [1, 1] as const;
  const made =
    rank === 1
      ? context.add({ op: 'dense', units, ...base }, parameters)
      : rank === 2
        ? context.add({ op: 'conv1d', ...base, ...window }, parameters)
        : context.add({ op: 'conv2d', ...base, ...window, strides: pair, dilation: pair, kernelSize: pair }, parameters);
  recordScales(context, made, weights.constant, weights.isTransposed ? 0 : 1);
  return context.layerOutput(withLast(value, made, last, units), expected);
}

/** The node of a value whose last axis is the one asked for; the others are merged where ours are at most three. */
export function lastShaped(context: ImportContext, value: Activation, { front, size }: LastAxis): string {
  const shape = context.assembler.shapeOf(value.node);
  if (shape.at(-1) === size) return value.node;
  const sizes = front.map((axis) => (value.axes[axis] as readonly Dim[]).reduce((product, dim) => product * dim.size, 1));
  const rest = sizes.filter((dimension) => dimension > 1);
  return context.shaped(value.node, rest.length > 2 ? refuseOrder() : [...rest, size]);
}

/** The value after a layer that changed the size of its last axis. */
function withLast(value: Activation, node: string, { front }: LastAxis, units: number): Activation {
  const axis = value.axes.length - 1;
  const dim: Dim = { size: units };
  const others = new Set(front.flatMap((other) => value.axes[other] as readonly Dim[]));
  const dims = value.dims.filter((candidate) => others.has(candidate));
  const axes = value.axes.map((old, i): FileAxis => (i === axis ? (units > 1 ? [dim] : []) : old));
  return { kind: 'activation', node, dims: units > 1 ? [...dims, dim] : dims, axes };
}

function denseKernel({ constant, isTransposed, factor, inputs, units }: DenseWeights, { entries }: LastAxis): () => Float32Array {
  return () => {
    const stored = floats(constant);
    const rows = isTransposed ? permuted(stored, [units, inputs], [1, 0]) : stored;
    const scaled = factor === 1 ? rows : rows.map((weight) => weight * factor);
    if (entries === undefined || scaled.length !== inputs * units) return scaled;
    const result = new Float32Array(scaled.length);
    entries().forEach((entry, i) => result.set(scaled.subarray(entry * units, (entry + 1) * units), i * units));
    return result;
  };
}
