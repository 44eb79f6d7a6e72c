import type * as H5wasm from 'h5wasm';

/** A group of an HDF5 file with the attributes that Keras puts on groups. */
export interface H5Group {
  readonly path: string;
  /** Keras 2's and 3's `.h5`: datasets of a layer below its group, in order. */
  readonly weightNames?: readonly string[];
  /** Keras 3's weights files: the layer that the variables belong to. */
  readonly name?: string;
}

/** A dataset of numbers. */
export interface H5Dataset {
  readonly path: string;
  readonly shape: readonly number[];
  readonly dtype: 'float16' | 'float32' | 'float64' | 'other';
  readonly bytes: number;
}

/** The structure of a file below chosen groups. */
export interface H5Tree {
  /** Attributes of the root that are texts. */
  readonly attributes: ReadonlyMap<string, string>;
  /** Names in the root. */
  readonly root: readonly string[];
  readonly groups: readonly H5Group[];
  readonly datasets: readonly H5Dataset[];
}

const MAX_OBJECTS = 200_000;
const MAX_DEPTH = 64;
const FILE = '/model.h5';

/** An open file. Runs where h5wasm runs: in a worker, since a hostile file can make the HDF5 library loop or fail anywhere. */
export class H5Reader {
  readonly #library: typeof H5wasm;
  readonly #file: H5wasm.File;

  /** h5wasm's files are in its own memory; there is no way from it to the disk. */
  constructor(library: typeof H5wasm, bytes: Uint8Array) {
    this.#library = library;
    const files = library.FS;
    if (files === null || files === undefined) throw new Error('h5wasm is not ready');
    files.writeFile(FILE, bytes, { canOwn: true } as never);
    this.#file = new library.File(FILE, 'r');
  }

  /** @param roots - names in the root below which groups and datasets are listed */
  tree(roots: readonly string[]): H5Tree {
    const attributes = new Map<string, string>();
    for (const name of this.#attributeNames('/')) {
      const value = this.#attribute('/', name);
      if (typeof value === 'string') attributes.set(name, value);
    }
    const root = this.#file.keys();
    const groups: H5Group[] = [];
    const datasets: H5Dataset[] = [];
    const queue = roots.filter((name) => root.includes(name)).map((name) => ({ path: `/${name}`, depth: 0 }));
    for (let entry = queue.shift(); entry !== undefined; entry = queue.pop()) {
      if (groups.length + datasets.length + queue.length > MAX_OBJECTS || entry.depth > MAX_DEPTH)
        throw new Error('the file has too many groups');
      const object = this.#file.get(entry.path);
      if (object instanceof this.#library.Dataset) {
        datasets.push(describe(object, this.#library, entry.path));
      } else if (object instanceof this.#library.Group) {
        groups.push(this.#group(entry.path));
        for (const key of object.keys()) queue.push({ path: `${entry.path}/${key}`, depth: entry.depth + 1 });
      }
    }
    return { attributes, root, groups, datasets };
  }

  /** Values of datasets, as the bytes of their type, little endian. */
  read(datasets: readonly H5Dataset[]): Uint8Array[] {
    const module = this.#library.Module as unknown as HeapModule;
    return datasets.map(({ path, bytes }) => {
      const start = module._malloc(Math.max(bytes, 1));
      if (start === 0) throw new Error('there is no memory for it');
      try {
        module.get_dataset_data(this.#file.file_id, path, null, null, null, BigInt(start));
        return module.HEAPU8.slice(start, start + bytes);
      } finally {
        module._free(start);
      }
    });
  }

  close(): void {
    this.#file.close();
    this.#library.FS?.unlink(FILE);
  }

  #group(path: string): H5Group {
    const names = this.#attributeNames(path);
    const name = names.includes('name') ? this.#attribute(path, 'name') : undefined;
    // A list that is too long for one attribute lies in weight_names0, weight_names1 and so on.
    const keys = names.includes('weight_names') ? ['weight_names'] : names.filter((key) => /^weight_names\d+$/.test(key)).sort(byNumber);
    const weightNames = keys.flatMap((key) => this.#attribute(path, key)).filter((value) => typeof value === 'string');
    return { path, ...(typeof name === 'string' ? { name } : {}), ...(keys.length === 0 ? {} : { weightNames }) };
  }

  #attributeNames(path: string): string[] {
    return this.#library.Module.get_attribute_names(this.#file.file_id, path);
  }

  #attribute(path: string, name: string): unknown {
    return new this.#library.Attribute(this.#file.file_id, path, name).value;
  }
}

interface HeapModule {
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  get_dataset_data(file: bigint, path: string, count: null, offset: null, strides: null, target: bigint): number;
}

function byNumber(a: string, b: string): number {
  return Number(a.slice('weight_names'.length)) - Number(b.slice('weight_names'.length));
}

function describe(dataset: H5wasm.Dataset, library: typeof H5wasm, path: string): H5Dataset {
  const { type, size, shape, total_size: elements, vlen } = dataset.metadata;
  const isFloat = type === library.Module.H5T_class_t.H5T_FLOAT.value && !vlen;
  const dtype = !isFloat ? 'other' : size === 4 ? 'float32' : size === 8 ? 'float64' : size === 2 ? 'float16' : 'other';
  return { path, shape: (shape ?? []).map(Number), dtype, bytes: shape === null ? 0 : Number(elements) * Number(size) };
}
