import { elementCount, sameShape } from '../../graph/shapes.js';
import type { GraphNode, Shape } from '../../graph/types.js';
import { addAffine, type Affine } from '../import/affine.js';
import type { ModelAssembler } from '../import/assemble.js';
import type { ParameterSources } from '../import/types.js';
import type { ExpectedBias } from './bias.js';
import type { ExternalFiles } from './external.js';
import { elementsOf, tensorValues } from './tensors.js';
import { DATA_TYPES, type OnnxGraph, type OnnxNode, type OnnxTensor } from './types.js';
import { type Activation, type Constant, shapeInOrder, type Value } from './values.js';

/** A node that cannot be taken: why, and what would make it work. */
export class Refusal extends Error {
  constructor(
    readonly reason: string,
    readonly remedy: string,
    /** True: whatever comes in. Else it may follow from what another refused node would have made. */
    readonly isCertain = false,
  ) {
    super(reason);
  }
}

export function refuse(reason: string, remedy: string): never {
  throw new Refusal(reason, remedy);
}

/** Refuses a node for what it is, whatever its input. */
export function refuseAlways(reason: string, remedy: string): never {
  throw new Refusal(reason, remedy, true);
}

const LONGEST_LIST = 4096;
/** All that may be made of fill values, in elements. */
const LARGEST_FILL = 2 ** 25;

/** What the handlers of operators work with. */
export class ImportContext {
  readonly values = new Map<string, Value>();
  /** Nodes whose work another one has done. */
  readonly done = new Set<OnnxNode>();
  /** Biases that additions behind layers will give, by layer. */
  readonly expectedBiases = new Map<string, ExpectedBias>();
  readonly weightScales = new Map<string, Float32Array>();
  readonly #readers = new Map<string, OnnxNode[]>();
  #filled = 0;
  readonly #reshaped = new Map<string, string>();

  constructor(
    readonly assembler: ModelAssembler,
    readonly files: ExternalFiles,
    readonly graph: OnnxGraph,
    readonly opset: number,
    readonly dequantize: boolean,
    /** Tensors that must exist under their name: the output of the model. */
    readonly kept: ReadonlySet<string>,
  ) {
    for (const node of graph.nodes) {
      for (const input of node.inputs) {
        const readers = this.#readers.get(input);
        if (readers === undefined) this.#readers.set(input, [node]);
        else readers.push(node);
      }
    }
    for (const [name, tensor] of graph.initializers) this.values.set(name, this.constant(tensor));
  }

  store(tensor: string, value: Activation): Activation {
    this.values.set(tensor, value);
    return value;
  }

  /** A layer's output under the file's name; the bias that it waits for is noted. */
  layerOutput(value: Activation, expected: ExpectedBias | undefined): Activation {
    if (expected !== undefined) this.expectedBiases.set(value.node, expected);
    return value;
  }

  constant(tensor: OnnxTensor): Constant {
    return { kind: 'constant', dims: tensor.dims, values: () => tensorValues(tensor, this.files) };
  }

  /** Takes from what may be filled; false when it is too much. */
  fill(elements: number): boolean {
    this.#filled += elements;
    return this.#filled <= LARGEST_FILL;
  }

  /** The only node that reads a tensor, or undefined. */
  onlyReader(tensor: string): OnnxNode | undefined {
    const readers = this.#readers.get(tensor) ?? [];
    return readers.length === 1 && !this.kept.has(tensor) ? readers[0] : undefined;
  }

