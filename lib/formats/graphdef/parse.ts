import { PcqatError } from '../../errors.js';
import { parseTensor, shapeOf, type TensorProto } from './tensor.js';
import { type Field, textOf } from '../protobuf.js';
import { bytesField, damaged, fieldsOf, floatOf, integersOf } from './wire.js';

/** Far above any real network. */
const MAX_NODES = 100_000;
const MAX_LIST = 64;
/** Of one node: they are looked through for each that is asked for. */
const MAX_ATTRIBUTES = 1000;

/** An input of a node: a node, and which of its outputs. */
export interface NodeInput {
  readonly name: string;
  readonly output: number;
}

/** A node of the file. Attributes are looked up in its bytes when they are asked for. */
export class NodeDef {
  readonly name: string;
  readonly op: string;
  /** Without control dependencies. */
  readonly inputs: readonly NodeInput[];
  readonly where: string;
  readonly #message: Uint8Array;

  constructor(message: Uint8Array, file: string) {
    let [name, op] = ['', ''];
    const inputs: NodeInput[] = [];
    let attributes = 0;
    for (const { number, wire, bytes } of fieldsOf(message, file)) {
      if (wire !== 2) continue;
      if (number === 1) name = textOf(bytes);
      else if (number === 2) op = textOf(bytes);
      else if (number === 3) {
        const input = textOf(bytes);
        if (!input.startsWith('^')) inputs.push(parseInput(input));
      } else if (number === 5 && ++attributes > MAX_ATTRIBUTES) throw damaged(file, `a node has more than ${MAX_ATTRIBUTES} attributes`);
    }
    this.name = name;
    this.op = op;
    this.inputs = inputs;
    this.where = `${file}, node '${name}'`;
    this.#message = message;
  }

  flag(key: string, fallback: boolean): boolean {
    const field = this.#attribute(key, 5);
    return field === undefined ? fallback : field.value !== 0;
  }

  integer(key: string, fallback: number): number {
    return this.#attribute(key, 3)?.value ?? fallback;
  }

  /** Number of an element type. */
  type(key: string): number {
    return this.#attribute(key, 6)?.value ?? 0;
  }

  real(key: string, fallback: number): number {
    const bytes = this.#attribute(key, 4)?.bytes;
    return bytes?.length === 4 ? floatOf(bytes) : fallback;
  }

  text(key: string, fallback: string): string {
    const bytes = this.#attribute(key, 2)?.bytes;
    return bytes === undefined ? fallback : textOf(bytes);
  }

  /** A list of integers; empty when there is none. */
  integers(key: string): number[] {
    const list = this.#attribute(key, 1)?.bytes ?? new Uint8Array();
    const values: number[] = [];
    for (const field of fieldsOf(list, this.where)) {
      if (field.number !== 3) continue;
      values.push(...integersOf(field, MAX_LIST, this.where));
      if (values.length > MAX_LIST) throw damaged(this.where, `its attribute ${key} is too long`);
    }
    return values;
  }

  /** A shape with −1 for dimensions that are open; undefined when there is none. */
  shape(key: string): readonly number[] | undefined {
    const field = this.#attribute(key, 7);
    return field === undefined ? undefined : shapeOf(field.bytes, this.where);
  }

  tensor(key: string): TensorProto {
    const field = this.#attribute(key, 8);
    if (field === undefined) throw damaged(this.where, `it has no ${key}`);
    return parseTensor(field.bytes, this.where);
  }

  /** The field of an attribute's value that carries what was asked for. */
  #attribute(key: string, number: number): Field | undefined {
    for (const entry of fieldsOf(this.#message, this.where)) {
      if (entry.number !== 5 || entry.wire !== 2) continue;
      if (textOf(bytesField(entry.bytes, 1, this.where) ?? new Uint8Array()) !== key) continue;
      const value = bytesField(entry.bytes, 2, this.where) ?? new Uint8Array();
      for (const field of fieldsOf(value, this.where)) if (field.number === number) return field;
    }
    return undefined;
  }
}

/** `name`, `name:0`, `name:1`. */
export function parseInput(text: string): NodeInput {
  const colon = text.lastIndexOf(':');
  const output = colon < 0 ? 0 : Number(text.slice(colon + 1));
  return Number.isInteger(output) && colon > 0 ? { name: text.slice(0, colon), output } : { name: text, output: 0 };
}

/** The nodes of a GraphDef by name. */
export function parseGraphDef(bytes: Uint8Array, file: string): ReadonlyMap<string, NodeDef> {
  const nodes = new Map<string, NodeDef>();
  for (const { number, wire, bytes: message } of fieldsOf(bytes, file)) {
    if (number === 1 && wire === 0) {
      throw new PcqatError('ERR_UNSUPPORTED', 'this is a SavedModel, not a frozen graph', {
        where: file,
        remedy: 'Freeze it, or export it as .keras, .h5 or .tflite.',
      });
    }
    if (number !== 1 || wire !== 2) continue;
    const node = new NodeDef(message, file);
    if (nodes.has(node.name)) throw damaged(file, `two nodes are named '${node.name}'`);
    if (nodes.size >= MAX_NODES) throw new PcqatError('ERR_UNSUPPORTED', `it has more than ${MAX_NODES} nodes`, { where: file });
    nodes.set(node.name, node);
  }
  if (nodes.size === 0) throw damaged(file, 'it has no nodes');
  return nodes;
}
