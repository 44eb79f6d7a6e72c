import { PcqatError } from '../../errors.js';
import { axisIn, floats, type ImportContext, integer, refuse } from './context.js';
import { unsqueezed } from './shape-operators.js';
import { elementsOf, permuted, tensorValues } from './tensors.js';
import type { OnnxNode } from './types.js';
import { axisSize, type Constant, type ShapeInteger, type Value } from './values.js';

/** Constants that are computed at import are shapes; weights only change their form. */
const LARGEST = 4096;

export function convertConstant(context: ImportContext, node: OnnxNode): Value {
  const { attributes } = node;
  const tensor = attributes.get('value')?.tensor;
  if (tensor !== undefined) return context.constant(tensor);
  const single = attributes.get('value_float')?.float ?? attributes.get('value_int')?.int;
  if (single !== undefined) return numbers([single], []);
  const list = attributes.get('value_ints')?.ints ?? attributes.get('value_floats')?.floats;
  return list === undefined ? refuse('its value is no number', 'Use tensors of numbers.') : numbers(list, [list.length]);
}

function numbers(values: readonly number[], dims: readonly number[]): Constant {
  return { kind: 'constant', dims, values: () => values };
}

/** Integers with the batch among them, as a list (or one). */
function shaped(values: readonly ShapeInteger[], dims: readonly number[] = [values.length]): Constant {
  const isKnown = values.every((value) => value !== 'batch');
  return {
    kind: 'constant',
    dims,
    values: () => {
      if (isKnown) return values;
      throw new PcqatError('ERR_UNSUPPORTED', 'a constant depends on the number of examples', {
        remedy: 'Use constant shapes and weights.',
      });
    },
    ...(isKnown ? {} : { shapeIntegers: values }),
  };
}

function listOf(context: ImportContext, constant: Constant): readonly ShapeInteger[] {
  return constant.shapeIntegers ?? context.integers(constant, 'values');
}

export function convertShape(context: ImportContext, node: OnnxNode): Constant {
  const value = context.value(node, 0);
  const sizes: readonly ShapeInteger[] =
    value?.kind === 'constant'
      ? value.dims
      : context.activation(node).axes.map((axis): ShapeInteger => (axis === 'batch' ? 'batch' : axisSize(axis)));
  return shaped(sizes.slice(integer(node, 'start', 0), node.attributes.get('end')?.int));
}

/** An operator all of whose inputs are constants; undefined when it is none that is computed here. */
export function foldConstants(context: ImportContext, node: OnnxNode): Constant | undefined {
  const inputs = node.inputs.map((_, i) => context.value(node, i));
  const [first] = inputs;
  if (first?.kind !== 'constant' || inputs.some((input) => input !== undefined && input.kind !== 'constant')) return undefined;
  const constants = inputs as (Constant | undefined)[];
  switch (node.op) {
    case 'Identity':
    case 'Dropout':
      return first;
    case 'Cast':
      return cast(first, integer(node, 'to', 1));
    case 'Reshape':
      return reshaped(context, node, first);
    case 'Flatten': {
      const axis = integer(node, 'axis', 1);
      return withDims(first, [elementsOf(first.dims.slice(0, axis)), elementsOf(first.dims.slice(axis))]);
    }
    case 'Squeeze': {
      const axes = context.integersOf(node, 'axes', 1)?.map((axis) => axisIn(axis, first.dims.length));
      return withDims(
        first,
        first.dims.filter((size, i) => (axes === undefined ? size !== 1 : !axes.includes(i))),
      );
    }
    case 'Unsqueeze':
      return withDims(first, unsqueezed(first.dims, context.integersOf(node, 'axes', 1) ?? [], 1));
    case 'Transpose':
      return transposed(node, first);
    case 'Shape':
      return convertShape(context, node);
    case 'DequantizeLinear':
      return context.dequantize ? dequantized(context, node, constants) : undefined;
    case 'ConstantOfShape':
      return filled(context, node, first);
    default:
      return elementsOf(first.dims) <= LARGEST ? computed(context, node, constants) : undefined;
  }
}

