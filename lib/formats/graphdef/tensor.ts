import type { Shape } from '../../graph/types.js';
import { halfToFloat, halvesToFloats } from '../float16.js';
import type { ReadBudget } from '../import/budget.js';
import type { Field } from '../protobuf.js';
import { damaged, fieldsOf, integersOf } from './wire.js';

/** A constant of the file. Its values stay where they are until they are asked for. */
export interface TensorProto {
  /** TensorFlow's number of the element type. */
  readonly dtype: number;
  readonly shape: Shape;
  readonly elements: number;
  /** Values as bytes; empty when they are in `fields`. */
  readonly content: Uint8Array;
  readonly message: Uint8Array;
}

export const DT_FLOAT = 1;
const DT_DOUBLE = 2;
export const DT_INT32 = 3;
const DT_INT64 = 9;
const DT_BOOL = 10;
const DT_HALF = 19;

/** By element type: the name, bytes per element, and the field for values that are not packed into bytes. */
const TYPES = new Map([
  [DT_FLOAT, { name: 'float32', size: 4, field: 5 }],
  [DT_DOUBLE, { name: 'float64', size: 8, field: 6 }],
  [DT_INT32, { name: 'int32', size: 4, field: 7 }],
  [DT_INT64, { name: 'int64', size: 8, field: 10 }],
  [DT_BOOL, { name: 'bool', size: 1, field: 11 }],
  [DT_HALF, { name: 'float16', size: 2, field: 13 }],
]);
const MAX_ELEMENTS = 2 ** 31 - 1;
/** Integers are shapes, axes and paddings. */
const MAX_INTEGERS = 64;

export function shapeOf(message: Uint8Array, where: string): readonly number[] | undefined {
  const dimensions: number[] = [];
  for (const { number, value, bytes } of fieldsOf(message, where)) {
    if (number === 3 && value !== 0) return undefined; // unknown rank
    if (number !== 2) continue;
    let size = 0;
    for (const field of fieldsOf(bytes, where)) if (field.number === 1) size = field.value;
    dimensions.push(size);
    if (dimensions.length > 8) throw damaged(where, 'a shape has more than 8 dimensions');
  }
  return dimensions;
}

export function parseTensor(message: Uint8Array, where: string): TensorProto {
  let [dtype, content, shape]: [number, Uint8Array, readonly number[] | undefined] = [0, new Uint8Array(), []];
  for (const { number, value, bytes } of fieldsOf(message, where)) {
    if (number === 1) dtype = value;
    else if (number === 2) shape = shapeOf(bytes, where);
    else if (number === 4) content = bytes;
  }
  const elements = (shape ?? []).reduce((product, dimension) => product * dimension, 1);
  if (shape === undefined || shape.some((dimension) => !(dimension >= 0)) || !(elements <= MAX_ELEMENTS)) {
    throw damaged(where, `a constant has the impossible shape [${shape?.join(', ')}]`);
  }
  const type = TYPES.get(dtype);
  if (type !== undefined && content.length > 0 && content.length !== elements * type.size) {
    throw damaged(where, `a constant of ${elements} ${type.name} elements has ${content.length} bytes`);
  }
  return { dtype, shape, elements, content, message };
}

/** The values as f32. */
export function floatsOf(tensor: TensorProto, budget: ReadBudget, where: string): Float32Array {
  const { dtype, elements, content } = tensor;
  budget.charge(4 * elements);
  if (content.length === 0) return repeated(tensor, budget, where);
  switch (dtype) {
    case DT_FLOAT: // a copy: aligned, and not holding the file in memory
      return new Float32Array(content.slice().buffer);
    case DT_HALF:
      return halvesToFloats(content);
    default:
      return Float32Array.from(decoded(tensor, where));
  }
}

/** The values of a small integer constant. */
export function integersOfTensor(tensor: TensorProto, budget: ReadBudget, where: string): number[] {
  if (tensor.elements > MAX_INTEGERS) throw damaged(where, `a list of ${tensor.elements} integers was not expected`);
  return tensor.content.length === 0 ? Array.from(repeated(tensor, budget, where)) : decoded(tensor, where);
}

function decoded({ dtype, elements, content }: TensorProto, where: string): number[] {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const read = new Map<number, (i: number) => number>([
    [DT_FLOAT, (i) => view.getFloat32(4 * i, true)],
    [DT_DOUBLE, (i) => view.getFloat64(8 * i, true)],
    [DT_INT32, (i) => view.getInt32(4 * i, true)],
    [DT_INT64, (i) => Number(view.getBigInt64(8 * i, true))],
    [DT_BOOL, (i) => view.getUint8(i)],
    [DT_HALF, (i) => halfToFloat(view.getUint16(2 * i, true))],
  ]).get(dtype);
  if (read === undefined) throw damaged(where, `a constant has the element type number ${dtype}`);
  return Array.from({ length: elements }, (_, i) => read(i));
}

/** Values written one by one; the last one is repeated, as TensorFlow does. */
function repeated({ dtype, elements, message }: TensorProto, budget: ReadBudget, where: string): Float32Array {
  budget.charge(message.length); // it is looked through each time
  const wanted = TYPES.get(dtype)?.field;
  if (wanted === undefined) throw damaged(where, `a constant has the element type number ${dtype}`);
  const values = new Float32Array(elements);
  let count = 0;
  const put = (value: number): void => {
    if (count >= elements) throw damaged(where, `a constant of ${elements} elements has more values`);
    values[count++] = value;
  };
  for (const field of fieldsOf(message, where)) {
    if (field.number !== wanted) continue;
    if (dtype === DT_FLOAT) realsOf(field, 4, where, (view, at) => view.getFloat32(at, true)).forEach(put);
    else if (dtype === DT_DOUBLE) realsOf(field, 8, where, (view, at) => view.getFloat64(at, true)).forEach(put);
    else if (dtype === DT_HALF) integersOf(field, elements, where).forEach((code) => put(halfToFloat(code & 0xffff)));
    else integersOf(field, elements, where).forEach(put);
  }
  return count === 0 ? values : values.fill(values[count - 1] ?? 0, count);
}

function realsOf({ bytes }: Field, size: number, where: string, read: (view: DataView, at: number) => number): number[] {
  if (bytes.length % size !== 0) throw damaged(where, 'a list of numbers ends in the middle of one');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / size }, (_, i) => read(view, i * size));
}
