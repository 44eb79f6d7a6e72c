import { elementCount } from '../../graph/shapes.js';
import type { Shape } from '../../graph/types.js';
import { type AttributeValue, encodeModel, type WrittenNode, type WrittenTensor, type WrittenValue } from './encode.js';
import type { DataTypeName } from './types.js';

/** A tensor that was written. */
export interface OnnxOutput {
  readonly name: string;
  readonly type: DataTypeName;
  /** Ours, without the batch: `[h, w, c]`, `[length, c]`, `[n]`. In the file, channels come first. */
  readonly shape: Shape;
}

/** Order of the axes of inputs and outputs that are images or sequences. */
export type OnnxLayout = 'NHWC' | 'NCHW';

/** Opset 17 is old enough for ONNX Runtime 1.12 and has every operator that is used; version 8 of the format belongs to it. */
const [OPSET, IR_VERSION] = [17, 8];

/** Our shape as the file has it inside: channels first. */
export function fileShape(shape: Shape): Shape {
  return shape.length === 2 || shape.length === 3 ? [shape.at(-1) ?? 1, ...shape.slice(0, -1)] : shape;
}

/** Collects the nodes of an ONNX graph in which images are `[batch, c, h, w]`. */
export class GraphWriter {
  readonly #nodes: WrittenNode[] = [];
  readonly #initializers = new Map<string, WrittenTensor>();
  readonly #values = new Map<string, WrittenValue>();
  readonly #inputs: WrittenValue[] = [];
  readonly #names = new Set<string>();

  /** A name that is not in use yet. */
  unique(wanted: string): string {
    let name = wanted;
    for (let i = 1; this.#names.has(name); i++) name = `${wanted}_${i}`;
    this.#names.add(name);
    return name;
  }

  /** The model's input; inside it has its channels first. */
  input(name: string, type: DataTypeName, shape: Shape, layout: OnnxLayout): OnnxOutput {
    const outer = layout === 'NCHW' ? fileShape(shape) : shape;
    const made = { name: this.unique(name), type, shape: outer };
    this.#inputs.push(made);
    return layout === 'NCHW' ? { ...made, shape } : this.channelsFirst({ ...made, shape }, `${name}/channels_first`);
  }

  node(
    op: string,
    inputs: readonly (OnnxOutput | string)[],
    output: Omit<OnnxOutput, 'type'> & { readonly type?: DataTypeName },
    attributes: Readonly<Record<string, AttributeValue>> = {},
    /** Shape in the file where it is not the channels-first one. */
    shape: Shape = fileShape(output.shape),
  ): OnnxOutput {
    const made = { name: this.unique(output.name), type: output.type ?? 'float', shape: output.shape };
    const names = inputs.map((input) => (typeof input === 'string' ? input : input.name));
    this.#nodes.push({ name: made.name, op, inputs: names, outputs: [made.name], attributes });
    this.#values.set(made.name, { name: made.name, type: made.type, shape });
    return made;
  }

  /** A node that computes a float constant of `shape`, without a batch. */
  constantNode(
    op: string,
    inputs: readonly string[],
    wanted: string,
    shape: Shape,
    attributes: Readonly<Record<string, AttributeValue>>,
  ): string {
    const name = this.unique(wanted);
    this.#nodes.push({ name, op, inputs, outputs: [name], attributes });
    this.#values.set(name, { name, type: 'float', shape, isConstant: true });
    return name;
  }

  floats(name: string, dims: readonly number[], values: Float32Array): string {
    return this.#constant({ name, type: 'float', dims, data: bytesOf(values) });
  }

  /** A tensor of any type from its little-endian bytes. */
  bytes(name: string, type: DataTypeName, dims: readonly number[], data: Uint8Array): string {
    return this.#constant({ name, type, dims, data });
  }

  /** An int64 list. */
  integers(name: string, values: readonly number[]): string {
    return this.#constant({ name, type: 'int64', dims: [values.length], data: bytesOf(BigInt64Array.from(values, BigInt)) });
  }

  #constant(tensor: WrittenTensor): string {
    const name = this.unique(tensor.name);
    this.#initializers.set(name, { ...tensor, name });
    return name;
  }

  /** `[batch, …, c]` of the file → channels first. */
  channelsFirst(value: OnnxOutput, name: string): OnnxOutput {
    const rank = value.shape.length;
    if (rank !== 2 && rank !== 3) return value;
    return this.node(
      'Transpose',
      [value],
      { ...value, name },
      { perm: { ints: [0, rank, ...Array.from({ length: rank - 1 }, (_, i) => i + 1)] } },
    );
  }

  /** Channels first → `[batch, …, c]`. The shape that the file has is then ours. */
  channelsLast(value: OnnxOutput, name: string): OnnxOutput {
    const rank = value.shape.length;
    if (rank !== 2 && rank !== 3) return value;
    const perm = [0, ...Array.from({ length: rank - 1 }, (_, i) => i + 2), 1];
    return this.node('Transpose', [value], { ...value, name }, { perm: { ints: perm } }, value.shape);
  }

  /** Another shape, with the elements in our order. */
  reshape(value: OnnxOutput, shape: Shape, name: string): OnnxOutput {
    const from = isOrdered(value.shape) ? value : this.channelsLast(value, `${name}/channels_last`);
    const direct = isOrdered(shape);
    const inner = direct ? fileShape(shape) : shape;
    const target = this.integers(`${name}/shape`, [-1, ...inner]);
    const made = this.node('Reshape', [from, target], { name: direct ? name : `${name}/reshaped`, type: value.type, shape }, {}, inner);
    return direct ? made : this.channelsFirst(made, name);
  }

  /** The bytes of the file whose output is `output`, called `name`. */
  encode(graphName: string, output: OnnxOutput, name: string, layout: OnnxLayout): Uint8Array {
    const last = layout === 'NCHW' ? output : this.channelsLast(output, `${output.name}/channels_last`);
    this.#rename(last.name, name);
    const shape = this.#values.get(name)?.shape ?? last.shape;
    const valueInfos = [...this.#values.values()].filter((value) => value.name !== name);
    return encodeModel({
      name: graphName,
      irVersion: IR_VERSION,
      opset: OPSET,
      nodes: this.#nodes,
      initializers: [...this.#initializers.values()],
      inputs: this.#inputs,
      outputs: [{ name, type: last.type, shape }],
      valueInfos,
    });
  }

  /** Gives a tensor a name; what has it gets another. */
  #rename(from: string, to: string): void {
    if (from === to) return;
    const other = this.#names.has(to) ? this.unique(`${to}/inner`) : to;
    const renamed = (name: string): string => (name === from ? to : name === to ? other : name);
    this.#nodes.forEach((node, i) => {
      this.#nodes[i] = { ...node, name: renamed(node.name), inputs: node.inputs.map(renamed), outputs: node.outputs.map(renamed) };
    });
    const values = [...this.#values.values()].map((value) => ({ ...value, name: renamed(value.name) }));
    this.#values.clear();
    for (const value of values) this.#values.set(value.name, value);
    for (const tensor of [...this.#initializers.values()]) {
      if (tensor.name !== to) continue;
      this.#initializers.delete(to);
      this.#initializers.set(other, { ...tensor, name: other });
    }
  }
}

/** Are the elements in the same order with channels first and last? */
function isOrdered(shape: Shape): boolean {
  if (shape.length !== 2 && shape.length !== 3) return true;
  const channels = shape.at(-1) ?? 1;
  return channels === 1 || channels === elementCount(shape);
}

function bytesOf(values: Float32Array | BigInt64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
