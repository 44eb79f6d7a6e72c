import { sameShape } from '../../graph/shapes.js';
import { axisIn, floats, type ImportContext, integer, layerName, number, refuse } from './context.js';
import { refuseOrder } from './convolutions.js';
import { lastShaped } from './dense.js';
import { hardSwishAt } from './hard-swish.js';
import { applyConstant, giveBias } from './normalization.js';
import { elementsOf } from './tensors.js';
import type { OnnxNode } from './types.js';
import { type Activation, axisSize, type Constant, type FileAxis, lastAxis, ownOrder } from './values.js';

const ACTIVATIONS = { Relu: 'relu', Sigmoid: 'sigmoid', Tanh: 'tanh', HardSwish: 'hardSwish' } as const;
const NON_NEGATIVE: ReadonlySet<string> = new Set(['Relu', 'Sigmoid']);

export function convertActivation(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node);
  const op = ACTIVATIONS[node.op as keyof typeof ACTIVATIONS];
  return unary(context, node, value, op, NON_NEGATIVE.has(node.op));
}

function unary(
  context: ImportContext,
  node: OnnxNode,
  { nonNegative: _, ...value }: Activation,
  op: 'relu' | 'relu6' | 'sigmoid' | 'tanh' | 'hardSwish',
  isNonNegative: boolean,
): Activation {
  const made = context.add({ op, name: layerName(node), inputs: [value.node] });
  return { ...value, node: made, ...(isNonNegative ? { nonNegative: true } : {}) };
}

export function convertLeakyRelu(context: ImportContext, node: OnnxNode): Activation {
  let alpha = number(node, 'alpha', 0.01);
  if (node.op === 'PRelu') {
    const slope = context.requiredConstant(node, 1, 'slopes');
    const values = elementsOf(slope.dims) <= 65536 ? slope.values() : [];
    alpha = values[0] ?? refuse('its slopes are too many', 'Use one slope.');
    if (Array.from(values).some((other) => other !== alpha)) refuse('it has a slope per channel', 'Use one slope (LeakyRelu).');
  }
  if (alpha < 0) refuse(`its slope is ${alpha}`, 'Use a slope of at least 0.');
  const { nonNegative: _, ...value } = context.activation(node);
  return { ...value, node: context.add({ op: 'leakyRelu', name: layerName(node), inputs: [value.node], alpha }) };
}

/** Beyond any activation: what exporters write where there is no bound. */
const UNBOUNDED = 1e30;

/** Clip, and Max or Min with one number: as far as they are a ReLU or ReLU6. */
export function convertClip(context: ImportContext, node: OnnxNode): Activation {
  const value = context.activation(node, node.op === 'Clip' ? 0 : activationIndex(context, node));
  const bound = (attribute: string, input: number): number | undefined =>
    node.attributes.get(attribute)?.float ?? context.scalar(context.optionalConstant(node, input, attribute));
  const other = node.op === 'Clip' ? undefined : numberBeside(context, node);
  const low = (node.op === 'Clip' ? bound('min', 1) : node.op === 'Max' ? other : undefined) ?? -Infinity;
  const high = (node.op === 'Clip' ? bound('max', 2) : node.op === 'Min' ? other : undefined) ?? Infinity;
  const startsAtZero = low === 0 || (value.nonNegative === true && low <= 0);
  if (high >= UNBOUNDED && low <= -UNBOUNDED) return value;
  if (startsAtZero && high >= UNBOUNDED) return value.nonNegative === true ? value : unary(context, node, value, 'relu', true);
  if (startsAtZero && high === 6) return unary(context, node, value, 'relu6', true);
  return refuse(`it bounds to [${low}, ${high}]`, 'Bound to [0, 6] (ReLU6) or [0, ∞) (ReLU).');
}

function activationIndex(context: ImportContext, node: OnnxNode): number {
  return context.value(node, 0)?.kind === 'constant' ? 1 : 0;
}

