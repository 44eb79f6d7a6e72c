import type { Shape } from '../../graph/types.js';
import { Refusal } from '../import/attempt.js';
import type { ReadBudget } from '../import/budget.js';
import type { NodeDef } from './parse.js';
import { floatsOf, integersOfTensor, type TensorProto } from './tensor.js';
import { damaged } from './wire.js';

/** A constant or what is computed from constants alone. */
export interface Constant {
  readonly shape: Shape;
  readonly values: () => Float32Array;
}

/** Operators that pass their first input on. */
export const PASSING = new Set(['Identity', 'StopGradient', 'CheckNumerics', 'PreventGradient', 'Snapshot', 'PlaceholderWithDefault']);

const BINARY = new Map<string, (a: number, b: number) => number>([
  ['Add', (a, b) => a + b],
  ['AddV2', (a, b) => a + b],
  ['Sub', (a, b) => a - b],
  ['Mul', (a, b) => a * b],
  ['RealDiv', (a, b) => a / b],
]);
const UNARY = new Map<string, (a: number) => number>([
  ['Rsqrt', (a) => 1 / Math.sqrt(a)],
  ['Sqrt', Math.sqrt],
  ['Neg', (a) => -a],
]);

/** Operators that give the values of their first input another shape or element type. */
const RESHAPING = new Set(['Reshape', 'Squeeze', 'ExpandDims', 'Cast']);

/** Deeper arithmetic than any batch normalization's; bounds the work, which may double with each level. */
const MAX_DEPTH = 8;

interface Known {
  /** The node that holds or computes it, behind those that pass it on. */
  readonly source: NodeDef;
  readonly depth: number;
  tensor?: TensorProto;
  constant?: Constant;
}

/** The constants of a file, and small arithmetic on them: what is left of a batch normalization that is spelt out, for one. */
export class Constants {
  readonly #budget: ReadBudget;
  readonly #known = new Map<string, Known>();

  constructor(budget: ReadBudget) {
    this.#budget = budget;
  }

  /**
   * To be called for inputs before the nodes that read them.
   *
   * @returns whether the node is constant
   */
  register(node: NodeDef): boolean {
    const inputs = node.inputs.map(({ name }) => this.#known.get(name));
    const [first] = inputs;
    let known: Known | undefined;
    if (node.op === 'Const') known = { source: node, depth: 0 };
    else if (PASSING.has(node.op)) known = first;
    else if (
      (BINARY.has(node.op) && inputs.length === 2) ||
      (UNARY.has(node.op) && inputs.length === 1) ||
      (RESHAPING.has(node.op) && inputs.length >= 1)
    ) {
      const depth = 1 + Math.max(...inputs.map((input) => input?.depth ?? Infinity));
      if (depth <= MAX_DEPTH) known = { source: node, depth };
    }
    if (known !== undefined) this.#known.set(node.name, known);
    return known !== undefined;
  }

  has(name: string): boolean {
    return this.#known.has(name);
  }

  /** The value of a node for which {@link has} is true. */
  get(name: string): Constant {
    const known = this.#lookup(name);
    return (known.constant ??= this.#evaluate(known));
  }

  #evaluate(known: Known): Constant {
    const { source } = known;
    if (source.op === 'Const') {
      const tensor = this.#tensor(known);
      return { shape: tensor.shape, values: () => floatsOf(tensor, this.#budget, source.where) };
    }
    const [first, second] = source.inputs.map((input) => this.get(input.name));
    if (RESHAPING.has(source.op) && first !== undefined) return { shape: this.#shapeAfter(source, first.shape), values: first.values };
    const unary = UNARY.get(source.op);
    const binary = BINARY.get(source.op);
    if (unary !== undefined && first !== undefined) return { shape: first.shape, values: () => first.values().map(unary) };
    if (binary === undefined || first === undefined || second === undefined) throw damaged(source.where, `${source.op} lacks an input`);
    return combine(first, second, binary);
  }

  /** The node that holds or computes a constant. */
  source(name: string): NodeDef {
    return this.#lookup(name).source;
  }

  #shapeAfter(node: NodeDef, shape: Shape): Shape {
    if (node.op === 'Cast') return shape;
    const axes = node.op === 'Squeeze' ? node.integers('squeeze_dims') : this.integers(node.inputs[1]?.name ?? '');
    const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);
    if (node.op === 'Squeeze') {
      const removed = axes.map((axis) => axisOf(axis, shape.length));
      return shape.filter((dimension, i) => dimension !== 1 || (removed.length > 0 && !removed.includes(i)));
    }
    if (node.op === 'ExpandDims') return shape.toSpliced(axisOf(axes[0] ?? 0, shape.length + 1), 0, 1);
    const known = axes.reduce((product, dimension) => (dimension === -1 ? product : product * dimension), 1);
    const result = axes.map((dimension) => (dimension === -1 ? count(shape) / known : dimension));
    if (count(result) === count(shape) && result.every((dimension) => Number.isInteger(dimension) && dimension >= 0)) return result;
    throw damaged(node.where, `it makes [${axes.join(', ')}] out of [${shape.join(', ')}]`);
  }

  #lookup(name: string): Known {
    const known = this.#known.get(name);
    if (known === undefined) throw damaged(name, 'it is no constant');
    return known;
  }

  #tensor(known: Known): TensorProto {
    return (known.tensor ??= known.source.tensor('value'));
  }

  /** A small list of integers: a shape, axes, paddings. */
  integers(name: string): number[] {
    const known = this.#known.get(name);
    if (known?.source.op !== 'Const') throw new Refusal(`'${name}' is not constant`, 'Freeze the graph with static shapes.');
    return integersOfTensor(this.#tensor(known), this.#budget, known.source.where);
  }

  /** A constant of one element. */
  scalar(name: string): number {
    const [value = 0] = this.get(name).values();
    return value;
  }
}

const count = (shape: Shape): number => shape.reduce((product, dimension) => product * dimension, 1);

function combine(a: Constant, b: Constant, operation: (a: number, b: number) => number): Constant {
  const [left, right] = [count(a.shape), count(b.shape)];
  if (left !== right && left !== 1 && right !== 1) {
    throw new Refusal(`it combines constants of [${a.shape.join(', ')}] and [${b.shape.join(', ')}]`, 'Fold the constants when freezing.');
  }
  const shape = left >= right ? a.shape : b.shape;
  const values = (): Float32Array => {
    const [x, y] = [a.values(), b.values()];
    const at = (values: Float32Array, i: number): number => values[values.length === 1 ? 0 : i] ?? 0;
    return Float32Array.from({ length: Math.max(x.length, y.length) }, (_, i) => operation(at(x, i), at(y, i)));
  };
  return { shape, values };
}
