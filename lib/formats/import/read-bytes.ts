import { readFile } from 'node:fs/promises';
import { PcqatError } from '../../errors.js';

/**
 * The bytes of a model file.
 *
 * @throws PcqatError `ERR_IO` when it cannot be read
 */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new PcqatError('ERR_IO', `the file cannot be read: ${(cause as Error).message}`, {
      where: path,
      remedy: 'Check the path.',
      cause,
    });
  }
}
