import { PcqatError } from '../../errors.js';
import type { Shape } from '../../graph/types.js';
import type { ReadBudget } from '../import/budget.js';
import type { ImportOptions } from '../import/types.js';
import { type NodeDef, parseInput } from './parse.js';
import { integersOfTensor } from './tensor.js';
import { damaged } from './wire.js';

/** Computes features from sound; models start after it. */
const AUDIO_FRONT_END = ['Mfcc', 'AudioSpectrogram', 'DecodeWav'];
const RESHAPING = new Set(['Reshape', 'ExpandDims', 'Squeeze', 'Identity']);
/** Nodes that nobody reads and that are no results. */
const NO_RESULTS = new Set(['Const', 'NoOp', 'Placeholder', 'Assert', 'SaveV2', 'RestoreV2']);

function ambiguous(what: string, names: readonly string[], file: string): PcqatError {
  const shown = names.slice(0, 8).join(', ');
  return new PcqatError('ERR_OPTION', `it has ${names.length} ${what}s: ${shown}${names.length > 8 ? ', …' : ''}`, {
    where: file,
    remedy: `Name one in \`${what}\`.`,
  });
}

function named(nodes: ReadonlyMap<string, NodeDef>, text: string, option: string, file: string): NodeDef {
  const node = nodes.get(parseInput(text).name);
  if (node !== undefined) return node;
  throw new PcqatError('ERR_OPTION', `it has no node '${text}'`, { where: `${file}, ${option}`, remedy: 'Give the name of a node.' });
}

/** The node whose value is the model's output. */
export function findOutput(nodes: ReadonlyMap<string, NodeDef>, { output }: ImportOptions, file: string): NodeDef {
  if (output !== undefined) return named(nodes, output, 'output', file);
  const read = new Set([...nodes.values()].flatMap((node) => node.inputs.map(({ name }) => name)));
  const results = [...nodes.values()].filter((node) => !read.has(node.name) && !NO_RESULTS.has(node.op));
  const [result] = results;
  if (result === undefined) throw damaged(file, 'every node is read by another');
  if (results.length > 1)
    throw ambiguous(
      'output',
      results.map(({ name }) => name),
      file,
    );
  return result;
}

/**
 * The nodes that `output` needs, each after its inputs.
 *
 * @param stop - what comes before this node is left out
 */
export function orderNodes(nodes: ReadonlyMap<string, NodeDef>, output: NodeDef, stop?: NodeDef): NodeDef[] {
  const order: NodeDef[] = [];
  const state = new Map<NodeDef, 'open' | 'done'>();
  const stack = [output];
  for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
    if (state.get(node) === 'done') {
      stack.pop();
      continue;
    }
    if (state.get(node) === 'open') {
      state.set(node, 'done');
      order.push(node);
      stack.pop();
      continue;
    }
    state.set(node, 'open');
    if (node === stop) continue;
    for (const { name } of node.inputs.toReversed()) {
      const input = nodes.get(name);
      if (input === undefined) throw damaged(node.where, `its input '${name}' does not exist`);
      if (state.get(input) === 'open') throw new PcqatError('ERR_GRAPH', 'it depends on itself', { where: input.where });
      if (state.get(input) === undefined) stack.push(input);
    }
  }
  return order;
}

/** The node whose value is the model's input: the one asked for, the first after an audio front end, or the only placeholder. */
export function findInput(nodes: ReadonlyMap<string, NodeDef>, output: NodeDef, { input }: ImportOptions, file: string): NodeDef {
  if (input !== undefined) return named(nodes, input, 'input', file);
  const needed = orderNodes(nodes, output);
  for (const op of AUDIO_FRONT_END) {
    const found = needed.find((node) => node.op === op);
    if (found !== undefined) return afterFrontEnd(needed, found);
  }
  const inputs = needed.filter(({ op }) => op === 'Placeholder');
  const [first] = inputs;
  if (first === undefined) throw damaged(file, `nothing that '${output.name}' needs is an input`);
  if (inputs.length > 1)
    throw ambiguous(
      'input',
      inputs.map(({ name }) => name),
      file,
    );
  return first;
}

function afterFrontEnd(needed: readonly NodeDef[], start: NodeDef): NodeDef {
  const readers = new Map<string, NodeDef[]>();
  for (const node of needed) for (const { name } of node.inputs) readers.set(name, [...(readers.get(name) ?? []), node].slice(0, 2));
  let node = start;
  for (;;) {
    const [next, other] = readers.get(node.name) ?? [];
    if (next === undefined || other !== undefined || !RESHAPING.has(next.op)) return node;
    node = next;
  }
}

/** Shape of one example where the model starts. */
export function inputShapeOf(nodes: ReadonlyMap<string, NodeDef>, node: NodeDef, { inputShape }: ImportOptions, budget: ReadBudget): Shape {
  if (inputShape !== undefined) return inputShape;
  const target = node.op === 'Reshape' ? nodes.get(node.inputs[1]?.name ?? '') : undefined;
  const shape = target?.op === 'Const' ? integersOfTensor(target.tensor('value'), budget, target.where) : node.shape('shape');
  const [, ...example] = shape ?? [];
  if (example.length > 0 && example.every((dimension) => dimension > 0)) return example;
  throw new PcqatError('ERR_SHAPE', `the file does not say the shape of '${node.name}'`, {
    where: node.where,
    remedy: 'Pass it as `inputShape`, without the batch.',
  });
}