  isRead(tensor: string | undefined): boolean {
    return tensor !== undefined && tensor !== '' && (this.#readers.has(tensor) || this.kept.has(tensor));
  }

  value(node: OnnxNode, index: number): Value | undefined {
    const name = node.inputs[index];
    return name === undefined || name === '' ? undefined : this.values.get(name);
  }

  /** An input that depends on the model's input. */
  activation(node: OnnxNode, index = 0): Activation {
    const value = this.value(node, index);
    if (value?.kind === 'activation') return value;
    return refuse(`its input ${index} is a constant`, 'Fold constants before the export, e.g. with onnxsim.');
  }

  /** An input that must be constant; undefined when it is left out. */
  optionalConstant(node: OnnxNode, index: number, what: string): Constant | undefined {
    const value = this.value(node, index);
    if (value === undefined) return undefined;
    if (value.kind === 'constant') return value;
    return refuse(`its ${what} are not constant`, 'Export the model with constant weights and shapes.');
  }

  requiredConstant(node: OnnxNode, index: number, what: string): Constant {
    return this.optionalConstant(node, index, what) ?? refuse(`it has no ${what}`, 'The file is damaged; export it again.');
  }

  /** Integers of a constant that says how, not what: shapes, axes, pads. */
  integers(constant: Constant, what: string): number[] {
    if (elementsOf(constant.dims) > LONGEST_LIST) return refuse(`its ${what} are a list of more than ${LONGEST_LIST}`, 'Export it again.');
    if (constant.shapeIntegers !== undefined)
      return refuse(`its ${what} depend on the number of examples`, 'Export it with constant shapes.');
    return Array.from(constant.values());
  }

  /** Integers of an attribute, or of the input that later opsets have in its place. */
  integersOf(node: OnnxNode, attribute: string, input: number): number[] | undefined {
    const found = node.attributes.get(attribute);
    if (found !== undefined) return [...found.ints];
    const constant = this.optionalConstant(node, input, attribute);
    return constant === undefined ? undefined : this.integers(constant, attribute);
  }

  /** A single number. */
  scalar(constant: Constant | undefined): number | undefined {
    if (constant === undefined || elementsOf(constant.dims) !== 1) return undefined;
    return constant.values()[0];
  }

  /** The node of a value with the file's axes in `order`, reshaped if it must be; undefined when its elements have another order. */
  inOrder(value: Activation, order: readonly number[]): string | undefined {
    const shape = shapeInOrder(value, order);
    return shape === undefined ? undefined : this.shaped(value.node, shape);
  }

  /** The node with another shape of as many elements. */
  shaped(node: string, shape: Shape): string {
    if (sameShape(this.assembler.shapeOf(node), shape)) return node;
    const key = `${node}:${shape.join()}`;
    const found = this.#reshaped.get(key);
    if (found !== undefined) return found;
    if (shape.length < 1 || shape.length > 4) refuse(`its input has ${shape.length} dimensions beside the batch`, 'Use 1 to 4.');
    const made =
      shape.length === 1
        ? this.assembler.add({ op: 'flatten', name: `${node}_flatten`, inputs: [node] })
        : this.assembler.add({ op: 'reshape', name: `${node}_reshape`, inputs: [node], shape });
    this.#reshaped.set(key, made);
    return made;
  }

  add(node: GraphNode, parameters: ParameterSources = {}): string {
    return this.assembler.add(node, parameters);
  }

  /** `x · scale + shift` per channel. Values are read when parameters are. */
  affine(name: string, input: string, constants: Affine): string {
    const { length } = this.assembler.shapeOf(input);
    if (length > 3) refuse(`its input has ${length} dimensions beside the batch`, 'Use at most 3 where constants are multiplied or added.');
    return addAffine(this.assembler, name, input, constants);
  }

  channels(node: string): number {
    return this.assembler.shapeOf(node).at(-1) ?? 1;
  }

  elements(node: string): number {
    return elementCount(this.assembler.shapeOf(node));
  }
}

/** A constant as f32. */
export function floats(constant: Constant): Float32Array {
  const values = constant.values();
  return values instanceof Float32Array ? values : Float32Array.from(values);
}

/** What our layer is called: as the node of the file, or as its output. */
export function layerName(node: OnnxNode): string {
  return (node.name === '' ? (node.outputs[0] ?? node.op) : node.name).replace(/^\/+/, '');
}

export function integer(node: OnnxNode, attribute: string, fallback: number): number {
  return node.attributes.get(attribute)?.int ?? fallback;
}

export function number(node: OnnxNode, attribute: string, fallback: number): number {
  return node.attributes.get(attribute)?.float ?? fallback;
}

export function string(node: OnnxNode, attribute: string, fallback: string): string {
  return node.attributes.get(attribute)?.string ?? fallback;
}

/** An axis that may count from the end. */
export function axisIn(axis: number, rank: number): number {
  const found = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(found) || found < 0 || found >= rank) refuse(`axis ${axis} is none of ${rank}`, 'The file is damaged.');
  return found;
}

export const IS_FLOAT: ReadonlySet<number> = new Set([DATA_TYPES.float, DATA_TYPES.double, DATA_TYPES.float16, DATA_TYPES.bfloat16]);
