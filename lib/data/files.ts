import { readdir, readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { PcqatError } from '../errors.js';

/** No data set read into memory is larger than this, whatever a compressed file claims. */
const MAX_UNPACKED_BYTES = 2 ** 31 - 1;

/** Bytes of a file, unpacked when it is gzip. */
export async function readBytes(file: string): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    throw readError(file, cause);
  }
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzip(bytes, file) : bytes;
}

/** Names in a folder, sorted, so that nothing depends on the order of the file system. */
export async function listFolder(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (cause) {
    throw readError(folder, cause);
  }
}

/** The value of a JSON file. */
export async function readJson(file: string): Promise<unknown> {
  const text = new TextDecoder().decode(await readBytes(file));
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new PcqatError('ERR_FORMAT', 'the file is not JSON', { where: file, cause });
  }
}

function gunzip(bytes: Uint8Array, where: string): Uint8Array {
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED_BYTES });
  } catch (cause) {
    throw new PcqatError('ERR_FORMAT', 'the gzip data is damaged or truncated', {
      where,
      remedy: 'Download or copy the file again.',
      cause,
    });
  }
}

function readError(where: string, cause: unknown): PcqatError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new PcqatError('ERR_IO', `cannot be read: ${reason}`, { where, remedy: 'Check the path.', cause });
}
