import { readFile } from 'node:fs/promises';
import { PcqatError } from '../errors.js';

/** `ERR_IO` for a file that cannot be read. */
export function unreadable(path: string, cause: unknown): PcqatError {
  const message = `the file cannot be read: ${(cause as Error).message}`;
  return new PcqatError('ERR_IO', message, { where: path, remedy: 'Check the path.', cause });
}

/**
 * The bytes of a file.
 *
 * @throws PcqatError `ERR_IO` when it cannot be read
 */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}
