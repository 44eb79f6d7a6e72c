import type { Isa } from '../../binding.js';
import type { DataSource } from '../data/types.js';
import type { Model } from '../graph/model.js';
import { checkDataset, isDataset } from '../train/check-data.js';
import { lower } from '../train/lower.js';
import { type Loss, softmaxCrossEntropy } from '../train/losses.js';
import { type Evaluation, evaluateSession } from '../train/metrics.js';
import { openNativeSession, type OpenSession } from '../train/training-session.js';
import { openGraphRunner, requireCalibrated, sessionOptions } from './graph-runner.js';

/** Options of {@link predict}. */
export interface PredictOptions {
  /** Rows at a time; does not change the result. Default 128. */
  readonly batchSize?: number;
  /** Default: all cores. The result does not depend on it. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
  /** Instruction set, for tests and benchmarks. */
  readonly isa?: Isa;
}

/** Options of {@link evaluate}. */
export interface EvaluateOptions extends PredictOptions {
  /** Default `softmaxCrossEntropy()`. */
  readonly loss?: Loss;
}

/**
 * Loss and accuracy of a model as it is: moving statistics, no dropout, weights and activations through masks, codebooks and fake
 * quantization where the model has them.
 *
 * @returns Mean loss, and accuracy as a fraction in [0, 1].
 * @throws PcqatError `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_DTYPE`, `ERR_LABEL_RANGE`, `ERR_NON_FINITE` for bad data; `ERR_OPTION` for a
 *   bad option or a quantized model whose ranges were never set.
 *
 * @example
 * ```ts
 * import { evaluate, zoo } from 'pcqat';
 * const data = { name: 'noise', size: 2, inputShape: [28, 28], x: new Float32Array(2 * 784).fill(0.5), y: Int32Array.of(3, 4) };
 * const { loss, accuracy } = await evaluate(zoo.mnistCnn(), data);
 * console.log(loss, accuracy);
 * ```
 */
export function evaluate(model: Model, data: DataSource, options: EvaluateOptions = {}): Promise<Evaluation> {
  return evaluateWith(openNativeSession, model, data, options);
}

/** {@link evaluate} on a session of any engine. */
export async function evaluateWith(open: OpenSession, model: Model, data: DataSource, options: EvaluateOptions): Promise<Evaluation> {
  const { batchSize = 128, loss = softmaxCrossEntropy(), signal } = options;
  const lowered = lower(model, { loss });
  const requirement = { inputShape: lowered.inputShape, outputShape: lowered.outputShape, loss };
  const settings = sessionOptions(options);
  if (isDataset(data)) checkDataset(data, requirement);
  requireCalibrated(model);
  const session = open(model, lowered, settings);
  try {
    return await evaluateSession(session, data, { requirement, batchSize, name: 'data', ...(signal === undefined ? {} : { signal }) });
  } finally {
    session.dispose();
  }
}

/**
 * Outputs of a model for rows of inputs, in inference mode, a softmax at the end included.
 *
 * @param x - rows × product of the input shape
 * @returns rows × product of the output shape
 * @throws PcqatError `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_DTYPE`, `ERR_NON_FINITE`, `ERR_OPTION` as {@link evaluate}.
 *
 * @example
 * ```ts
 * import { predict, zoo } from 'pcqat';
 * const logits = await predict(zoo.mnistCnn(), new Float32Array(2 * 28 * 28));
 * console.log(logits.length); // 20
 * ```
 */
export async function predict(model: Model, x: Float32Array, options: PredictOptions = {}): Promise<Float32Array> {
  const runner = openGraphRunner(model, options);
  try {
    return await runner.run(x, options);
  } finally {
    runner.dispose();
  }
}
