import { PcqatError } from '../../errors.js';
import { halfToFloat } from '../float16.js';
import { type ExternalFiles } from './external.js';
import { DATA_TYPES, type DataTypeName, type OnnxTensor } from './types.js';
import { forEachFloat, forEachInteger, malformed, readFields } from './wire.js';
import type { Field } from '../protobuf.js';

interface ElementType {
  readonly bytes: number;
  read(view: DataView, offset: number): number;
}

/** Element types that values can be read from. 64-bit integers beyond 2⁵³ are rounded. */
const ELEMENTS: Readonly<Partial<Record<DataTypeName, ElementType>>> = {
  float: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  double: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  float16: { bytes: 2, read: (view, at) => halfToFloat(view.getUint16(at, true)) },
  int8: { bytes: 1, read: (view, at) => view.getInt8(at) },
  uint8: { bytes: 1, read: (view, at) => view.getUint8(at) },
  bool: { bytes: 1, read: (view, at) => view.getUint8(at) },
  int16: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  uint16: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  int32: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  uint32: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  int64: { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  uint64: { bytes: 8, read: (view, at) => Number(view.getBigUint64(at, true)) },
};

const NAMES = new Map<number, DataTypeName>(Object.entries(DATA_TYPES).map(([name, code]) => [code, name as DataTypeName]));
const LARGEST = 2 ** 31 - 1;

export function dataTypeName(code: number): string {
  return NAMES.get(code) ?? `type ${code}`;
}

export function elementsOf(dims: readonly number[]): number {
  return dims.reduce((product, size) => product * size, 1);
}

/**
 * The values of a tensor.
 *
 * @throws PcqatError `ERR_FORMAT` when there are not as many as its dimensions say, `ERR_UNSUPPORTED` for element types without numbers
 */
export function tensorValues(tensor: OnnxTensor, files: ExternalFiles): Float64Array | Float32Array {
  const place = `${files.where}, tensor '${tensor.name}'`;
  const count = elementsOf(tensor.dims);
  const name = NAMES.get(tensor.dataType);
  const type = name === undefined ? undefined : ELEMENTS[name];
  if (type === undefined) {
    throw new PcqatError('ERR_UNSUPPORTED', `its element type is ${dataTypeName(tensor.dataType)}`, {
      where: place,
      remedy: 'Export the model with float32 weights.',
    });
  }
  if (!(count <= LARGEST)) throw malformed(place, `its shape [${tensor.dims.join(', ')}] is too large`);
  const raw = tensor.external === undefined ? tensor.raw : files.read(tensor.external, count * type.bytes, place);
  if (raw !== undefined) return rawValues(raw, count, type, name === 'float', place);
  return listedValues(tensor, count, name, place);
}

function rawValues(raw: Uint8Array, count: number, type: ElementType, isFloat: boolean, place: string): Float64Array | Float32Array {
  if (raw.length !== count * type.bytes) throw malformed(place, `it has ${raw.length} bytes of data and not ${count * type.bytes}`);
  if (isFloat) {
    const values = new Float32Array(count);
    new Uint8Array(values.buffer).set(raw); // hosts of Node are little-endian
    return values;
  }
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Float64Array.from({ length: count }, (_, i) => type.read(view, i * type.bytes));
}

/** Values that are stored as lists of numbers. They are counted before memory is taken. */
function listedValues(tensor: OnnxTensor, count: number, name: DataTypeName | undefined, place: string): Float64Array | Float32Array {
  const visitAll = (visit: (value: number) => void): void =>
    readFields(tensor.message, place, (field, value) => visitList(field, value, place, visit));
  let found = 0;
  visitAll(() => found++);
  if (found !== count) throw malformed(place, `it has ${found} values and not ${count}`);
  const values = name === 'float' ? new Float32Array(count) : new Float64Array(count);
  let next = 0;
  visitAll((value) => (values[next++] = name === 'float16' ? halfToFloat(value) : value));
  return values;
}

function visitList(field: number, value: Field, place: string, visit: (value: number) => void): void {
  if (field === 4) forEachFloat(value, place, visit);
  else if (field === 5 || field === 7 || field === 11) forEachInteger(value, place, visit);
  else if (field === 10) forEachFloat(value, place, visit, 8);
}

/** Values with their axes in another order: axis `i` of the result is axis `order[i]` of the source. */
export function permuted(values: Float32Array, dims: readonly number[], order: readonly number[]): Float32Array {
  if (order.every((axis, i) => axis === i)) return values;
  const strides = dims.map((_, axis) => elementsOf(dims.slice(axis + 1)));
  const sizes = order.map((axis) => dims[axis] ?? 1);
  const steps = order.map((axis) => strides[axis] ?? 0);
  const result = new Float32Array(values.length);
  const [last, lastStep] = [sizes.at(-1) ?? 1, steps.at(-1) ?? 0];
  const position = sizes.map(() => 0);
  let source = 0;
  for (let target = 0; target < result.length; target += last) {
    for (let i = 0; i < last; i++) result[target + i] = values[source + i * lastStep] ?? 0;
    for (let axis = sizes.length - 2; axis >= 0; axis--) {
      position[axis] = (position[axis] ?? 0) + 1;
      source += steps[axis] ?? 0;
      if ((position[axis] ?? 0) < (sizes[axis] ?? 1)) break;
      source -= (steps[axis] ?? 0) * (sizes[axis] ?? 1);
      position[axis] = 0;
    }
  }
  return result;
}
