import { PbfReader } from 'pbf';
import { PcqatError } from '../../errors.js';

/** A field of a protobuf message. */
export interface Field {
  readonly number: number;
  /** 0: `value` holds a number; 1, 2, 5: `bytes` holds 8, any number of, or 4 bytes. */
  readonly wire: number;
  readonly value: number;
  readonly bytes: Uint8Array;
}

const NOTHING = new Uint8Array();
const VARINT = 0;
const LENGTH_DELIMITED = 2;
const FIXED_BYTES = new Map([
  [1, 8],
  [5, 4],
]);

export function damaged(where: string, problem: string): PcqatError {
  return new PcqatError('ERR_FORMAT', `it is no valid frozen TensorFlow graph: ${problem}`, {
    where,
    remedy: 'Check that the file is complete and was written as a binary GraphDef.',
  });
}

/** The fields of a message, one by one; lengths are checked before they are followed, so nothing is read or made beyond the bytes given. */
export function* fieldsOf(message: Uint8Array, where: string): Generator<Field> {
  const reader = new PbfReader(message);
  const varint = (): number => {
    try {
      const value = reader.readVarint(true);
      if (reader.pos <= message.length) return value;
    } catch {
      // more than ten bytes
    }
    throw damaged(where, 'a number goes on past its end');
  };
  while (reader.pos < message.length) {
    const tag = varint();
    const wire = tag & 7;
    const number = tag >>> 3;
    if (wire === VARINT) {
      yield { number, wire, value: varint(), bytes: NOTHING };
      continue;
    }
    const length = wire === LENGTH_DELIMITED ? varint() : FIXED_BYTES.get(wire);
    if (length === undefined) throw damaged(where, `a field has the unknown wire type ${wire}`);
    const end = reader.pos + length;
    if (length < 0 || end > message.length) throw damaged(where, `a field of ${length} bytes goes on past the end`);
    yield { number, wire, value: 0, bytes: message.subarray(reader.pos, end) };
    reader.pos = end;
  }
}

/** The last field of that number that carries bytes. */
export function bytesField(message: Uint8Array, number: number, where: string): Uint8Array | undefined {
  let found: Uint8Array | undefined;
  for (const field of fieldsOf(message, where)) if (field.number === number && field.wire === LENGTH_DELIMITED) found = field.bytes;
  return found;
}

/** The integers of a field, packed or one by one: at most `limit`. */
export function integersOf(field: Field, limit: number, where: string): number[] {
  if (field.wire === VARINT) return [field.value];
  const reader = new PbfReader(field.bytes);
  const values: number[] = [];
  while (reader.pos < field.bytes.length) {
    if (values.length >= limit) throw damaged(where, `a list has more than ${limit} integers`);
    try {
      values.push(reader.readVarint(true));
    } catch {
      throw damaged(where, 'a number goes on past its end');
    }
  }
  if (reader.pos > field.bytes.length) throw damaged(where, 'a number goes on past its end');
  return values;
}

const decoder = new TextDecoder();

export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** A little-endian number of 4 bytes. */
export function floatOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat32(0, true);
}
