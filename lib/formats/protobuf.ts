import { PbfReader } from 'pbf';
import type { PcqatError } from '../errors.js';

/** The error of a format for bytes that are none of its messages. */
export type Damaged = (problem: string) => PcqatError;

/** A field of a protobuf message, with its length checked against the bytes that are there. */
export interface Field {
  readonly number: number;
  /** As protobuf numbers them. 0: `value` holds a number; 1, 2, 5: `bytes` holds 8, any number of, or 4 bytes. */
  readonly wire: number;
  /** As signed 64 bits. Beyond 2⁵³ it is rounded. */
  readonly value: number;
  readonly bytes: Uint8Array;
}

const NOTHING = new Uint8Array();
const VARINT = 0;
/** Wire type of strings, bytes, messages and packed lists. */
export const LENGTH_DELIMITED = 2;
const FIXED: Readonly<Record<number, number>> = { 1: 8, 5: 4 };
const LARGEST_NUMBER = 0x1fffffff;
const decoder = new TextDecoder();

/** The fields of a message, one by one; lengths are checked before they are followed, so nothing is read or made beyond the bytes given. */
export function* fieldsOf(message: Uint8Array, damaged: Damaged): Generator<Field> {
  const reader = new PbfReader(message);
  while (reader.pos < message.length) {
    const tag = varint(reader, damaged);
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    if (number < 1 || number > LARGEST_NUMBER) throw damaged(`there is no field ${number}`);
    if (wire === VARINT) {
      yield { number, wire, value: varint(reader, damaged, true), bytes: NOTHING };
      continue;
    }
    const length = wire === LENGTH_DELIMITED ? varint(reader, damaged) : FIXED[wire];
    if (length === undefined) throw damaged(`field ${number} has the wire type ${wire}`);
    const end = reader.pos + length;
    if (!(end <= message.length)) throw damaged(`field ${number} has ${length} bytes and goes on past the end`);
    yield { number, wire, value: 0, bytes: message.subarray(reader.pos, end) };
    reader.pos = end;
  }
}

function varint(reader: PbfReader, damaged: Damaged, isSigned = false): number {
  const { length } = reader.buf;
  // The last byte of a varint has no continuation bit; pbf does not look where the bytes end.
  let end = reader.pos;
  while (end < length && (reader.buf[end] ?? 0) > 0x7f) end++;
  if (end >= length || end - reader.pos > 9) throw damaged(`there is no number at byte ${reader.pos}`);
  const value = reader.readVarint(isSigned);
  reader.pos = end + 1;
  return value;
}

/** The integers of a field, packed or one by one. */
export function* integersIn({ wire, value, bytes }: Field, damaged: Damaged): Generator<number> {
  if (wire === VARINT) yield value;
  const reader = new PbfReader(bytes);
  while (reader.pos < bytes.length) yield varint(reader, damaged, true);
}

export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}
