import { PcqatError } from '../errors.js';
import { inferNodeShape } from './shapes.js';
import type { Graph, GraphNode, Shape } from './types.js';
import { validateGraph, validateNode } from './validate.js';

/** A value while a graph is built: the output of a layer. */
export interface Value {
  /** Name of the layer. */
  readonly name: string;
  /** Without the batch dimension. */
  readonly shape: Shape;
}

/** The nodes of a graph that is being built: names, ownership of values, checks of every node as it comes. */
export class NodeList {
  readonly #name: string;
  readonly #nodes = new Map<string, GraphNode>();
  readonly #values = new Map<string, Value>();
  readonly #counters = new Map<string, number>();

  constructor(name: string) {
    this.#name = name;
  }

  /** Name (given, or the operator and a number) and inputs of a new node. */
  base(op: string, inputs: readonly Value[], name: string | undefined): { name: string; inputs: string[] } {
    inputs.forEach((value) => this.#own(value));
    return { name: name ?? this.freshName(op), inputs: inputs.map((value) => value.name) };
  }

  freshName(op: string): string {
    for (;;) {
      const number = (this.#counters.get(op) ?? 0) + 1;
      this.#counters.set(op, number);
      if (!this.#nodes.has(`${op}_${number}`)) return `${op}_${number}`;
    }
  }

  append(node: GraphNode): Value {
    if (this.#nodes.has(node.name)) {
      throw new PcqatError('ERR_GRAPH', `two layers are named '${node.name}'`, {
        where: `graph '${this.#name}'`,
        remedy: 'Layer names must be unique.',
      });
    }
    validateNode(node);
    const shape = inferNodeShape(
      node,
      node.inputs.map((input) => this.#values.get(input)?.shape ?? []),
    );
    const value: Value = { name: node.name, shape };
    this.#nodes.set(node.name, node);
    this.#values.set(node.name, value);
    return value;
  }

  /** The graph that ends in `output`, without the nodes that do not lead to it. */
  build(output: Value): Graph {
    this.#own(output);
    const needed = new Set([output.name]);
    // Inputs always come earlier, so one backward pass finds every ancestor.
    for (const node of [...this.#nodes.values()].reverse()) {
      if (needed.has(node.name)) node.inputs.forEach((input) => needed.add(input));
    }
    const graph: Graph = { name: this.#name, nodes: [...this.#nodes.values()].filter((node) => needed.has(node.name)) };
    validateGraph(graph);
    return graph;
  }

  #own(value: Value): void {
    if (this.#values.get(value.name) !== value) {
      throw new PcqatError('ERR_GRAPH', `value '${value.name}' belongs to another graph`, { where: `graph '${this.#name}'` });
    }
  }
}
