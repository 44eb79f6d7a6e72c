import { type ImportContext, layerName } from './context.js';
import type { OnnxNode } from './types.js';
import type { Activation } from './values.js';

/** How far exporters are from 1/6. */
const CLOSE = 1e-6;

/**
 * A hard swish in pieces, as TensorFlow's exporters write it: `x · clip(x + 3, 0, 6) / 6`, the last two steps in either order.
 *
 * @param node - the addition of 3 to `x`
 * @param x - tensor
 * @returns the hard swish when the nodes behind `node` are these, which then are done
 */
export function hardSwishAt(context: ImportContext, node: OnnxNode, x: string, value: Activation): Activation | undefined {
  const follow = (from: OnnxNode | undefined): OnnxNode | undefined => context.onlyReader(from?.outputs[0] ?? '');
  const clip = follow(node);
  const [first, second] = [follow(clip), follow(follow(clip))];
  if (clip === undefined || first === undefined || second === undefined || !isReluSix(context, clip)) return undefined;
  const isInOrder = isGate(first, x) && isSixth(context, second);
  if (!isInOrder && !(isSixth(context, first) && isGate(second, x))) return undefined;
  for (const done of [clip, first, second]) context.done.add(done);
  const { nonNegative: _, ...rest } = value;
  const made = context.add({ op: 'hardSwish', name: layerName(second), inputs: [value.node] });
  return context.store(second.outputs[0] ?? '', { ...rest, node: made });
}

function numberAt(context: ImportContext, node: OnnxNode, input: number): number | undefined {
  const value = context.value(node, input);
  return value?.kind === 'constant' ? context.scalar(value) : undefined;
}

function isReluSix(context: ImportContext, node: OnnxNode): boolean {
  if (node.op !== 'Clip') return false;
  const bound = (attribute: string, input: number): number | undefined =>
    node.attributes.get(attribute)?.float ?? numberAt(context, node, input);
  return bound('min', 1) === 0 && bound('max', 2) === 6;
}

function isGate({ op, inputs }: OnnxNode, x: string): boolean {
  return op === 'Mul' && inputs.length === 2 && inputs.includes(x);
}

function isSixth(context: ImportContext, node: OnnxNode): boolean {
  if (node.op === 'Div') return numberAt(context, node, 1) === 6;
  const factor = node.op === 'Mul' ? (numberAt(context, node, 0) ?? numberAt(context, node, 1)) : undefined;
  return factor !== undefined && Math.abs(factor - 1 / 6) < CLOSE;
}
