import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { datasetNames, loadDataset } from '../data/registry.js';
import type { Dataset, DatasetSplits } from '../data/types.js';
import { PcqatError } from '../errors.js';
import { loadRecipeData, sample, withPixels } from './data.js';
import { readRecipe } from './parse.js';

/** Parts of a data set. */
export const SPLITS = ['test', 'validation', 'train'] as const;

/** Which examples of which data. */
export interface DataChoice {
  /**
   * A recipe file, whose `data` section is used; a name that recipes know, perhaps with the folder behind it (`cifar10:data/cifar`); or a
   * folder of IDX, CIFAR-10 or, in one folder per class, WAV files.
   */
  readonly data: string;
  /** Default `test`. */
  readonly split?: (typeof SPLITS)[number];
  /** Features of WAV files. */
  readonly features?: string;
  /** What black and white pixels become; default 0 and 1. */
  readonly pixels?: readonly [number, number];
  /** Only so many examples, chosen as recipes do. */
  readonly limit?: number;
}

/** Data sets whose examples are pixels. */
const IMAGES: readonly string[] = ['mnist', 'fashion-mnist', 'idx', 'cifar10'];

/** What kind of data a folder holds, by the names of its files. */
async function kindOfFolder(folder: string): Promise<string> {
  const names = await readdir(folder);
  if (names.some((name) => /^(t10k|test).*ubyte(\.gz)?$/.test(name))) return 'idx';
  if (names.some((name) => /^test(_batch)?\.bin(\.gz)?$/.test(name))) return 'cifar10';
  for (const name of names) {
    const inside = await readdir(path.join(folder, name)).catch(() => []);
    if (inside.some((file) => /\.wav$/i.test(file))) return 'wav-folder';
  }
  throw new PcqatError('ERR_FORMAT', 'the folder holds no data that pcqat knows', {
    where: folder,
    remedy: 'Known are IDX files (MNIST), CIFAR-10 in its binary version, and one folder of .wav files per class.',
  });
}

async function loadSplits({ data, features, pixels }: DataChoice): Promise<DatasetSplits> {
  const found = await stat(data).catch(() => undefined);
  if (found?.isFile()) {
    if (pixels !== undefined || features !== undefined) {
      throw new PcqatError('ERR_OPTION', 'a recipe says itself what its data are', {
        where: data,
        remedy: 'Leave out --pixels and --features.',
      });
    }
    return loadRecipeData(await readRecipe(data));
  }
  const [given = '', ...behind] = data.split(':');
  // A folder that has the name of a data set is meant with ./ before it.
  const isName = datasetNames.includes(given);
  if (!isName && !found?.isDirectory()) {
    throw new PcqatError('ERR_OPTION', `there is no data '${data}'`, {
      where: 'data',
      remedy: `Name a recipe file, a folder, or one of ${datasetNames.join(', ')}.`,
    });
  }
  const name = isName ? given : await kindOfFolder(data);
  const folder = isName ? behind.join(':') : data;
  if (pixels !== undefined && !IMAGES.includes(name)) {
    throw new PcqatError('ERR_OPTION', `data '${name}' are no images`, { where: 'pixels', remedy: 'Leave out --pixels.' });
  }
  const splits = await loadDataset(name, { ...(folder === '' ? {} : { path: folder }), ...(features === undefined ? {} : { features }) });
  return pixels === undefined ? splits : withPixels(splits, pixels);
}

/**
 * The examples of a part of some data, with the preprocessing that recipes have.
 *
 * @throws PcqatError `ERR_OPTION`, `ERR_IO`, `ERR_FORMAT`, `ERR_RECIPE`
 */
export async function loadChosenData(choice: DataChoice): Promise<Dataset> {
  const part = (await loadSplits(choice))[choice.split ?? 'test'];
  return sample(part, choice.limit ?? part.size);
}

/**
 * Data whose labels are the model's outputs. Where the data name their classes, `labels` (the model's classes, in the order of its
 * outputs) says which output each of them is; else it only names them.
 *
 * @throws PcqatError `ERR_OPTION` where `labels` do not fit the model or the data
 */
export function relabel(data: Dataset, labels: readonly string[] | undefined, outputs: number): Dataset {
  const { labelNames, y } = data;
  const where = 'labels';
  if (labels === undefined) {
    if (labelNames === undefined || labelNames.length === outputs) return data;
    throw new PcqatError('ERR_OPTION', `data '${data.name}' have ${labelNames.length} classes but the model has ${outputs} outputs`, {
      where,
      remedy: "Name the model's classes with --labels, in the order of its outputs.",
    });
  }
  if (labels.length !== outputs || new Set(labels).size !== labels.length) {
    throw new PcqatError('ERR_OPTION', `there are ${new Set(labels).size} different labels but the model has ${outputs} outputs`, {
      where,
    });
  }
  const named = { ...data, classes: outputs, labelNames: labels };
  if (labelNames === undefined || !(y instanceof Int32Array)) return named;
  const missing = labelNames.filter((name) => !labels.includes(name));
  // Other names for the same classes.
  if (missing.length === labelNames.length && labelNames.length === outputs) return named;
  if (missing.length > 0) {
    throw new PcqatError('ERR_OPTION', `the labels lack ${missing.map((name) => `'${name}'`).join(', ')} of data '${data.name}'`, {
      where,
    });
  }
  const outputOf = labelNames.map((name) => labels.indexOf(name));
  return { ...named, y: y.map((label) => outputOf[label] ?? -1) };
}
