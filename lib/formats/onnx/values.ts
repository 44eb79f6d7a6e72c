import type { Shape } from '../../graph/types.js';

/** An axis of an activation in our element order; only sizes above 1 have one. Identity matters, not the number. */
export interface Dim {
  readonly size: number;
}

/** What an axis of a tensor of the file holds: the batch, or axes of ours, outer ones first. None: its size is 1. */
export type FileAxis = 'batch' | readonly Dim[];

/** The output of one of our nodes, as the file sees it: its elements are ours, its axes may be in another order, split or merged. */
export interface Activation {
  readonly kind: 'activation';
  /** Name in the assembler. */
  readonly node: string;
  /** Our axes from the outermost; their elements are those of the node. */
  readonly dims: readonly Dim[];
  readonly axes: readonly FileAxis[];
  /** Present: no value of it is below 0. */
  readonly nonNegative?: boolean;
}

/** An integer of shape arithmetic; the number of examples is not known. */
export type ShapeInteger = number | 'batch';

/** Something that does not depend on the input. */
export interface Constant {
  readonly kind: 'constant';
  readonly dims: readonly number[];
  /** The values as they are, read when asked for. */
  readonly values: () => ArrayLike<number>;
  /** Integers that depend on the shape of an activation. */
  readonly shapeIntegers?: readonly ShapeInteger[];
  /** Scales of integer weights that stand for real numbers: one, or one for each entry of `axis`. */
  readonly quantization?: { readonly scales: Float32Array; readonly axis: number };
}

/** What comes out of a node that cannot be taken and has no input to stand for it. Its readers are not complained about. */
export interface Unknown {
  readonly kind: 'unknown';
}

export type Value = Activation | Constant | Unknown;

export function axisSize(axis: FileAxis): number {
  return axis === 'batch' ? 1 : axis.reduce((product, { size }) => product * size, 1);
}

/** Our node of `shape` with the file's axes at the places `axisOf` of ours (`'batch'` for the batch). */
export function activation(node: string, shape: Shape, axisOf: readonly (number | 'batch' | 'one')[]): Activation {
  const dims = shape.map((size) => ({ size }));
  const axes = axisOf.map((axis): FileAxis => {
    if (axis === 'batch') return 'batch';
    const dim = axis === 'one' ? undefined : dims[axis];
    return dim === undefined || dim.size === 1 ? [] : [dim];
  });
  return { kind: 'activation', node, dims: dims.filter(({ size }) => size > 1), axes };
}

/** Shape of ours when the file's axes come in `order`; undefined when the elements then had another order. */
export function shapeInOrder({ dims, axes }: Activation, order: readonly number[]): Shape | undefined {
  const lists = order.map((axis) => axes[axis] ?? []);
  if (lists.includes('batch')) return undefined;
  const sequence = lists.flatMap((list) => list as readonly Dim[]);
  if (sequence.length !== dims.length || sequence.some((dim, i) => dim !== dims[i])) return undefined;
  return lists.map(axisSize);
}

/** File axes without the batch, in the order of our elements; axes of size 1 stay where the file has them. */
export function ownOrder({ dims, axes }: Activation): number[] {
  const rank = (axis: number): number => {
    const list = axes[axis];
    return list === undefined || list === 'batch' || list[0] === undefined ? -1 : dims.indexOf(list[0]);
  };
  const all = axes.flatMap((axis, i) => (axis === 'batch' ? [] : [i]));
  const sorted = all.filter((axis) => rank(axis) >= 0).toSorted((a, b) => rank(a) - rank(b));
  return all.map((axis) => (rank(axis) >= 0 ? (sorted.shift() ?? axis) : axis));
}

/**
 * The axes after a reshape to `target` (without the batch), or undefined when it is none of the file's axes' merging and splitting.
 * Axes of ours that must be split are, in the result's `dims`.
 */
export function regroup(value: Activation, target: readonly number[]): Activation | undefined {
  const batch = value.axes.indexOf('batch');
  if (batch < 0 || value.axes.slice(0, batch).some((axis) => axisSize(axis) > 1)) return undefined;
  let dims = value.dims;
  const rest = value.axes.slice(batch + 1).flatMap((axis) => axis as readonly Dim[]);
  const axes: FileAxis[] = ['batch'];
  for (const size of target) {
    const group: Dim[] = [];
    let left = size;
    while (left > 1) {
      const next = rest.shift();
      if (next === undefined) return undefined;
      if (left % next.size === 0) {
        group.push(next);
        left /= next.size;
        continue;
      }
      if (next.size % left !== 0) return undefined;
      const [outer, inner]: [Dim, Dim] = [{ size: left }, { size: next.size / left }];
      dims = dims.flatMap((dim) => (dim === next ? [outer, inner] : [dim]));
      rest.unshift(inner);
      group.push(outer);
      left = 1;
    }
    axes.push(group);
  }
  return rest.length > 0 ? undefined : { ...value, dims, axes };
}

/**
 * Where one axis of the file may come last among ours: the order of the file's other axes, and for every entry of ours along it the
 * entry of the file, made when asked for (absent when they are the same).
 */
export interface LastAxis {
  readonly front: readonly number[];
  readonly size: number;
  readonly entries?: () => Int32Array;
}

export function lastAxis(value: Activation, axis: number): LastAxis | undefined {
  const list = value.axes[axis];
  if (list === undefined || list === 'batch') return undefined;
  const start = value.dims.length - list.length;
  const tail = value.dims.slice(start);
  if (start < 0 || !list.every((dim) => tail.includes(dim))) return undefined;
  const front = ownOrder(value).filter((other) => other !== axis);
  const size = axisSize(list);
  if (list.every((dim, i) => dim === tail[i])) return { front, size };
  return { front, size, entries: () => entryMap(list, tail) };
}

/** For each combination of `to` in its order, its number in the order of `from`. */
function entryMap(from: readonly Dim[], to: readonly Dim[]): Int32Array {
  const stride = (dim: Dim): number => from.slice(from.indexOf(dim) + 1).reduce((product, { size }) => product * size, 1);
  let entries = Int32Array.of(0);
  for (const dim of to) {
    const step = stride(dim);
    const next = new Int32Array(entries.length * dim.size);
    entries.forEach((entry, i) => {
      for (let j = 0; j < dim.size; j++) next[i * dim.size + j] = entry + j * step;
    });
    entries = next;
  }
  return entries;
}
