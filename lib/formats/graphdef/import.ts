import path from 'node:path';
import { ModelAssembler } from '../import/assemble.js';
import { attempt, Refusal } from '../import/attempt.js';
import { ReadBudget } from '../import/budget.js';
import { readBytes } from '../read-bytes.js';
import type { Assembled, ImportOptions } from '../import/types.js';
import { findInput, findOutput, inputShapeOf, orderNodes } from './bounds.js';
import { Constants } from './constants.js';
import { GraphContext } from './context.js';
import { TRANSLATIONS } from './operators.js';
import { type NodeDef, parseGraphDef } from './parse.js';
import { damaged } from './wire.js';

/** Values may be written as one that stands for many; half-precision ones become twice as large. */
const BUDGET_PER_BYTE = 3;
/** What follows a Shape; looked at by the Reshape that reads it. */
const SHAPE_OPERATORS: ReadonlySet<string> = new Set(['StridedSlice', 'Pack']);

/** Reads a frozen TensorFlow graph; batch normalization stays a layer of its own. */
export async function assembleGraphDef(file: string, options: ImportOptions): Promise<Assembled> {
  const { buffer, byteOffset, byteLength } = await readBytes(file);
  const bytes = new Uint8Array(buffer, byteOffset, byteLength); // no Buffer: its slices are no copies
  const nodes = parseGraphDef(bytes, file);
  const output = findOutput(nodes, options, file);
  const input = findInput(nodes, output, options, file);
  const order = orderNodes(nodes, output, input);
  if (!order.includes(input)) throw damaged(file, `'${output.name}' does not depend on '${input.name}'`);
  const assembler = new ModelAssembler(path.parse(file).name, 'graphdef', file);
  const budget = new ReadBudget(file, bytes.length, BUDGET_PER_BYTE);
  const context = new GraphContext(assembler, nodes, new Constants(budget), order);
  context.output = output.name;
  context.values.set(
    input.name,
    assembler.add({ op: 'input', name: input.name, inputs: [], shape: inputShapeOf(nodes, input, options, budget) }),
  );
  // Constants first: the bias of a convolution is made after it.
  for (const node of order) if (node !== input) context.constants.register(node);
  for (const node of order) translate(context, node);
  const value = context.values.get(output.name);
  if (value === undefined && assembler.complete) throw damaged(output.where, 'the output is constant');
  return { assembler, output: value ?? context.values.get(input.name) ?? '' };
}

function translate(context: GraphContext, node: NodeDef): void {
  if (context.values.has(node.name) || context.constants.has(node.name)) return;
  if (node.op === 'Shape') return;
  const first = node.inputs.map(({ name }) => context.values.get(name)).find((value) => value !== undefined);
  if (first === undefined && SHAPE_OPERATORS.has(node.op)) return;
  const value = attempt(
    context.assembler,
    node,
    () => {
      const make = TRANSLATIONS.get(node.op);
      if (make === undefined) throw new Refusal('pcqat has no such layer', 'Replace it in the model.');
      return make(context, node);
    },
    first,
  );
  if (value !== undefined) context.values.set(node.name, value);
}
