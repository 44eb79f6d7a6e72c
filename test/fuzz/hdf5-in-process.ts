import type * as H5wasm from 'h5wasm';
import { PcqatError } from '#lib/errors.js';
import { checkDatasets, toFloat32, type Hdf5File, type Hdf5Options } from '#lib/formats/keras/hdf5.js';
import { H5Reader } from '#lib/formats/keras/hdf5-reader.js';

let library: typeof H5wasm | undefined;
let generation = 0;

/** A library that nothing damaged yet. */
async function fresh(): Promise<typeof H5wasm> {
  const module = (await import(`h5wasm?${generation++}`).catch(() => import('h5wasm'))) as typeof H5wasm;
  await module.ready;
  return module;
}

/**
 * What openHdf5 does, without a worker, which takes too long to start for thousands of files. What the library throws is the error that
 * openHdf5 makes of it; what our code throws comes through.
 */
export async function openInProcess(bytes: Uint8Array, where: string, { roots }: Hdf5Options): Promise<Hdf5File> {
  const h5wasm = (library ??= await fresh());
  const size = bytes.length;
  const guarded = <T>(action: () => T): T => {
    try {
      return action();
    } catch (cause) {
      if ((cause as Error).name === 'RuntimeError') library = undefined;
      if (cause instanceof TypeError && !/h5wasm/.test(cause.stack ?? '')) throw cause;
      throw new PcqatError('ERR_FORMAT', 'it cannot be read as HDF5', { where, cause });
    }
  };
  const reader = guarded(() => new H5Reader(h5wasm, bytes.slice()));
  const close = (): Promise<void> => {
    try {
      reader.close();
    } catch {
      library = undefined;
    }
    return Promise.resolve();
  };
  try {
    const tree = guarded(() => reader.tree(roots));
    return {
      tree,
      read: async (datasets) => {
        checkDatasets(datasets, size, where);
        const arrays = guarded(() => reader.read(datasets));
        return new Map(datasets.map((dataset, i) => [dataset.path, toFloat32(dataset, arrays[i]!)]));
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
