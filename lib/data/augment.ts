import { PcqatError } from '../errors.js';
import type { Random } from '../graph/random.js';
import type { Shape } from '../graph/types.js';
import type { Dataset } from './types.js';

/** A copy of one example, to be changed in place. */
export interface AugmentedExample {
  readonly x: Float32Array;
  /** One label, or one target row. */
  readonly y: Int32Array | Float32Array;
  /** The random numbers of this example in this epoch. */
  readonly random: Random;
  /** Where it comes from; its shape is `dataset.inputShape`. */
  readonly dataset: Dataset;
}

/** Changes an example at random while training. */
export type Augmentation = (example: AugmentedExample) => void;

/**
 * Applies augmentations one after the other.
 *
 * @example
 * ```ts
 * import { arrayDataset, augment, batches } from 'pcqat';
 * const data = arrayDataset({ x: new Float32Array(64).fill(1), y: [0], inputShape: [8, 8, 1] });
 * const change = augment.compose(augment.randomShift({ height: 2, width: 2 }), augment.randomNoise({ stddev: 0.1 }));
 * for (const batch of batches(data, { batchSize: 1, seed: 1, augment: change })) console.log(batch.x);
 * ```
 */
export function compose(...augmentations: readonly Augmentation[]): Augmentation {
  return (example) => {
    for (const augmentation of augmentations) augmentation(example);
  };
}

/**
 * Moves an `[height, width, channels]` (or `[height, width]`) example by up to so many rows and columns each way; what comes in is zero.
 * For `[frames, coefficients, 1]` sound, `height` is time.
 *
 * @throws PcqatError `ERR_OPTION` for a distance that is no whole number from 0; `ERR_SHAPE` for an example without height and width.
 *
 * @example
 * ```ts
 * import { augment } from 'pcqat';
 * console.log(typeof augment.randomShift({ height: 4, width: 4 })); // function
 * ```
 */
export function randomShift({ height = 0, width = 0 }: { readonly height?: number; readonly width?: number }): Augmentation {
  for (const distance of [height, width]) {
    if (!Number.isSafeInteger(distance) || distance < 0)
      throw optionError(`the distance ${distance} must be a whole number from 0`, 'randomShift');
  }
  return ({ x, random, dataset }) => {
    const [rows, columns, channels] = imageShape(dataset.inputShape, 'randomShift');
    const down = random.integer(2 * height + 1) - height;
    const right = random.integer(2 * width + 1) - width;
    const source = x.slice();
    x.fill(0);
    const stride = columns * channels;
    const first = Math.max(0, right);
    const last = Math.min(columns, columns + right);
    if (last <= first) return;
    for (let row = Math.max(0, down); row < Math.min(rows, rows + down); row++) {
      const from = (row - down) * stride;
      x.set(source.subarray(from + (first - right) * channels, from + (last - right) * channels), row * stride + first * channels);
    }
  };
}

/**
 * Mirrors half of the examples left to right.
 *
 * @throws PcqatError `ERR_SHAPE` for an example without height and width.
 *
 * @example
 * ```ts
 * import { augment } from 'pcqat';
 * console.log(typeof augment.randomHorizontalFlip()); // function
 * ```
 */
export function randomHorizontalFlip(): Augmentation {
  return ({ x, random, dataset }) => {
    const [rows, columns, channels] = imageShape(dataset.inputShape, 'randomHorizontalFlip');
    if (random.uniform() < 0.5) return;
    const source = x.slice();
    for (let pixel = 0; pixel < rows * columns; pixel++) {
      const column = pixel % columns;
      const mirrored = pixel - column + (columns - 1 - column);
      x.set(source.subarray(pixel * channels, (pixel + 1) * channels), mirrored * channels);
    }
  };
}

/**
 * Adds Gaussian noise.
 *
 * @param options `stddev`: standard deviation in the unit of the features.
 * @throws PcqatError `ERR_OPTION` for a negative or non-finite `stddev`.
 *
 * @example
 * ```ts
 * import { augment } from 'pcqat';
 * console.log(typeof augment.randomNoise({ stddev: 0.05 })); // function
 * ```
 */
export function randomNoise({ stddev }: { readonly stddev: number }): Augmentation {
  if (!Number.isFinite(stddev) || stddev < 0) throw optionError(`stddev is ${stddev} but must be a finite number from 0`, 'randomNoise');
  return ({ x, random }) => {
    for (let i = 0; i < x.length; i++) x[i] = (x[i] as number) + stddev * gaussian(random);
  };
}

/**
 * Blends an example and its target with another one of the data set, `λ : 1 − λ` with λ from Beta(alpha, alpha)
 * (Zhang et al., "mixup: Beyond empirical risk minimization", 2018).
 *
 * @param options `alpha`: in (0, 1]; default 0.2.
 * @throws PcqatError `ERR_OPTION` for an alpha outside (0, 1]; `ERR_DTYPE` for data with labels (use {@link oneHot}).
 *
 * @example
 * ```ts
 * import { arrayDataset, augment, batches, oneHot } from 'pcqat';
 * const data = oneHot(arrayDataset({ x: [0, 1], y: [0, 1], inputShape: [1] }));
 * for (const batch of batches(data, { batchSize: 2, augment: augment.mixup({ alpha: 0.4 }) })) console.log(batch.y);
 * ```
 */
export function mixup({ alpha = 0.2 }: { readonly alpha?: number } = {}): Augmentation {
  if (!(alpha > 0 && alpha <= 1)) throw optionError(`alpha is ${alpha} but must be in (0, 1]`, 'mixup');
  return ({ x, y, random, dataset }) => {
    if (y instanceof Int32Array) {
      throw new PcqatError('ERR_DTYPE', 'mixup needs target rows, but the data set has class labels', {
        where: 'mixup',
        remedy: 'Use oneHot(dataset).',
      });
    }
    const partner = random.integer(dataset.size);
    const keep = symmetricBeta(alpha, random);
    blend(x, dataset.x.subarray(partner * x.length, (partner + 1) * x.length), keep);
    blend(y, dataset.y.subarray(partner * y.length, (partner + 1) * y.length), keep);
  };
}

function blend(values: Float32Array, other: ArrayLike<number>, keep: number): void {
  for (let i = 0; i < values.length; i++) values[i] = keep * (values[i] as number) + (1 - keep) * (other[i] as number);
}

/** Standard normal (Box and Muller). */
function gaussian(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform());
}

/** Beta(alpha, alpha) by Jöhnk's rejection, which suits alpha ≤ 1. */
function symmetricBeta(alpha: number, random: Random): number {
  for (;;) {
    const a = random.uniform() ** (1 / alpha);
    const b = random.uniform() ** (1 / alpha);
    if (a + b <= 1 && a + b > 0) return a / (a + b);
  }
}

function imageShape(shape: Shape, where: string): [number, number, number] {
  const [rows, columns, channels = 1] = shape;
  if (rows === undefined || columns === undefined || shape.length > 3) {
    throw new PcqatError('ERR_SHAPE', `examples are [${shape.join(', ')}] but must be [height, width, channels]`, { where });
  }
  return [rows, columns, channels];
}

function optionError(message: string, where: string): PcqatError {
  return new PcqatError('ERR_OPTION', message, { where });
}