function numberBeside(context: ImportContext, node: OnnxNode): number {
  if (node.inputs.length !== 2) refuse(`it has ${node.inputs.length} inputs`, 'Use two.');
  const constant = context.value(node, 1 - activationIndex(context, node));
  const found = constant?.kind === 'constant' ? context.scalar(constant) : undefined;
  return found ?? refuse('it compares two values', 'Compare with one number (ReLU, ReLU6).');
}

/** `max(0, min(1, alpha · x + beta))`: ReLU6 between scalings, or, multiplied by x, a hard swish. */
export function convertHardSigmoid(context: ImportContext, node: OnnxNode): Activation {
  const { nonNegative: _, ...value } = context.activation(node);
  const [alpha, beta] = [number(node, 'alpha', 0.2), number(node, 'beta', 0.5)];
  const name = layerName(node);
  const reader = context.onlyReader(node.outputs[0] ?? '');
  const isHardSwish = Math.abs(alpha - 1 / 6) < 1e-6 && beta === 0.5;
  if (isHardSwish && reader?.op === 'Mul' && reader.inputs.includes(node.inputs[0] ?? '') && reader.inputs.length === 2) {
    context.done.add(reader);
    return context.store(reader.outputs[0] ?? '', {
      ...value,
      node: context.add({ op: 'hardSwish', name: layerName(reader), inputs: [value.node] }),
    });
  }
  const constant = (number: number) => (): Float32Array => Float32Array.of(number);
  const scaled = context.affine(`${name}_in`, value.node, { scale: constant(6 * alpha), shift: constant(6 * beta) });
  const bounded = context.add({ op: 'relu6', name, inputs: [scaled] });
  return { ...value, node: context.affine(`${name}_out`, bounded, { scale: constant(1 / 6) }), nonNegative: true };
}

export function convertSoftmax(context: ImportContext, node: OnnxNode): Activation {
  const { nonNegative: _, ...value } = context.activation(node);
  const rank = value.axes.length;
  const axis = axisIn(integer(node, 'axis', context.opset >= 13 ? -1 : 1), rank);
  const name = layerName(node);
  const behind = value.axes.slice(axis + 1).some((other) => axisSize(other) > 1);
  if (context.opset < 13 && behind) {
    // Before opset 13 everything from the axis on is one list.
    if (value.axes.slice(0, axis).some((other) => axisSize(other) > 1) || value.axes.indexOf('batch') >= axis) refuseOrder();
    const flat = context.shaped(value.node, [context.elements(value.node)]);
    return { ...value, node: context.add({ op: 'softmax', name, inputs: [flat] }), nonNegative: true };
  }
  const last = lastAxis(value, axis) ?? refuse('it works along another axis than the channels', 'Use the channel axis.');
  const made = context.add({ op: 'softmax', name, inputs: [lastShaped(context, value, last)] });
  return { ...value, node: made, nonNegative: true };
}

/** Add, Sub, Mul and Div: of two values, or of a value and a constant per channel. */
export function convertArithmetic(context: ImportContext, node: OnnxNode): Activation {
  const [first, second] = [context.value(node, 0), context.value(node, 1)];
  if (first?.kind === 'activation' && second?.kind === 'activation') return combine(context, node, first, second);
  const isSwapped = first?.kind === 'constant';
  const constant = isSwapped ? first : second;
  const value = isSwapped ? second : first;
  if (constant?.kind !== 'constant' || value?.kind !== 'activation')
    return refuse('its inputs are constants', 'Fold constants before the export.');
  return withConstant(context, node, value, constant, isSwapped);
}

