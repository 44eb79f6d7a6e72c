import { PcqatError } from '../../errors.js';
import type { H5Dataset } from './hdf5-reader.js';
import type { StoredWeight } from './layer.js';

/** Arrays that layers asked for while the structure was read, and that are read at once afterwards. */
export class PendingArrays {
  readonly #wanted = new Map<string, H5Dataset>();
  readonly #file: string;
  #values: ReadonlyMap<string, Float32Array> = new Map();

  constructor(file: string) {
    this.#file = file;
  }

  /** An array that will be needed. */
  protected want(dataset: H5Dataset): StoredWeight {
    const { path, shape } = dataset;
    this.#wanted.set(path, dataset);
    const read = (): Float32Array => {
      const values = this.#values.get(path);
      if (values !== undefined) return values;
      throw new PcqatError('ERR_INTERNAL', `the array '${path}' was not read`, { where: this.#file });
    };
    return { shape, read };
  }

  /** What layers asked for. */
  get wanted(): readonly H5Dataset[] {
    return [...this.#wanted.values()];
  }

  /** Hands over the values of all that was wanted. */
  provide(values: ReadonlyMap<string, Float32Array>): void {
    this.#values = values;
  }
}
