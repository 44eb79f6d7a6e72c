import type { Dataset } from '../data/types.js';
import { PcqatError } from '../errors.js';
import type { Agreement } from '../formats/certificate/schema.js';
import type { TfliteTensor } from '../formats/tflite/types.js';
import { argmax } from '../train/metrics.js';

/** To a ten-thousandth of a step: what f32 leaves beyond it is noise. */
const rounded = (steps: number): number => Math.round(steps * 1e4) / 1e4;

/** Sums up how far two lists of real outputs agree; they may come in portions of whole rows. */
export class AgreementSum {
  readonly #width: number;
  readonly #step: number;
  #rows = 0;
  #equal = 0;
  #sum = 0;
  #most = 0;

  /**
   * @param tensor - whose values they are; differences are in its steps (scale)
   * @param width - values in a row
   */
  constructor({ scale }: TfliteTensor, width: number) {
    this.#width = width;
    this.#step = scale[0] ?? 1;
  }

  add(a: Float32Array, b: Float32Array): this {
    for (let start = 0; start < a.length; start += this.#width) {
      const [one, other] = [a.subarray(start, start + this.#width), b.subarray(start, start + this.#width)];
      this.#rows++;
      if (argmax(one) === argmax(other)) this.#equal++;
      for (const [i, value] of one.entries()) {
        const difference = Math.abs(value - (other[i] ?? 0)) / this.#step;
        this.#sum += difference;
        this.#most = Math.max(this.#most, difference);
      }
    }
    return this;
  }

  result(): Agreement {
    return {
      rows: this.#rows,
      agreement: this.#equal / Math.max(1, this.#rows),
      meanSteps: rounded(this.#sum / Math.max(1, this.#rows * this.#width)),
      maxSteps: rounded(this.#most),
    };
  }
}

/** Number of rows of a data set, checked to fit the model. */
export function checkedRows({ name, size, x }: Dataset, inputSize: number): number {
  const where = `data set '${name}'`;
  if (size === 0) throw new PcqatError('ERR_EMPTY_DATA', 'the data set has no examples', { where });
  if (x.length !== size * inputSize) {
    throw new PcqatError('ERR_SHAPE', `${x.length} values are not ${size} rows of the ${inputSize} that the model takes`, { where });
  }
  return size;
}