function withConstant(context: ImportContext, node: OnnxNode, value: Activation, constant: Constant, isSwapped: boolean): Activation {
  const single = elementsOf(constant.dims) === 1 ? floats(constant)[0] : undefined;
  const biased = node.op === 'Add' ? giveBias(context, node, value, constant) : undefined;
  if (biased !== undefined) return biased;
  if (node.op === 'Add' && single === 3) {
    const swish = hardSwishAt(context, node, node.inputs[isSwapped ? 1 : 0] ?? '', value);
    if (swish !== undefined) return swish;
  }
  const isFactor = node.op === 'Mul' || node.op === 'Div';
  if (single === (isFactor ? 1 : 0) && !isSwapped && constant.dims.length <= value.axes.length) return value;
  if (node.op === 'Div' && isSwapped) refuse('it divides by an activation', 'Divide by constants only.');
  const change = (values: () => Float32Array, by: (x: number) => number) => (): Float32Array => values().map(by);
  const result = applyConstant(context, layerName(node), value, constant, (values) => {
    switch (node.op) {
      case 'Mul':
        return { scale: values };
      case 'Div':
        return { scale: change(values, (x) => 1 / x) };
      case 'Sub':
        return isSwapped ? { scale: change(values, () => -1), shift: values } : { shift: change(values, (x) => -x) };
      default:
        return { shift: values };
    }
  });
  return result ?? refuse(`its constant [${constant.dims.join(', ')}] is not one value per channel`, 'Use one value, or one per channel.');
}

export function convertSum(context: ImportContext, node: OnnxNode): Activation {
  const [first, ...others] = node.inputs.map((_, i) => context.activation(node, i));
  if (first === undefined) return refuse('it has no inputs', 'The file is damaged.');
  return others.reduce((sum, value) => combine(context, node, sum, value), first);
}

function combine(context: ImportContext, node: OnnxNode, first: Activation, second: Activation): Activation {
  const op =
    node.op === 'Add' || node.op === 'Sum'
      ? 'add'
      : node.op === 'Mul'
        ? 'multiply'
        : refuse('it combines two activations', 'Use Add or Mul.');
  const name = layerName(node);
  const sign = first.nonNegative === true && second.nonNegative === true ? { nonNegative: true } : {};
  const { nonNegative: _, ...base } = first;
  if (isAligned(context, first, second)) {
    return { ...base, node: context.add({ op, name, inputs: [first.node, second.node] }), ...sign };
  }
  const [large, small] = context.elements(first.node) >= context.elements(second.node) ? [first, second] : [second, first];
  const { nonNegative: __, ...result } = large;
  if (large.axes.length === small.axes.length) {
    const order = ownOrder(large);
    const [node, other] = [context.inOrder(large, order), context.inOrder(small, order)];
    if (node !== undefined && other !== undefined && sameShape(context.assembler.shapeOf(node), context.assembler.shapeOf(other))) {
      return { ...result, node: context.add({ op, name, inputs: [node, other] }), ...sign };
    }
    const gated = op === 'multiply' ? gate(context, name, large, small) : undefined;
    if (gated !== undefined) return { ...result, node: gated, ...sign };
  }
  return refuse('its inputs have different shapes, or their axes in different orders', 'Use equal shapes, or one factor per channel.');
}

/** Have both values their elements in one order, in nodes of one shape? */
function isAligned(context: ImportContext, first: Activation, second: Activation): boolean {
  if (!sameShape(context.assembler.shapeOf(first.node), context.assembler.shapeOf(second.node))) return false;
  const layout = ({ dims, axes }: Activation): string =>
    axes.map((axis: FileAxis) => (axis === 'batch' ? 'b' : axis.map((dim) => `${dims.indexOf(dim)}x${dim.size}`).join())).join(';');
  return layout(first) === layout(second);
}

/** A value times one factor per channel. */
function gate(context: ImportContext, name: string, large: Activation, small: Activation): string | undefined {
  const axis = small.axes.findIndex((candidate) => axisSize(candidate) > 1);
  if (axis < 0 || small.axes.some((other, i) => i !== axis && axisSize(other) > 1)) return undefined;
  const last = lastAxis(large, axis);
  if (last === undefined || last.entries !== undefined || last.size !== axisSize(small.axes[axis] ?? [])) return undefined;
  const image = lastShaped(context, large, last);
  const shape = context.assembler.shapeOf(small.node);
  const factor =
    shape.length === 1 || shape.length === context.assembler.shapeOf(image).length ? small.node : context.shaped(small.node, [last.size]);
  const isLast = context.assembler.shapeOf(factor).at(-1) === last.size;
  return context.add({ op: 'multiply', name, inputs: [image, isLast ? factor : context.shaped(factor, [last.size])] });
}
