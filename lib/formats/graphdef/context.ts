import type { Shape } from '../../graph/types.js';
import type { ModelAssembler } from '../import/assemble.js';
import { Refusal } from '../import/attempt.js';
import { type Constant, type Constants, PASSING } from './constants.js';
import type { NodeDef } from './parse.js';
import { damaged } from './wire.js';

/** What translating the nodes of a GraphDef shares. */
export class GraphContext {
  /** Layer that holds the value of a node, by the node's name. */
  readonly values = new Map<string, string>();
  readonly #readers = new Map<string, NodeDef[]>();

  constructor(
    readonly assembler: ModelAssembler,
    readonly nodes: ReadonlyMap<string, NodeDef>,
    readonly constants: Constants,
    order: readonly NodeDef[],
  ) {
    for (const node of order) {
      for (const { name } of node.inputs) {
        const readers = this.#readers.get(name);
        if (readers === undefined) this.#readers.set(name, [node]);
        else readers.push(node);
      }
    }
  }

  /** Name of a node's input, which is the first output of another. */
  inputName(node: NodeDef, index: number): string {
    const input = node.inputs[index];
    if (input === undefined) throw damaged(node.where, `${node.op} has no input ${index}`);
    if (input.output !== 0) throw new Refusal(`it reads output ${input.output} of '${input.name}'`, 'Only first outputs are supported.');
    return input.name;
  }

  isConstant(node: NodeDef, index: number): boolean {
    return this.constants.has(this.inputName(node, index));
  }

  constant(node: NodeDef, index: number): Constant {
    const name = this.inputName(node, index);
    if (!this.constants.has(name))
      throw new Refusal(`its input '${name}' is not constant`, 'Freeze the graph: variables must become constants.');
    return this.constants.get(name);
  }

  integers(node: NodeDef, index: number): number[] {
    return this.constants.integers(this.inputName(node, index));
  }

  /** The layer that holds an input. */
  value(node: NodeDef, index = 0): string {
    const name = this.inputName(node, index);
    const value = this.values.get(name);
    if (value !== undefined) return value;
    if (this.constants.has(name)) throw new Refusal(`its input '${name}' is constant`, 'Only constant weights are supported.');
    throw new Refusal(`its input '${name}' is not computed from the model's input`, 'Name another `input`.');
  }

  shape(node: NodeDef, index = 0): Shape {
    return this.assembler.shapeOf(this.value(node, index));
  }

  /** The only node that reads a value, behind those that pass it on; undefined when there are several or none. */
  onlyReader(name: string): NodeDef | undefined {
    let read = name;
    for (;;) {
      const readers = this.#readers.get(read) ?? [];
      const [reader] = readers;
      if (readers.length !== 1 || reader === undefined || read === this.output) return undefined;
      if (!PASSING.has(reader.op)) return reader;
      read = reader.name;
    }
  }

  /** Set when the output is known: its value must not vanish in another layer. */
  output = '';

  /** Says that a layer also holds the values of nodes that went into it. */
  absorb(value: string, ...nodes: readonly NodeDef[]): void {
    for (const { name } of nodes) this.values.set(name, value);
  }
}
