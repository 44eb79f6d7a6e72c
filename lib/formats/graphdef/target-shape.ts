import { elementCount } from '../../graph/shapes.js';
import type { Shape } from '../../graph/types.js';
import { ShapeRefusal } from '../import/attempt.js';
import type { GraphContext } from './context.js';
import type { NodeDef } from './parse.js';

/** An input that is a shape: constant, packed from constants and the batch, or that of another value. −1: open. */
export function shapeOperand(context: GraphContext, node: NodeDef, index: number): number[] {
  const name = context.inputName(node, index);
  const source = context.nodes.get(name);
  if (source?.op === 'Shape') return [-1, ...context.shape(source)];
  if (source?.op !== 'Pack') return context.constants.integers(name);
  return source.inputs.map((input) => (context.constants.has(input.name) ? (context.constants.integers(input.name)[0] ?? 0) : -1));
}

/**
 * Shape of one example after a Reshape. The first dimension is the batch; −1 stands for what is left.
 *
 * @throws Refusal when examples of a batch would be mixed
 */
export function targetShape(context: GraphContext, node: NodeDef, input: Shape): Shape {
  const target = shapeOperand(context, node, 1);
  const [, ...shape] = target;
  const open = shape.indexOf(-1);
  const elements = elementCount(input);
  const known = shape.reduce((product, dimension) => (dimension === -1 ? product : product * dimension), 1);
  const result = open < 0 ? shape : shape.with(open, Math.floor(elements / known));
  if (shape.length === 0 || shape.some((dimension) => dimension < -1 || dimension === 0) || elementCount(result) !== elements) {
    throw new ShapeRefusal(
      `it makes [${target.join(', ')}] out of [batch, ${input.join(', ')}]`,
      'The first dimension must stay the batch.',
    );
  }
  return result;
}
