import { closeSync, fstatSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { PcqatError } from '../../errors.js';
import { malformed } from './wire.js';

/** Reads tensor data that lies in files beside a model. */
export interface ExternalFiles {
  /** The model file, for errors. */
  readonly where: string;
  /**
   * @param entries - `location`, `offset` and `length` as the model has them
   * @param bytes - how many there must be
   */
  read(entries: ReadonlyMap<string, string>, bytes: number, place: string): Uint8Array;
}

/** Files in the folder of the model at `file`, or below it: a model must not make us read others. */
export function filesBeside(file: string): ExternalFiles {
  return {
    where: file,
    read(entries, bytes, place) {
      const located = locate(path.dirname(file), entries.get('location') ?? '', place);
      const offset = whole(entries.get('offset') ?? '0', 'offset', place);
      const length = entries.has('length') ? whole(entries.get('length') ?? '', 'length', place) : bytes;
      if (length !== bytes) throw malformed(place, `it has ${length} bytes of data and not ${bytes}`);
      const handle = opened(located, place);
      try {
        const { size } = fstatSync(handle);
        if (offset + length > size) throw malformed(place, `its data end at byte ${offset + length} of a file of ${size} bytes`);
        const data = new Uint8Array(length);
        let done = 0;
        while (done < length) {
          const count = readSync(handle, data, done, length - done, offset + done);
          if (count === 0) throw malformed(place, 'the file with its data became shorter');
          done += count;
        }
        return data;
      } finally {
        closeSync(handle);
      }
    },
  };
}

/** No files: for bytes that come from nowhere. */
export function noFiles(where: string): ExternalFiles {
  return {
    where,
    read(_entries, _bytes, place) {
      throw new PcqatError('ERR_UNSUPPORTED', 'its data lie in another file', { where: place, remedy: 'Read the model by its path.' });
    },
  };
}

function opened(file: string, place: string): number {
  try {
    if (!statSync(file).isFile()) throw new Error('it is no file');
    return openSync(file, 'r');
  } catch (cause) {
    throw unreadable(path.basename(file), place, cause);
  }
}

function unreadable(name: string, place: string, cause: unknown): PcqatError {
  return new PcqatError('ERR_IO', `the file '${name}' with its data cannot be read: ${(cause as Error).message}`, {
    where: place,
    remedy: 'Put the data file beside the model.',
    cause,
  });
}

function locate(folder: string, location: string, place: string): string {
  const outside = (): PcqatError =>
    new PcqatError('ERR_FORMAT', `its data lie in '${location}', outside of the model's folder`, {
      where: place,
      remedy: 'Put the data file beside the model.',
    });
  if (location === '' || location.includes('\0')) throw malformed(place, 'the file with its data has no name');
  const wanted = path.resolve(folder, location);
  if (path.isAbsolute(location) || !isInside(path.resolve(folder), wanted)) throw outside();
  try {
    // A link must not lead out of the folder either.
    const real = realpathSync(wanted);
    if (!isInside(realpathSync(folder), real)) throw outside();
    return real;
  } catch (cause) {
    if (cause instanceof PcqatError) throw cause;
    throw unreadable(location, place, cause);
  }
}

function isInside(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative !== '' && relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

function whole(text: string, what: string, place: string): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) throw malformed(place, `its ${what} is '${text.slice(0, 40)}'`);
  return value;
}
