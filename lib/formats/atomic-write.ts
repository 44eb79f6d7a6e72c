import { open, rename, rm } from 'node:fs/promises';
import { PcqatError } from '../errors.js';

const REMEDIES: Readonly<Record<string, string>> = {
  ENOENT: 'Create the folder first.',
  ENOTDIR: 'A part of the path is a file; choose another path.',
  EACCES: 'Choose a folder you may write to, or change its permissions.',
  EPERM: 'Choose a folder you may write to, or change its permissions.',
  EROFS: 'The file system is read-only; choose another folder.',
  EISDIR: 'The path is a folder; add a file name.',
  ENOSPC: 'The disk is full; free some space.',
  EDQUOT: 'Your disk quota is used up; free some space.',
  EFBIG: 'The limit on file sizes is reached; raise it (ulimit -f).',
};

let counter = 0;

/**
 * Writes a file so that readers see the old content or the new, never a part: to a temporary name in the same folder,
 * synced to disk, then renamed.
 *
 * @throws PcqatError `ERR_IO` with the path and what to do.
 */
export async function atomicWrite(path: string, data: Uint8Array | string): Promise<void> {
  const temporary = `${path}.${process.pid}-${counter++}.tmp`;
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw writeError(path, cause);
  }
}

/** Renames a file within its folder, replacing what is there. @throws PcqatError `ERR_IO` */
export async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (cause) {
    throw writeError(to, cause);
  }
}

function writeError(path: string, cause: unknown): PcqatError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return new PcqatError('ERR_IO', `Cannot write ${path}: ${message}`, {
    where: path,
    remedy: REMEDIES[code ?? ''] ?? 'Check the path.',
    cause,
  });
}
