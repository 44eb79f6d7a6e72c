import { elementCount } from '../../graph/shapes.js';
import type { Shape } from '../../graph/types.js';
import { ShapeRefusal } from '../import/attempt.js';
import type { GraphContext } from './context.js';
import type { NodeDef } from './parse.js';

/** The second input of a Reshape: constant, or packed from constants and the batch. */
function packed(context: GraphContext, node: NodeDef): number[] {
  const name = context.inputName(node, 1);
  const source = context.nodes.get(name);
  if (source?.op !== 'Pack') return context.constants.integers(name);
  return source.inputs.map((input) => (context.constants.has(input.name) ? (context.constants.integers(input.name)[0] ?? 0) : -1));
}

/**
 * Shape of one example after a Reshape. The first dimension is the batch; −1 stands for what is left.
 *
 * @throws Refusal when examples of a batch would be mixed
 */
export function targetShape(context: GraphContext, node: NodeDef, input: Shape): Shape {
  const target = packed(context, node);
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
