import path from 'node:path';
import { PcqatError } from '../errors.js';
import { arrayDataset } from './arrays.js';
import { listFolder, readBytes } from './files.js';
import { holdOut } from './split.js';
import type { Dataset, DatasetSplits } from './types.js';

/** What {@link loadCifar} takes. */
export interface CifarOptions {
  /** Folder with `data_batch_….bin` (or `train.bin`) and `test_batch.bin` (or `test.bin`), gzip or not. */
  readonly path: string;
  /** Examples taken from the end of the training files. Default: a tenth. */
  readonly validation?: number;
}

const CLASSES = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];
const SIDE = 32;
const PIXELS = SIDE * SIDE;
const CHANNELS = 3;
const RECORD_BYTES = 1 + CHANNELS * PIXELS;
const CREDIT =
  'CIFAR-10 by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton ("Learning Multiple Layers of Features from Tiny Images", 2009).';

/**
 * Decodes records of CIFAR-10's binary version: a label byte, then 1,024 red, green and blue bytes. The result has `[32, 32, 3]` features
 * in [0, 1].
 *
 * @throws PcqatError `ERR_FORMAT` when the length is no multiple of 3,073; `ERR_EMPTY_DATA`; `ERR_LABEL_RANGE` for a label above 9.
 *
 * @example
 * ```ts
 * import { readCifar } from 'pcqat';
 * console.log(readCifar(new Uint8Array(3073)).inputShape); // [ 32, 32, 3 ]
 * ```
 */
export function readCifar(bytes: Uint8Array, name = 'cifar10'): Dataset {
  if (bytes.length % RECORD_BYTES !== 0) {
    throw new PcqatError('ERR_FORMAT', `${bytes.length} bytes are no whole number of CIFAR-10 records of ${RECORD_BYTES} bytes`, {
      where: name,
    });
  }
  const size = bytes.length / RECORD_BYTES;
  const x = new Float32Array(size * PIXELS * CHANNELS);
  const y = new Int32Array(size);
  for (let record = 0, out = 0; record < size; record++) {
    const start = record * RECORD_BYTES;
    y[record] = bytes[start] as number;
    for (let pixel = 0; pixel < PIXELS; pixel++) {
      for (let channel = 0; channel < CHANNELS; channel++) x[out++] = (bytes[start + 1 + channel * PIXELS + pixel] as number) / 255;
    }
  }
  return arrayDataset({ name, x, y, inputShape: [SIDE, SIDE, CHANNELS], classes: CLASSES.length, labelNames: CLASSES });
}

/**
 * CIFAR-10 from the files of its binary version.
 *
 * @throws PcqatError as {@link readCifar}; `ERR_IO` for a missing file; `ERR_OPTION` for a bad `validation`.
 *
 * @example
 * ```ts
 * import { loadCifar } from 'pcqat';
 * const load = async () => (await loadCifar({ path: 'data/cifar-10-batches-bin' })).train.size;
 * console.log(typeof load);
 * ```
 */
export async function loadCifar(options: CifarOptions): Promise<DatasetSplits> {
  const { path: folder } = options;
  const files = await listFolder(folder);
  const read = async (pattern: RegExp, label: string): Promise<Dataset> => {
    const found = files.filter((file) => pattern.test(file));
    if (found.length === 0) throw new PcqatError('ERR_IO', `there is no file of ${label} records`, { where: folder });
    const parts = await Promise.all(found.map((file) => readBytes(path.join(folder, file))));
    return readCifar(Buffer.concat(parts), `cifar10 ${label}`);
  };
  const test = await read(/^test(_batch)?\.bin(\.gz)?$/, 'test');
  const train = await read(/^(data_batch_\d+|train)\.bin(\.gz)?$/, 'train');
  return { ...holdOut(train, options.validation ?? Math.floor(train.size / 10)), test, credit: CREDIT };
}