function withDims(constant: Constant, dims: readonly number[]): Constant {
  if (elementsOf(dims) !== elementsOf(constant.dims)) refuse(`its constant cannot be [${dims.join(', ')}]`, 'The file is damaged.');
  const { quantization: _, ...plain } = constant;
  return { ...(constant.quantization?.scales.length === 1 ? constant : plain), dims };
}

/** Integers stay what they are as floating-point numbers; to integers, they are cut. */
function cast(constant: Constant, to: number): Constant {
  if ([1, 10, 11, 16].includes(to)) return constant;
  return { ...constant, values: () => Array.from(constant.values(), Math.trunc) };
}

function reshaped(context: ImportContext, node: OnnxNode, constant: Constant): Constant {
  const target = node.attributes.get('shape')?.ints ?? context.integers(context.requiredConstant(node, 1, 'shape'), 'shape');
  const filled = target.map((size, i) => (size === 0 ? (constant.dims[i] ?? 0) : size));
  const known = elementsOf(filled.filter((size) => size !== -1));
  return withDims(
    constant,
    filled.map((size) => (size === -1 ? elementsOf(constant.dims) / known : size)),
  );
}

function transposed(node: OnnxNode, constant: Constant): Constant {
  const { dims, quantization } = constant;
  const ints = node.attributes.get('perm')?.ints ?? [];
  const order = ints.length > 0 ? ints.map((axis) => axisIn(axis, dims.length)) : dims.map((_, i) => dims.length - 1 - i);
  if (new Set(order).size !== dims.length) refuse(`its perm is [${order.join(', ')}]`, 'The file is damaged.');
  return {
    kind: 'constant',
    dims: order.map((axis) => dims[axis] ?? 1),
    values: () => permuted(floats(constant), dims, order),
    ...(quantization === undefined ? {} : { quantization: { ...quantization, axis: order.indexOf(quantization.axis) } }),
  };
}

/** Integer weights as the real numbers they stand for. */
function dequantized(context: ImportContext, node: OnnxNode, [stored, scale, zero]: readonly (Constant | undefined)[]): Constant {
  if (stored === undefined || scale === undefined) return refuse('it has no scale', 'The file is damaged.');
  const { dims } = stored;
  const scales = floats(scale);
  const zeros = zero === undefined ? undefined : Array.from(zero.values());
  const axis = scales.length === 1 ? 0 : axisIn(integer(node, 'axis', 1), dims.length);
  if (scales.length !== 1 && scales.length !== dims[axis])
    refuse(`it has ${scales.length} scales for ${dims[axis]} channels`, 'Use one per channel.');
  if (integer(node, 'block_size', 0) !== 0) refuse('it has scales per block', 'Use one scale, or one per channel.');
  const inner = elementsOf(dims.slice(axis + 1));
  return {
    kind: 'constant',
    dims,
    quantization: { scales, axis },
    values: () =>
      Float32Array.from(stored.values(), (code, i) => {
        const c = scales.length === 1 ? 0 : Math.floor(i / inner) % scales.length;
        return (code - (zeros?.[c] ?? 0)) * (scales[c] ?? 1);
      }),
  };
}

/** One number, many times: a few bytes that may stand for any amount of memory. */
function filled(context: ImportContext, node: OnnxNode, shape: Constant): Constant {
  const dims = context.integers(shape, 'shape');
  const tensor = node.attributes.get('value')?.tensor;
  const count = elementsOf(dims);
  if (dims.some((size) => !(size >= 0)) || !context.fill(count)) {
    return refuse(`it makes a tensor of the shape [${dims.slice(0, 8).join(', ')}]`, 'Fold constants before the export.');
  }
  const fill = (): number => (tensor === undefined ? 0 : (tensorValues(tensor, context.files)[0] ?? 0));
  return { kind: 'constant', dims, values: () => new Float32Array(count).fill(fill()) };
}

