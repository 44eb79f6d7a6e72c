import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PcqatError } from '../errors.js';

const io = (message: string, path: string, cause: unknown, remedy: string): PcqatError =>
  new PcqatError('ERR_IO', `${message}: ${(cause as Error).message}`, { where: path, remedy, cause });

/** Makes a folder and proves that files can be written there. */
export async function ensureWritableFolder(path: string): Promise<void> {
  const probe = join(path, `.${randomUUID()}.tmp`);
  try {
    await mkdir(path, { recursive: true });
    const file = await open(probe, 'wx');
    await file.close();
  } catch (cause) {
    throw io('the output folder cannot be written', path, cause, 'Name another folder or change its permissions.');
  } finally {
    await rm(probe, { force: true }).catch(() => undefined);
  }
}

/** Text of a file, or `undefined` where there is none. */
export async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw io('the file cannot be read', path, cause, 'Check its permissions.');
  }
}
