import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { PcqatError } from '../errors.js';
import { arrayDataset, subset } from './arrays.js';
import { type Clip, clipFeatures } from './audio-features.js';
import { readBytes, readJson } from './files.js';
import { decodeFlac } from './flac.js';
import { mfcc, type MfccOptions } from './mfcc.js';
import { standardize } from './standardize.js';
import type { DatasetSplits } from './types.js';

/**
 * The features of {@link loadFsdd}: 40 ms frames every 20 ms, 10 coefficients, from 8 kHz sound. The floor is high, so that the digital silence
 * around a recording is not far from its background noise: of 10⁻⁶ to 1, 0.1 gave DS-CNN-S the lowest validation loss.
 */
export const fsddMfcc: MfccOptions = {
  sampleRate: 8000,
  frameLength: 320,
  frameStep: 160,
  fftLength: 512,
  bands: 40,
  lowHz: 20,
  highHz: 4000,
  firstBin: 1,
  floor: { kind: 'add', value: 0.1 },
  coefficients: 10,
};

/** What {@link loadFsdd} takes. */
export interface FsddOptions {
  /** Folder with `audio.flac` and `index.json`. Default: the copy inside this package. */
  readonly path?: string;
  /**
   * Tests on all recordings of this speaker, of whom training and validation then hear nothing: `george`, `jackson`, `lucas`, `nicolas`, `theo`
   * or `yweweler`. Default: the data set's own split, where the test has takes 0 to 4 of every speaker and digit.
   */
  readonly testSpeaker?: string;
  /** Mean 0 and standard deviation 1 for each coefficient, by the training part. Default `true`. */
  readonly standardize?: boolean;
}

const CREDIT =
  'Free Spoken Digit Dataset by Zohar Jackson and contributors (github.com/Jakobovski/free-spoken-digit-dataset), CC BY-SA 4.0, packed as FLAC without loss.';
const CLIP_SAMPLES = 8000;
const TEST_TAKES = 5;
const VALIDATION_TAKES = 10;

const count = z.number().int().nonnegative();
const Index = z.object({
  sampleRate: z.literal(fsddMfcc.sampleRate),
  speakers: z.array(z.object({ name: z.string() })).min(1),
  rows: z.array(z.tuple([count.max(9), count, count, count, count.positive()])).min(1),
});

interface Recordings {
  readonly clips: readonly Clip[];
  readonly digits: readonly number[];
  readonly speakers: readonly string[];
  readonly takes: readonly number[];
}

/**
 * The Free Spoken Digit Dataset: 3,000 recordings of the English digits 0 to 9 by 6 speakers, as `[49, 10, 1]` mel frequency cepstral
 * coefficients ({@link fsddMfcc}) of one second of sound: recordings are scaled to peak 1 and centred in 8,000 samples.
 *
 * Training has 2,400 recordings (takes 10–49), validation 300 (takes 5–9) and test 300 (takes 0–4). With `testSpeaker`: 2,250, 250 and 500.
 *
 * @throws PcqatError `ERR_IO`, `ERR_FORMAT` for a folder that is missing or damaged; `ERR_OPTION` for an unknown speaker.
 *
 * @example
 * ```ts
 * import { loadFsdd } from 'pcqat';
 * const { train, test, credit } = await loadFsdd();
 * console.log(train.size, test.size, train.inputShape, credit); // 2400 300 [49, 10, 1] …
 * ```
 */
export async function loadFsdd(options: FsddOptions = {}): Promise<DatasetSplits> {
  const folder = options.path ?? fileURLToPath(new URL('../../data/fsdd', import.meta.url));
  const { clips, digits, speakers, takes } = await readRecordings(folder);
  const { testSpeaker } = options;
  if (testSpeaker !== undefined && !speakers.includes(testSpeaker)) {
    throw new PcqatError('ERR_OPTION', `there is no speaker '${testSpeaker}'`, {
      where: 'fsdd.testSpeaker',
      remedy: `Choose one of ${[...new Set(speakers)].join(', ')}.`,
    });
  }
  const all = arrayDataset({
    name: 'fsdd',
    x: clipFeatures(clips, CLIP_SAMPLES, mfcc(fsddMfcc)),
    y: digits,
    inputShape: [49, fsddMfcc.coefficients, 1],
    classes: 10,
    labelNames: Array.from({ length: 10 }, (_, digit) => String(digit)),
  });
  const partOf = (i: number): 'train' | 'validation' | 'test' => {
    const take = takes[i] as number;
    if (testSpeaker === undefined ? take < TEST_TAKES : speakers[i] === testSpeaker) return 'test';
    return take >= TEST_TAKES && take < VALIDATION_TAKES ? 'validation' : 'train';
  };
  const part = (name: 'train' | 'validation' | 'test') =>
    subset(
      all,
      [...digits.keys()].filter((i) => partOf(i) === name),
      `fsdd ${name}`,
    );
  const splits = { train: part('train'), validation: part('validation'), test: part('test'), credit: CREDIT };
  return options.standardize === false ? splits : standardize(splits, 1);
}

async function readRecordings(folder: string): Promise<Recordings> {
  const indexFile = path.join(folder, 'index.json');
  const parsed = Index.safeParse(await readJson(indexFile));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new PcqatError('ERR_FORMAT', `${issue?.path.join('.')}: ${issue?.message}`, {
      where: indexFile,
      remedy: 'Copy the folder again.',
    });
  }
  const { rows, speakers } = parsed.data;
  const audioFile = path.join(folder, 'audio.flac');
  const { samples } = decodeFlac(await readBytes(audioFile), audioFile);
  const clips = rows.map(([, speaker, , offset, length], row) => {
    if (speaker >= speakers.length || offset + length > samples.length) {
      throw new PcqatError('ERR_FORMAT', `row ${row} points outside the data`, { where: indexFile, remedy: 'Copy the folder again.' });
    }
    return samples.subarray(offset, offset + length);
  });
  return {
    clips,
    digits: rows.map(([digit]) => digit),
    speakers: rows.map(([, speaker]) => speakers[speaker]?.name ?? ''),
    takes: rows.map(([, , take]) => take),
  };
}