/** Shape arithmetic. */
function computed(context: ImportContext, node: OnnxNode, constants: readonly (Constant | undefined)[]): Constant | undefined {
  const lists = constants.map((constant) => (constant === undefined ? undefined : listOf(context, constant)));
  const [first = [], second = []] = lists;
  const dims = constants[0]?.dims ?? [];
  switch (node.op) {
    case 'Gather': {
      if (dims.length !== 1) return undefined;
      const picked = second.map((index) => first[axisIn(Number(index), first.length)] ?? 0);
      return shaped(picked, constants[1]?.dims ?? []);
    }
    case 'Concat':
      return constants.some((constant) => constant?.dims.length !== 1) ? undefined : shaped(lists.flatMap((list) => list ?? []));
    case 'Slice':
      return sliced(node, first, dims, lists);
    case 'ReduceProd':
      return shaped([first.reduce<number>((product, size) => product * Number(size), 1)], integer(node, 'keepdims', 1) === 1 ? [1] : []);
    case 'Add':
    case 'Sub':
    case 'Mul':
    case 'Div':
      return arithmetic(node.op, first, second, first.length >= second.length ? dims : (constants[1]?.dims ?? []));
    default:
      return undefined;
  }
}

/** A part of a small constant, axis by axis. */
function sliced(
  node: OnnxNode,
  values: readonly ShapeInteger[],
  dims: readonly number[],
  lists: readonly (readonly ShapeInteger[] | undefined)[],
): Constant {
  const list = (attribute: string, input: number): readonly number[] | undefined =>
    node.attributes.get(attribute)?.ints ?? lists[input]?.map(Number);
  const [starts = [], ends = []] = [list('starts', 1), list('ends', 2)];
  const axes = list('axes', 3) ?? [...starts.keys()];
  let [result, shape] = [values, dims];
  for (const [i, given] of axes.entries()) {
    const axis = axisIn(given, shape.length);
    const size = shape[axis] ?? 0;
    const step = lists[4]?.map(Number)[i] ?? 1;
    const bound = (value: number, low: number, high: number): number => Math.min(Math.max(value < 0 ? value + size : value, low), high);
    const [start, end] = [starts[i] ?? 0, ends[i] ?? 0];
    const [from, to] = step > 0 ? [bound(start, 0, size), bound(end, 0, size)] : [bound(start, -1, size - 1), bound(end, -1, size - 1)];
    const count = Math.max(Math.ceil((to - from) / step), 0);
    if (!Number.isInteger(step) || !Number.isInteger(count))
      return refuse('it cuts in a way that is not known', 'Fold constants before the export.');
    const inner = elementsOf(shape.slice(axis + 1));
    const outer = elementsOf(shape.slice(0, axis));
    const picked: ShapeInteger[] = [];
    for (let block = 0; block < outer; block++) {
      for (let n = 0; n < count; n++) {
        const at = (block * size + from + n * step) * inner;
        picked.push(...result.slice(at, at + inner));
      }
    }
    result = picked;
    shape = shape.with(axis, count);
  }
  return shaped(result, shape);
}

const OPERATIONS = {
  Add: (a: number, b: number) => a + b,
  Sub: (a: number, b: number) => a - b,
  Mul: (a: number, b: number) => a * b,
  Div: (a: number, b: number) => a / b,
} as const;

function arithmetic(
  op: keyof typeof OPERATIONS,
  first: readonly ShapeInteger[],
  second: readonly ShapeInteger[],
  dims: readonly number[],
): Constant | undefined {
  const length = Math.max(first.length, second.length);
  if ([first, second].some((list) => list.length !== length && list.length !== 1)) return undefined;
  const values = Array.from({ length }, (_, i) => {
    const [a, b] = [first[first.length === 1 ? 0 : i], second[second.length === 1 ? 0 : i]];
    if (typeof a !== 'number' || typeof b !== 'number') return undefined;
    const result = OPERATIONS[op](a, b);
    return result;
  });
  return values.includes(undefined) ? undefined : shaped(values as number[], dims);
}
