import { PcqatError } from '../../errors.js';
import * as protobuf from '../protobuf.js';
import { type Field, LENGTH_DELIMITED } from '../protobuf.js';

export function damaged(where: string, problem: string): PcqatError {
  return new PcqatError('ERR_FORMAT', `it is no valid frozen TensorFlow graph: ${problem}`, {
    where,
    remedy: 'Check that the file is complete and was written as a binary GraphDef.',
  });
}

/** The fields of a message, one by one. @throws PcqatError `ERR_FORMAT` */
export function fieldsOf(message: Uint8Array, where: string): Generator<Field> {
  return protobuf.fieldsOf(message, (problem) => damaged(where, problem));
}

/** The last field of that number that carries bytes. */
export function bytesField(message: Uint8Array, number: number, where: string): Uint8Array | undefined {
  let found: Uint8Array | undefined;
  for (const field of fieldsOf(message, where)) if (field.number === number && field.wire === LENGTH_DELIMITED) found = field.bytes;
  return found;
}

/** The integers of a field, packed or one by one: at most `limit`. */
export function integersOf(field: Field, limit: number, where: string): number[] {
  const values: number[] = [];
  for (const value of protobuf.integersIn(field, (problem) => damaged(where, problem))) {
    // A field that is not packed has one.
    if (values.length >= limit && field.wire !== 0) throw damaged(where, `a list has more than ${limit} integers`);
    values.push(value);
  }
  return values;
}

/** A little-endian number of 4 bytes. */
export function floatOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat32(0, true);
}
