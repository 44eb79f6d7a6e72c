import { PcqatError } from '../../errors.js';
import { readBytes } from '../read-bytes.js';
import type { Assembled, ImportFormat, ImportOptions } from '../import/types.js';
import { assembleConfig } from './config.js';
import { H5_ROOT, H5Weights } from './h5-weights.js';
import { openHdf5 } from './hdf5.js';
import type { H5Tree } from './hdf5-reader.js';
import { type JsonObject, parseJson } from './json.js';
import { KERAS3_ROOTS, Keras3Weights } from './keras3-weights.js';
import type { WeightStore } from './layer.js';
import type { PendingArrays } from './pending.js';
import { unzip } from './unzip.js';

const CONFIG = 'config.json';
const WEIGHTS = 'model.weights.h5';

/** How large the parts of an archive may be: no archive of weights is much smaller than what is in it. Parsed JSON takes ten times its text. */
function limitsOf(size: number): ReadonlyMap<string, number> {
  return new Map([
    [CONFIG, Math.max(size, 2 ** 22)],
    [WEIGHTS, Math.max(4 * size, 2 ** 26)],
  ]);
}

/**
 * Reads a Keras model: a whole-model `.h5` file, or a `.keras` archive. HDF5 is read by the optional peer `h5wasm`.
 *
 * @throws PcqatError `ERR_MISSING_PEER` without h5wasm; `ERR_IO`, `ERR_FORMAT`, `ERR_UNSUPPORTED` for files that are missing, damaged or of a
 *   kind that does not hold a network
 */
export async function assembleKeras(path: string, options: ImportOptions): Promise<Assembled> {
  return assembleKerasBytes(await readBytes(path), path, options);
}

/**
 * The same from the bytes of a file, which the caller must not use afterwards.
 *
 * @param open - reads HDF5; tests have another
 */
export async function assembleKerasBytes(bytes: Uint8Array, where: string, options: ImportOptions, open = openHdf5): Promise<Assembled> {
  const isArchive = bytes[0] === 0x50; // PK
  return isArchive ? assembleArchive(bytes, { where, options, open }) : assembleH5(bytes, { where, options, open });
}

interface Source {
  readonly where: string;
  readonly options: ImportOptions;
  readonly open: typeof openHdf5;
}

function assembleH5(bytes: Uint8Array, source: Source): Promise<Assembled> {
  const { where } = source;
  return assemble(bytes, source, { format: 'keras-h5', roots: [H5_ROOT] }, (tree) => ({
    config: parseJson(tree.attributes.get('model_config') ?? noConfig(tree, where), `${where}, model_config`),
    store: new H5Weights(tree, where),
  }));
}

/** @throws PcqatError always: says which other kind of HDF5 file it is */
function noConfig(tree: H5Tree, where: string): never {
  const weightsOnly = tree.attributes.has('keras_version') || [...KERAS3_ROOTS, 'vars'].some((name) => tree.root.includes(name));
  throw new PcqatError(
    'ERR_FORMAT',
    weightsOnly ? 'the file has weights only, without the network' : 'the file is HDF5, but no Keras model',
    {
      where,
      remedy: 'Save the whole model with model.save, not save_weights.',
    },
  );
}

function assembleArchive(bytes: Uint8Array, source: Source): Promise<Assembled> {
  const { where } = source;
  const files = unzip(bytes, limitsOf(bytes.length), where);
  const [config, weights] = [files.get(CONFIG), files.get(WEIGHTS)];
  if (config === undefined || weights === undefined) {
    throw new PcqatError('ERR_FORMAT', `the archive has no ${config === undefined ? CONFIG : WEIGHTS}`, {
      where,
      remedy: "Save the model with model.save('name.keras').",
    });
  }
  const model = parseJson(new TextDecoder().decode(config), `${where}, ${CONFIG}`);
  return assemble(weights, source, { format: 'keras', roots: KERAS3_ROOTS }, (tree) => ({
    config: model,
    store: new Keras3Weights(tree, where),
  }));
}

/** Reads the structure first; arrays only of layers that are taken, and only if all are. */
async function assemble(
  bytes: Uint8Array,
  { where, options, open }: Source,
  { format, roots }: { readonly format: ImportFormat; readonly roots: readonly string[] },
  parse: (tree: H5Tree) => { readonly config: JsonObject; readonly store: PendingArrays & WeightStore },
): Promise<Assembled> {
  const file = await open(bytes, where, { roots });
  try {
    const { config, store } = parse(file.tree);
    const assembled = assembleConfig(config, { format, where, store }, options);
    if (assembled.assembler.complete) store.provide(await file.read(store.wanted));
    return assembled;
  } finally {
    await file.close();
  }
}
