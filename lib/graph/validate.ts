import { PcqatError } from '../errors.js';
import { OPERATORS } from './attributes.js';
import { inferNodeShape } from './shapes.js';
import type { Graph, GraphNode, Shape } from './types.js';

// ':' and '/' separate layer, parameter and state in tensor names.
const NAME = /^[^/:\p{Cc}]{1,200}$/u;

function graphError(message: string, where: string, remedy?: string): PcqatError {
  return new PcqatError('ERR_GRAPH', message, remedy === undefined ? { where } : { where, remedy });
}

function checkName(name: unknown, where: string): asserts name is string {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw graphError("a layer name must be 1 to 200 characters without '/', ':' or control characters", where);
  }
}

/** Checks operator, attributes and number of inputs of one node that may come from a file. */
export function validateNode(node: GraphNode, where = `layer '${node.name}'`): void {
  const rule = Object.hasOwn(OPERATORS, node.op) ? OPERATORS[node.op] : undefined;
  if (rule === undefined) {
    throw new PcqatError('ERR_UNKNOWN_LAYER', `unknown layer type '${String(node.op)}'`, {
      where,
      remedy: `Known types: ${Object.keys(OPERATORS).join(', ')}.`,
    });
  }
  const inputs: unknown = node.inputs;
  const fits = Array.isArray(inputs) && (rule.inputs === 'several' ? inputs.length >= 2 : inputs.length === rule.inputs);
  if (!fits) throw graphError(`${node.op} takes ${rule.inputs === 'several' ? 'two or more inputs' : `${rule.inputs} input(s)`}`, where);
  const { name: _name, op: _op, inputs: _inputs, ...attributes } = node;
  for (const [attribute, check] of Object.entries(rule.attributes)) {
    const expected = check((attributes as Record<string, unknown>)[attribute]);
    if (expected !== undefined) throw graphError(`${attribute} must be ${expected}`, `${where}, ${attribute}`);
  }
  const unknown = Object.keys(attributes).find((attribute) => !Object.hasOwn(rule.attributes, attribute));
  if (unknown !== undefined) throw graphError(`${node.op} has no attribute '${unknown}'`, `${where}, ${unknown}`);
}

function inputShapes(node: GraphNode, shapes: ReadonlyMap<string, Shape>, later: ReadonlySet<unknown>): Shape[] {
  const where = `layer '${node.name}'`;
  return node.inputs.map((input) => {
    const shape = shapes.get(input);
    if (shape !== undefined) return shape;
    if (later.has(input)) {
      throw graphError(
        `its input '${input}' comes later or depends on it`,
        where,
        'List layers so that inputs come first, without cycles.',
      );
    }
    throw graphError(`its input '${String(input)}' does not exist`, where);
  });
}

/**
 * Checks a whole graph, also one read from a file: known operators, attributes, unique names, inputs that exist and come first,
 * exactly one input node, and shapes that fit.
 *
 * @returns The output shape of every node, as {@link inferShapes}.
 * @throws PcqatError naming the node: `ERR_UNKNOWN_LAYER`, `ERR_GRAPH` or `ERR_SHAPE`.
 *
 * @example
 * ```ts
 * import { validateGraph } from 'pcqat';
 * const graph = {
 *   name: 'net',
 *   nodes: [
 *     { op: 'input', name: 'x', inputs: [], shape: [4] },
 *     { op: 'dense', name: 'fc', inputs: ['x'], units: 2, useBias: true },
 *   ],
 * } as const;
 * console.log(validateGraph(graph).get('fc')); // [ 2 ]
 * ```
 */
export function validateGraph(graph: Graph): Map<string, Shape> {
  const names = new Set<unknown>(graph.nodes.map((node) => node.name));
  const shapes = new Map<string, Shape>();
  for (const [i, node] of graph.nodes.entries()) {
    checkName(node.name, `node ${i}`);
    if (shapes.has(node.name)) throw graphError(`two layers are named '${node.name}'`, `node ${i}`, 'Layer names must be unique.');
    if ((node.op === 'input') !== (i === 0)) {
      throw graphError('a graph has exactly one input layer and it comes first', `layer '${node.name}'`);
    }
    validateNode(node);
    shapes.set(node.name, inferNodeShape(node, inputShapes(node, shapes, names)));
  }
  if (shapes.size === 0) throw graphError('the graph has no layers', `graph '${graph.name}'`);
  return shapes;
}
