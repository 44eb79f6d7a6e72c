import { PcqatError } from '../../errors.js';
import { type Field, fieldsOf, integersIn, textOf } from '../protobuf.js';

export function malformed(place: string, problem: string): PcqatError {
  return new PcqatError('ERR_FORMAT', problem, { where: place, remedy: 'The file is damaged or no ONNX file.' });
}

/**
 * Calls `visit` for every field of a message.
 *
 * @param place - what the message is, for errors
 * @throws PcqatError `ERR_FORMAT` when the bytes are no message
 */
export function readFields(bytes: Uint8Array, place: string, visit: (field: number, value: Field) => void): void {
  for (const field of fieldsOf(bytes, (problem) => malformed(place, problem))) visit(field.number, field);
}

/** A string field. */
export function text({ bytes }: Field): string {
  return textOf(bytes);
}

/** Values of a repeated integer field, packed or one by one. */
export function forEachInteger(field: Field, place: string, visit: (value: number) => void): void {
  for (const value of integersIn(field, (problem) => malformed(place, problem))) visit(value);
}

/** Values of a repeated float (or double) field, packed or one by one. */
export function forEachFloat({ wire, bytes }: Field, place: string, visit: (value: number) => void, width: 4 | 8 = 4): void {
  if (wire === 0 || bytes.length % width !== 0) throw malformed(place, 'a list of numbers has a wrong length');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < bytes.length; i += width) visit(width === 4 ? view.getFloat32(i, true) : view.getFloat64(i, true));
}
