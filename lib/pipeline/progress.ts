import type { ColumnName } from './recipe.js';
import type { Piece } from './pieces.js';

/** What a run says about itself, in order. */
export type ProgressEvent =
  | { readonly type: 'data'; readonly name: string; readonly train: number; readonly validation: number; readonly test: number }
  | { readonly type: 'resume'; readonly finishedStages: number; readonly finishedColumns: readonly ColumnName[] }
  | { readonly type: 'stage'; readonly stage: string; readonly epochs: number; readonly columns: readonly ColumnName[] }
  | ({ readonly type: 'step'; readonly stage: string; readonly epoch: number; readonly epochs: number; readonly loss: number } & Remaining)
  | ({
      readonly type: 'epoch';
      readonly stage: string;
      readonly epoch: number;
      readonly epochs: number;
      readonly loss: number;
      readonly accuracy: number;
      readonly validationLoss?: number;
      readonly validationAccuracy?: number;
    } & Remaining)
  | {
      readonly type: 'column';
      readonly column: ColumnName;
      readonly title: string;
      readonly accuracy: number;
      readonly int8Accuracy: number;
      readonly file: string;
      readonly bytes: number;
      readonly gzipBytes: number;
    }
  | { readonly type: 'checkpoint'; readonly path: string };

/** How far the whole run is. */
export interface Remaining {
  /** Fraction of all training steps, in [0, 1]. */
  readonly done: number;
  readonly etaSeconds: number;
}

/**
 * Estimates the time that is left: steps still to do times the time of a step. Steps of a technique that has run are
 * timed as they were; others as the mean of all steps so far.
 */
export class ProgressMeter {
  readonly #left = new Map<string, number>();
  readonly #spent = new Map<string, { seconds: number; steps: number }>();
  readonly #total: number;
  #done = 0;

  constructor(pieces: readonly Piece[]) {
    for (const { stage, steps } of pieces) this.#left.set(stage.stage, (this.#left.get(stage.stage) ?? 0) + steps);
    this.#total = Math.max(
      1,
      pieces.reduce((sum, { steps }) => sum + steps, 0),
    );
  }

  /** Counts steps that took `seconds` in all; `undefined` for steps done in an earlier run. */
  advance(stage: string, steps: number, seconds?: number): void {
    this.#done += steps;
    this.#left.set(stage, (this.#left.get(stage) ?? 0) - steps);
    if (seconds === undefined) return;
    const spent = this.#spent.get(stage) ?? { seconds: 0, steps: 0 };
    this.#spent.set(stage, { seconds: spent.seconds + seconds, steps: spent.steps + steps });
  }

  remaining(): Remaining {
    let seconds = 0;
    let steps = 0;
    for (const spent of this.#spent.values()) {
      seconds += spent.seconds;
      steps += spent.steps;
    }
    const mean = steps === 0 ? 0 : seconds / steps;
    let eta = 0;
    for (const [stage, left] of this.#left) {
      const spent = this.#spent.get(stage);
      eta += left * (spent ? spent.seconds / spent.steps : mean);
    }
    return { done: Math.min(1, this.#done / this.#total), etaSeconds: Math.max(0, eta) };
  }
}
