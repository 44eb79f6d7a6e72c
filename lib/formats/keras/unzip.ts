import { Unzip, UnzipInflate } from 'fflate';
import { PcqatError } from '../../errors.js';

/** What is inflated at a time: at most about a thousand times as much comes out. */
const PIECE = 16 * 1024;

/**
 * Files from a zip archive, by name. What comes out is counted while it comes, so an archive that claims too little stops early.
 *
 * @param limits - the files to take, with the most bytes that each may have; others are skipped
 * @throws PcqatError `ERR_FORMAT` for a damaged archive, or one that unpacks to more than its limit
 */
export function unzip(bytes: Uint8Array, limits: ReadonlyMap<string, number>, where: string): ReadonlyMap<string, Uint8Array> {
  const parts = new Map<string, Uint8Array[]>();
  const finished = new Set<string>();
  const fail = (message: string): never => {
    throw new PcqatError('ERR_FORMAT', message, { where, remedy: 'The file is damaged; save the model again.' });
  };
  const archive = new Unzip((file) => {
    const limit = limits.get(file.name);
    if (limit === undefined) return;
    if (parts.has(file.name)) fail(`the archive has two files '${file.name}'`);
    const chunks: Uint8Array[] = [];
    parts.set(file.name, chunks);
    const declared = file.originalSize;
    if ((declared ?? 0) > limit) fail(`'${file.name}' would unpack to ${declared} bytes`);
    let size = 0;
    file.ondata = (error, chunk, final) => {
      if (error !== null) throw error;
      size += chunk.length;
      if (size > Math.min(declared ?? limit, limit)) fail(`'${file.name}' unpacks to more than its ${declared ?? limit} bytes`);
      chunks.push(chunk);
      if (!final) return;
      if (declared !== undefined && declared !== size) fail(`'${file.name}' unpacks to ${size} bytes and not ${declared}`);
      finished.add(file.name);
    };
    file.start();
  });
  archive.register(UnzipInflate);
  try {
    for (let start = 0; start < bytes.length; start += PIECE)
      archive.push(bytes.subarray(start, start + PIECE), start + PIECE >= bytes.length);
  } catch (cause) {
    if (cause instanceof PcqatError) throw cause;
    throw new PcqatError('ERR_FORMAT', `the archive cannot be unpacked: ${(cause as Error).message}`, { where, cause });
  }
  const torn = [...parts.keys()].find((name) => !finished.has(name));
  if (torn !== undefined) fail(`'${torn}' is cut off`);
  return new Map(Array.from(parts, ([name, chunks]) => [name, joined(chunks)]));
}

function joined(chunks: Uint8Array[]): Uint8Array {
  const result = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    result.set(chunk, offset);
    offset += chunk.length;
  }
  return result;
}
