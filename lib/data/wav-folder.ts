import path from 'node:path';
import { PcqatError } from '../errors.js';
import { arrayDataset } from './arrays.js';
import { clipFeatures } from './audio-features.js';
import { listFolder, readBytes } from './files.js';
import { mfcc, type MfccOptions } from './mfcc.js';
import { split } from './split.js';
import { standardize } from './standardize.js';
import type { DatasetSplits } from './types.js';
import { readWav, toMono } from './wav.js';

/** What {@link loadWavFolder} takes. */
export interface WavFolderOptions {
  /** Folder with one folder for each class, which holds its `.wav` files. */
  readonly path: string;
  /** How features are computed. Its `sampleRate` must be that of all files. */
  readonly features: MfccOptions;
  /** Length to which recordings are centred, in seconds. Default 1. */
  readonly seconds?: number;
  /** Fractions of each class, default 0.1 each. */
  readonly validation?: number;
  readonly test?: number;
  /** Of the split. Default 0. */
  readonly seed?: number;
  /** Licence and credit. Default empty. */
  readonly credit?: string;
}

/**
 * Recordings in one folder for each class, as standardized mel frequency cepstral coefficients `[frames, coefficients, 1]`. Classes are
 * the folders in alphabetic order; channels are averaged; clips are centred and scaled to peak 1.
 *
 * @throws PcqatError `ERR_IO` for a folder that cannot be read; `ERR_EMPTY_DATA` for one without recordings; `ERR_FORMAT`, `ERR_UNSUPPORTED`
 *   for bad WAV files; `ERR_SHAPE` for another sample rate than that of `features`; `ERR_OPTION`.
 *
 * @example
 * ```ts
 * import { armMfcc, loadWavFolder } from 'pcqat';
 * const load = async () => (await loadWavFolder({ path: 'speech_commands', features: armMfcc })).train.size;
 * console.log(typeof load);
 * ```
 */
export async function loadWavFolder(options: WavFolderOptions): Promise<DatasetSplits> {
  const { path: folder, features, seconds = 1, credit = '' } = options;
  const length = Math.round(seconds * features.sampleRate);
  if (!(length >= features.frameLength && length <= 2 ** 24)) {
    throw new PcqatError(
      'ERR_OPTION',
      `seconds is ${seconds} but must be from one frame (${features.frameLength} samples) to ${2 ** 24} samples`,
      {
        where: 'wav-folder',
      },
    );
  }
  const extract = mfcc(features);
  const rows: Float32Array[] = [];
  const labels: number[] = [];
  const labelNames: string[] = [];
  for (const { label, files } of await listClasses(folder)) {
    for (const file of files) {
      rows.push(clipFeatures([await readClip(file, features.sampleRate)], length, extract));
      labels.push(labelNames.length);
    }
    labelNames.push(label);
  }
  const [first] = rows;
  if (first === undefined) throw new PcqatError('ERR_EMPTY_DATA', 'no folder in it holds .wav files', { where: folder });
  const x = new Float32Array(rows.length * first.length);
  rows.forEach((row, i) => x.set(row, i * first.length));
  const inputShape = [first.length / features.coefficients, features.coefficients, 1];
  const all = arrayDataset({ name: path.basename(folder), x, y: labels, inputShape, labelNames, classes: labelNames.length });
  const { validation = 0.1, test = 0.1, seed = 0 } = options;
  return standardize(split(all, { validation, test, seed, credit }), 1);
}

async function listClasses(folder: string): Promise<{ label: string; files: string[] }[]> {
  const classes: { label: string; files: string[] }[] = [];
  for (const label of await listFolder(folder)) {
    const files = await listFolder(path.join(folder, label)).catch((error: unknown) => {
      // A file beside the class folders, such as a README.
      if (error instanceof PcqatError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOTDIR') return [];
      throw error;
    });
    const recordings = files.filter((file) => /\.wav$/i.test(file)).map((file) => path.join(folder, label, file));
    if (recordings.length > 0) classes.push({ label, files: recordings });
  }
  return classes;
}

async function readClip(file: string, sampleRate: number): Promise<Float32Array> {
  const wav = readWav(await readBytes(file), file);
  if (wav.sampleRate !== sampleRate) {
    throw new PcqatError('ERR_SHAPE', `the sample rate is ${wav.sampleRate} Hz but the features are for ${sampleRate} Hz`, {
      where: file,
      remedy: 'Resample it.',
    });
  }
  return toMono(wav);
}
