import type { DataSource } from '../data/types.js';
import type { DataRequirement } from './check-data.js';
import type { Loss } from './losses.js';
import { pass } from './pass.js';
import type { TrainingSession } from './training-session.js';

/** Quality of a model on a data set. */
export interface Evaluation {
  /** Mean over the examples. */
  readonly loss: number;
  /** Fraction of examples whose largest output is the label's class, in [0, 1]; 0 with `meanSquaredError`. */
  readonly accuracy: number;
}

/** Index of the largest value; the first one of equals. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] ?? 0) > (values[best] ?? 0)) best = i;
  return best;
}

/** `log Σ exp(x)` without overflow. */
export function logSumExp(x: Float32Array): number {
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  return max + Math.log(x.reduce((sum, value) => sum + Math.exp(value - max), 0));
}

function crossEntropy(logits: Float32Array, label: number | Float32Array, smoothing: number): number {
  const normalizer = logSumExp(logits);
  const classes = logits.length;
  let loss = 0;
  logits.forEach((logit, i) => {
    const target = typeof label === 'number' ? Number(i === label) : (label[i] ?? 0);
    loss += ((1 - smoothing) * target + smoothing / classes) * (normalizer - logit);
  });
  return loss;
}

function squaredError(prediction: Float32Array, target: Float32Array): number {
  return prediction.reduce((sum, value, i) => sum + (value - (target[i] ?? 0)) ** 2, 0) / prediction.length;
}

/** Sum of the loss and number of correct rows of one batch of outputs. */
export function scoreBatch(
  loss: Loss,
  outputs: Float32Array,
  y: Int32Array | Float32Array,
  rows: number,
): { lossSum: number; correct: number } {
  const width = outputs.length / rows;
  let [lossSum, correct] = [0, 0];
  for (let row = 0; row < rows; row++) {
    const output = outputs.subarray(row * width, (row + 1) * width);
    const target = y instanceof Int32Array ? (y[row] ?? 0) : y.subarray(row * width, (row + 1) * width);
    if (loss.kind === 'softmaxCrossEntropy') {
      lossSum += crossEntropy(output, target, loss.labelSmoothing);
      if (argmax(output) === (typeof target === 'number' ? target : argmax(target))) correct++;
    } else if (typeof target !== 'number') {
      lossSum += squaredError(output, target);
    }
  }
  return { lossSum, correct };
}

/** Options of {@link evaluateSession}. */
export interface EvaluateSessionOptions {
  readonly requirement: DataRequirement & { readonly loss: Loss };
  readonly batchSize: number;
  readonly name: string;
  readonly signal?: AbortSignal;
}

/** Evaluates the present state of a session in inference mode. */
export async function evaluateSession(session: TrainingSession, data: DataSource, options: EvaluateSessionOptions): Promise<Evaluation> {
  const { requirement, batchSize, name, signal } = options;
  const total = { rows: 0, lossSum: 0, correct: 0 };
  for await (const batch of pass(data, { batchSize, requirement, name, shuffle: false })) {
    signal?.throwIfAborted();
    const outputs = await session.forward(batch.x);
    const { lossSum, correct } = scoreBatch(requirement.loss, outputs, batch.y, batch.rows);
    total.rows += batch.rows;
    total.lossSum += lossSum;
    total.correct += correct;
  }
  return { loss: total.lossSum / total.rows, accuracy: total.correct / total.rows };
}
