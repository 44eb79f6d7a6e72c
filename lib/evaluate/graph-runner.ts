import type { Isa } from '../../binding.js';
import { PcqatError, requireCount } from '../errors.js';
import type { Model } from '../graph/model.js';
import { elementCount } from '../graph/shapes.js';
import { uncalibrated } from '../train/calibrate.js';
import { lower } from '../train/lower.js';
import type { ModelSessionOptions } from '../train/model-session.js';
import { openNativeSession, type OpenSession } from '../train/training-session.js';
import { checkedRowCount, portions } from './rows.js';
import type { Runner } from './runner.js';

/** How a session for inference is opened. */
export interface InferenceOptions {
  /** Rows at a time; does not change the result. Default 128. */
  readonly batchSize?: number;
  /** Default: all cores. The result does not depend on it. */
  readonly threads?: number;
  readonly isa?: Isa;
}

/** @throws PcqatError `ERR_OPTION` */
export function sessionOptions({ batchSize = 128, threads, isa }: InferenceOptions): ModelSessionOptions {
  requireCount('batchSize', batchSize);
  requireCount('threads', threads ?? 1);
  return { maxBatch: batchSize, ...(threads === undefined ? {} : { threads }), ...(isa === undefined ? {} : { isa }) };
}

/** With every range at 0/0 the model's output is a constant (W22); say so instead. */
export function requireCalibrated(model: Model): void {
  const missing = uncalibrated(model).length;
  if (missing === 0 || missing < model.quantizers.size) return;
  throw new PcqatError('ERR_OPTION', 'its activation ranges were never set', {
    where: `model '${model.graph.name}'`,
    remedy: 'Call fit or calibrate first.',
  });
}

/** A model in a session that stays open, by default a native one, with whatever masks, codebooks and fake quantization it has. */
export function openGraphRunner(model: Model, options: InferenceOptions = {}, open: OpenSession = openNativeSession): Runner {
  const lowered = lower(model);
  const settings = sessionOptions(options);
  requireCalibrated(model);
  const { inputShape, outputShape } = lowered;
  const [inputSize, outputSize] = [elementCount(inputShape), elementCount(outputShape)];
  const session = open(model, lowered, settings);
  return {
    name: 'pcqat',
    inputShape,
    outputShape,
    model,
    run: async (x, { signal } = {}) => {
      const outputs = new Float32Array(checkedRowCount(x, inputShape) * outputSize);
      let row = 0;
      for (const part of portions(x, inputSize, settings.maxBatch)) {
        signal?.throwIfAborted();
        outputs.set(await session.forward(part), row * outputSize);
        row += part.length / inputSize;
      }
      return outputs;
    },
    dispose: () => session.dispose(),
  };
}
