import { PbfReader } from 'pbf';
import { PcqatError } from '../../errors.js';

/** One field of a protobuf message, with its length checked against the bytes that are there. */
export interface WireField {
  /** As protobuf numbers them: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. */
  readonly type: number;
  /** Value of a varint, as signed 64 bits. Beyond 2⁵³ it is rounded. */
  readonly integer: number;
  /** A view of the payload; of a varint, of its bytes. */
  readonly bytes: Uint8Array;
}

const FIXED: Readonly<Record<number, number>> = { 1: 8, 5: 4 };
const decoder = new TextDecoder();

export function malformed(place: string, problem: string): PcqatError {
  return new PcqatError('ERR_FORMAT', problem, { where: place, remedy: 'The file is damaged or no ONNX file.' });
}

/**
 * Calls `visit` for every field of a message.
 *
 * @param place - what the message is, for errors
 * @throws PcqatError `ERR_FORMAT` when the bytes are no message
 */
export function readFields(bytes: Uint8Array, place: string, visit: (field: number, value: WireField) => void): void {
  const reader = new PbfReader(bytes);
  while (reader.pos < bytes.length) {
    const tag = varint(reader, place);
    const [field, type] = [Math.floor(tag / 8), tag % 8];
    if (field < 1 || field > 0x1fffffff) throw malformed(place, `there is no field ${field}`);
    const start = reader.pos;
    if (type === 0) {
      const integer = varint(reader, place, true);
      visit(field, { type, integer, bytes: bytes.subarray(start, reader.pos) });
      continue;
    }
    const length = type === 2 ? varint(reader, place) : FIXED[type];
    if (length === undefined) throw malformed(place, `field ${field} has the wire type ${type}`);
    const end = reader.pos + length;
    if (!(end <= bytes.length)) throw malformed(place, `field ${field} has ${length} bytes, but ${bytes.length - reader.pos} are left`);
    visit(field, { type, integer: 0, bytes: bytes.subarray(reader.pos, end) });
    reader.pos = end;
  }
}

function varint(reader: PbfReader, place: string, isSigned = false): number {
  const { length } = reader.buf;
  // The last byte of a varint has no continuation bit; pbf does not look where the bytes end.
  let end = reader.pos;
  while (end < length && (reader.buf[end] ?? 0) > 0x7f) end++;
  if (end >= length || end - reader.pos > 9) throw malformed(place, `there is no number at byte ${reader.pos}`);
  const value = reader.readVarint(isSigned);
  reader.pos = end + 1;
  return value;
}

/** A string field. */
export function text({ bytes }: WireField): string {
  return decoder.decode(bytes);
}

/** Values of a repeated integer field, packed or one by one. */
export function forEachInteger({ type, integer, bytes }: WireField, place: string, visit: (value: number) => void): void {
  if (type === 0) return visit(integer);
  const reader = new PbfReader(bytes);
  while (reader.pos < bytes.length) visit(varint(reader, place, true));
}

/** Values of a repeated float (or double) field, packed or one by one. */
export function forEachFloat({ type, bytes }: WireField, place: string, visit: (value: number) => void, width: 4 | 8 = 4): void {
  if (type === 0 || bytes.length % width !== 0) throw malformed(place, 'a list of numbers has a wrong length');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < bytes.length; i += width) visit(width === 4 ? view.getFloat32(i, true) : view.getFloat64(i, true));
}
