import { PcqatError } from '../../errors.js';

/** Allowance for files of a few hundred bytes. */
const BASE_BUDGET = 2 ** 24;

/**
 * Bounds what is decoded from a file in all: a few bytes may stand for many values, and many nodes may share one constant, but no file may
 * take much more memory than it has bytes.
 */
export class ReadBudget {
  #bytes: number;
  readonly #file: string;

  /** @param factor - bytes that may be decoded per byte of the file */
  constructor(file: string, fileBytes: number, factor: number) {
    this.#file = file;
    this.#bytes = factor * fileBytes + BASE_BUDGET;
  }

  /** @throws PcqatError `ERR_FORMAT` when nothing is left */
  charge(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#bytes >= 0) return;
    throw new PcqatError('ERR_FORMAT', 'its constants are much larger than the file', {
      where: this.#file,
      remedy: 'Check that the file is no damaged or hostile one.',
    });
  }
}
