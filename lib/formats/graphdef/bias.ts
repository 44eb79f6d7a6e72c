import { addAffine } from '../import/affine.js';
import { Refusal, ShapeRefusal } from '../import/attempt.js';
import type { Constant } from './constants.js';
import type { GraphContext } from './context.js';
import type { NodeDef } from './parse.js';

const SUMS = new Set(['BiasAdd', 'Add', 'AddV2']);

/** The constant that a sum adds to its other input, with that input's index. */
function summand(context: GraphContext, sum: NodeDef): { readonly constant: Constant; readonly other: number } | undefined {
  if (!SUMS.has(sum.op) || sum.inputs.length !== 2) return undefined;
  const index = [1, 0].find((i) => context.isConstant(sum, i));
  return index === undefined ? undefined : { constant: context.constant(sum, index), other: 1 - index };
}

/** Is it one value per channel: `[c]`, or 1 on all other axes? */
export function isVector(constant: Constant, channels: number): boolean {
  return constant.shape.at(-1) === channels && constant.shape.slice(0, -1).every((dimension) => dimension === 1);
}

/** The bias that the only reader of a convolution or product adds, and that reader. */
export function biasAfter(
  context: GraphContext,
  node: NodeDef,
  channels: number,
): { readonly sum: NodeDef; readonly bias: () => Float32Array } | undefined {
  const sum = context.onlyReader(node.name);
  const found = sum === undefined ? undefined : summand(context, sum);
  if (sum === undefined || found === undefined || !isVector(found.constant, channels)) return undefined;
  return { sum, bias: found.constant.values };
}

/** A sum or product with a constant that belongs to no layer. */
export function affine(context: GraphContext, node: NodeDef): string {
  const index = [1, 0].find((i) => context.isConstant(node, i)) ?? 1;
  const constant = context.constant(node, index);
  const input = context.value(node, 1 - index);
  const channels = context.assembler.shapeOf(input).at(-1) ?? 1;
  const isScalar = constant.shape.every((dimension) => dimension === 1);
  if (!isScalar && !isVector(constant, channels)) {
    throw new ShapeRefusal(`its constant of [${constant.shape.join(', ')}] is not one value per channel`, 'Only those are supported.');
  }
  const { values } = constant;
  const mapped = (change: (value: number) => number) => (): Float32Array => values().map(change);
  const add = (parts: Parameters<typeof addAffine>[3]): string => addAffine(context.assembler, node.name, input, parts);
  const isSubtrahend = index === 1;
  switch (node.op) {
    case 'Sub':
      return isSubtrahend ? add({ shift: mapped((v) => -v) }) : add({ scale: () => Float32Array.of(-1), shift: values });
    case 'RealDiv':
      if (!isSubtrahend) throw new Refusal('it divides a constant', 'Only divisions by constants are supported.');
      return add({ scale: mapped((v) => 1 / v) });
    case 'Mul': {
      if (isScalar && values()[0] === 1) return input; // a dropout at inference
      const bias = biasAfter(context, node, channels);
      const layer = add({ scale: values, ...(bias === undefined ? {} : { shift: bias.bias }) });
      if (bias !== undefined) context.absorb(layer, bias.sum);
      return layer;
    }
    default:
      return add({ shift: values });
  }
}
