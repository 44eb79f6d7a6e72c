import { argmax } from '../train/metrics.js';

/** How far two lists of values are apart. */
export interface Difference {
  /** Largest and mean absolute difference. */
  readonly maxAbs: number;
  readonly meanAbs: number;
  /** Length of the difference over length of the first list (Euclidean); 0 where they are equal, `null` where only the first is all zeros. */
  readonly relative: number | null;
}

/** Sums up differences; values may come in portions. */
export class DifferenceSum {
  #count = 0;
  #most = 0;
  #sum = 0;
  #squares = 0;
  #reference = 0;

  add(a: Float32Array, b: Float32Array): this {
    for (let i = 0; i < a.length; i++) {
      const value = a[i] ?? 0;
      const difference = Math.abs(value - (b[i] ?? 0));
      // NaN stays: nothing is greater than it.
      if (difference > this.#most || Number.isNaN(difference)) this.#most = difference;
      this.#sum += difference;
      this.#squares += difference * difference;
      this.#reference += value * value;
    }
    this.#count += a.length;
    return this;
  }

  result(): Difference {
    const relative = this.#squares === 0 ? 0 : this.#reference === 0 ? null : Math.sqrt(this.#squares / this.#reference);
    return { maxAbs: this.#most, meanAbs: this.#sum / Math.max(1, this.#count), relative };
  }
}

/** Number of rows whose largest value is in the same place in both. */
export function equalArgmax(a: Float32Array, b: Float32Array, width: number): number {
  let equal = 0;
  for (let start = 0; start < a.length; start += width) {
    if (argmax(a.subarray(start, start + width)) === argmax(b.subarray(start, start + width))) equal++;
  }
  return equal;
}
