import type { Isa } from '../../binding.js';
import type { BatchOptions } from '../data/batches.js';
import type { DataSource } from '../data/types.js';
import { PcqatError } from '../errors.js';
import type { Callbacks } from './callbacks.js';
import { INITIAL_STATE, type TrainingState } from './history.js';
import { type Loss, softmaxCrossEntropy } from './losses.js';
import { adam, type Optimizer } from './optimizers.js';

/** Options of {@link fit}. */
export interface FitOptions {
  /** A data set in memory, or a function that starts a new pass over batches; called once per epoch. */
  readonly train: DataSource;
  /** Evaluated after every epoch. */
  readonly validation?: DataSource;
  /** Passes over `train`, at least 1. */
  readonly epochs: number;
  /** Rows per step; the last, smaller batch is kept. For a stream: the largest batch it may give. Default 32. */
  readonly batchSize?: number;
  /** Default `adam()`. Its learning rate may be a schedule. */
  readonly optimizer?: Optimizer;
  /** Default `softmaxCrossEntropy()`. */
  readonly loss?: Loss;
  /** A new order each epoch, from `seed` and the epoch. Streams come as they are. Default `true`. */
  readonly shuffle?: boolean;
  /** Of shuffling, augmentation and dropout; an integer. Default 0. */
  readonly seed?: number;
  /** Changes training examples on the fly. Not for streams. */
  readonly augment?: NonNullable<BatchOptions['augment']>;
  /** Default: all cores. Results do not depend on it. */
  readonly threads?: number;
  /** Stops the training after the present step. */
  readonly signal?: AbortSignal;
  readonly callbacks?: Callbacks;
  /** When `onSummary` is called: after each epoch, or after every so many optimizer steps, counted on across epochs and `start`. Default `epoch`. */
  readonly summaryFrequency?: 'epoch' | number;
  /** Scales gradients down to this global L2 norm. Default: off. */
  readonly clipNorm?: number;
  /** Clips each gradient element to ± this. Default: off. */
  readonly clipValue?: number;
  /** Batches that activation ranges are taken from before the first step, if they were never set. Default 8. */
  readonly calibrationBatches?: number;
  /** Continue from here, as `onEpoch` or `onInterrupt` gave it, with the model of that moment. */
  readonly start?: TrainingState;
  /**
   * Precision of the operands of the convolutions' backward products; sums, weights and everything else stay f32. `bf16` is faster, needs a CPU with
   * AVX-512 BF16 and is `ERR_OPTION` on others. Default `f32`.
   */
  readonly gradients?: 'f32' | 'bf16';
  /** Instruction set, for tests and benchmarks. */
  readonly isa?: Isa;
}

const DEFAULTS = { batchSize: 32, shuffle: true, seed: 0, calibrationBatches: 8, summaryFrequency: 'epoch', start: INITIAL_STATE } as const;

/** Options of {@link fit} with defaults filled in. */
export type FitSettings = FitOptions & Required<Pick<FitOptions, keyof typeof DEFAULTS | 'optimizer' | 'loss'>>;

function requireOption(valid: boolean, name: string, value: unknown, expected: string): void {
  if (!valid) throw new PcqatError('ERR_OPTION', `${name} is ${String(value)} but must be ${expected}`, { where: `fit ${name}` });
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 1;
const isSource = (value: unknown): boolean => typeof value === 'function' || (typeof value === 'object' && value !== null);
const isPositive = (value: number): boolean => value > 0 && Number.isFinite(value);

/** Checks `fit`'s options and fills in the defaults. @throws PcqatError `ERR_OPTION` naming the option. */
export function resolveFitOptions(options: FitOptions): FitSettings {
  // An option given as undefined means its default.
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as unknown as FitOptions;
  const settings: FitSettings = { ...DEFAULTS, optimizer: adam(), loss: softmaxCrossEntropy(), ...given };
  for (const name of ['epochs', 'batchSize', 'calibrationBatches'] as const) {
    requireOption(isCount(settings[name]), name, settings[name], 'an integer of at least 1');
  }
  const { threads, clipNorm, clipValue, start, summaryFrequency } = settings;
  requireOption(
    summaryFrequency === 'epoch' || isCount(summaryFrequency),
    'summaryFrequency',
    summaryFrequency,
    "'epoch' or an integer of at least 1",
  );
  requireOption(threads === undefined || isCount(threads), 'threads', threads, 'an integer of at least 1');
  requireOption(clipNorm === undefined || isPositive(clipNorm), 'clipNorm', clipNorm, 'a number above 0');
  requireOption(clipValue === undefined || isPositive(clipValue), 'clipValue', clipValue, 'a number above 0');
  requireOption(Number.isSafeInteger(settings.seed), 'seed', settings.seed, 'an integer');
  const position =
    Number.isSafeInteger(start.epoch) && Number.isSafeInteger(start.stepInEpoch) && start.epoch >= 0 && start.stepInEpoch >= 0;
  requireOption(position && start.epochs.length === start.epoch, 'start', JSON.stringify(start), 'a state that fit has given');
  requireOption(isSource(settings.train), 'train', settings.train, 'a data set or a function that starts a stream');
  requireOption(['f32', 'bf16', undefined].includes(settings.gradients), 'gradients', settings.gradients, "'f32' or 'bf16'");
  requireOption(
    settings.validation === undefined || isSource(settings.validation),
    'validation',
    settings.validation,
    'a data set or a stream',
  );
  requireOption(settings.augment === undefined || typeof settings.train !== 'function', 'augment', 'set', 'left out for a stream');
  return settings;
}
