import path from 'node:path';
import { PcqatError } from '../errors.js';
import { arrayDataset } from './arrays.js';
import { listFolder, readBytes } from './files.js';
import { holdOut } from './split.js';
import type { Dataset, DatasetSplits } from './types.js';

/** An array of an IDX file. */
export interface IdxArray {
  readonly shape: readonly number[];
  /** Values in the numbers' own range. Integers are exact. */
  readonly data: Uint8Array | Float64Array;
}

/** What {@link loadIdx} takes. */
export interface IdxOptions {
  /** Folder with `train-images…`, `train-labels…`, `t10k-images…` (or `test-…`) and `t10k-labels…`, gzip or not. */
  readonly path: string;
  /** For messages and reports. Default: the name of the folder. */
  readonly name?: string;
  /** Examples taken from the end of the training file. Default: a twelfth (5,000 of MNIST's 60,000). */
  readonly validation?: number;
  /** A name for each class. */
  readonly labelNames?: readonly string[];
  /** Licence and credit. Default empty. */
  readonly credit?: string;
}

type ReadValue = readonly [bytes: number, read: (view: DataView, offset: number) => number];

/** By the third byte of the file; big-endian. */
const VALUE_TYPES: Readonly<Record<number, ReadValue>> = {
  0x09: [1, (view, offset) => view.getInt8(offset)],
  0x0b: [2, (view, offset) => view.getInt16(offset)],
  0x0c: [4, (view, offset) => view.getInt32(offset)],
  0x0d: [4, (view, offset) => view.getFloat32(offset)],
  0x0e: [8, (view, offset) => view.getFloat64(offset)],
};
const UNSIGNED_BYTES = 0x08;

/**
 * Reads an array in the IDX format of MNIST.
 *
 * @param bytes The whole file, unpacked.
 * @param where For messages, e.g. the path.
 * @throws PcqatError `ERR_FORMAT` for a wrong magic number, type or length: the file must be exactly as long as its header says.
 *
 * @example
 * ```ts
 * import { readIdx } from 'pcqat';
 * const labels = readIdx(Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 2, 7, 3));
 * console.log(labels.shape, labels.data); // [ 2 ] Uint8Array [ 7, 3 ]
 * ```
 */
export function readIdx(bytes: Uint8Array, where = 'IDX'): IdxArray {
  const [zero, alsoZero, type, rank] = bytes;
  if (zero !== 0 || alsoZero !== 0 || type === undefined || rank === undefined || rank === 0)
    throw damaged('it does not start as IDX does', where);
  const header = 4 + 4 * rank;
  if (bytes.length < header) throw damaged('the header is cut off', where);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  const values = VALUE_TYPES[type];
  if (values === undefined && type !== UNSIGNED_BYTES) throw damaged(`type ${type} is unknown`, where);
  const width = values?.[0] ?? 1;
  const count = shape.reduce((product, dimension) => product * dimension, 1);
  if (header + count * width !== bytes.length) {
    throw damaged(`shape [${shape.join(', ')}] needs ${header + count * width} bytes, the file has ${bytes.length}`, where);
  }
  if (values === undefined) return { shape, data: bytes.subarray(header) };
  return { shape, data: Float64Array.from({ length: count }, (_, i) => values[1](view, header + i * width)) };
}

/**
 * A data set in MNIST's files (MNIST, Fashion-MNIST, EMNIST…): bytes become `[height, width, 1]` features in [0, 1].
 *
 * @throws PcqatError `ERR_IO` for a file that is missing; `ERR_FORMAT` for a damaged one; `ERR_SHAPE` when images and labels do not fit;
 *   `ERR_OPTION` for a bad `validation`.
 *
 * @example
 * ```ts
 * import { loadIdx } from 'pcqat';
 * async function fashion() {
 *   const { train, validation, test } = await loadIdx({ path: 'data/fashion-mnist' });
 *   return [train.size, validation.size, test.size]; // 55000, 5000, 10000
 * }
 * console.log(typeof fashion);
 * ```
 */
export async function loadIdx(options: IdxOptions): Promise<DatasetSplits> {
  const { path: folder, name = path.basename(folder), credit = '' } = options;
  const files = await listFolder(folder);
  const read = async (part: RegExp, label: string) => {
    const find = (kind: string): string => {
      const file = files.find((candidate) => part.test(candidate) && candidate.includes(kind) && /ubyte(\.gz)?$/.test(candidate));
      if (file !== undefined) return path.join(folder, file);
      throw new PcqatError(
        'ERR_IO',
        `there is no file of ${label} ${kind}, e.g. ${label === 'test' ? 't10k' : label}-${kind}-idx…-ubyte.gz`,
        {
          where: folder,
        },
      );
    };
    return readExamples(find('images'), find('labels'), `${name} ${label}`, options.labelNames);
  };
  const test = await read(/^(t10k|test)/, 'test');
  const train = await read(/^train/, 'train');
  return { ...holdOut(train, options.validation ?? Math.floor(train.size / 12)), test, credit };
}

async function readExamples(
  imageFile: string,
  labelFile: string,
  name: string,
  labelNames: readonly string[] | undefined,
): Promise<Dataset> {
  const images = readIdx(await readBytes(imageFile), imageFile);
  const labels = readIdx(await readBytes(labelFile), labelFile);
  const [examples, height, width] = images.shape;
  if (height === undefined || width === undefined || images.shape.length !== 3 || !(images.data instanceof Uint8Array)) {
    throw damaged(`images must be bytes of rank 3, not [${images.shape.join(', ')}]`, imageFile);
  }
  if (labels.shape.length !== 1 || labels.shape[0] !== examples) {
    throw new PcqatError('ERR_SHAPE', `there are ${examples} images but labels of shape [${labels.shape.join(', ')}]`, {
      where: labelFile,
    });
  }
  if (images.data.length === 0) throw new PcqatError('ERR_EMPTY_DATA', 'there are no images', { where: imageFile });
  const x = Float32Array.from(images.data, (value) => value / 255);
  const named = labelNames === undefined ? {} : { labelNames, classes: labelNames.length };
  return arrayDataset({ name, x, y: Int32Array.from(labels.data), inputShape: [height, width, 1], ...named });
}

function damaged(what: string, where: string): PcqatError {
  return new PcqatError('ERR_FORMAT', `the IDX data is damaged: ${what}`, { where });
}
