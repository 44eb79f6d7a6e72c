import { performance } from 'node:perf_hooks';
import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { calibrateRanges } from './calibrate.js';
import { checkDataset, type DataRequirement, isDataset } from './check-data.js';
import { type FitOptions, type FitSettings, resolveFitOptions } from './fit-options.js';
import type { History } from './history.js';
import { lower } from './lower.js';
import type { ModelSessionOptions } from './model-session.js';
import { labelKind } from './pass.js';
import { Trainer } from './trainer.js';
import { openNativeSession, type OpenSession } from './training-session.js';

function checkData(settings: FitSettings, requirement: DataRequirement): void {
  for (const source of [settings.train, settings.validation])
    if (source !== undefined && isDataset(source)) checkDataset(source, requirement);
}

function sessionOptions(settings: FitSettings): ModelSessionOptions {
  const { batchSize: maxBatch, optimizer, seed, threads, clipNorm, clipValue, gradients, isa } = settings;
  return {
    maxBatch,
    optimizer: optimizer.spec,
    seed,
    ...(threads === undefined ? {} : { threads }),
    ...(clipNorm === undefined ? {} : { clipNorm }),
    ...(clipValue === undefined ? {} : { clipValue }),
    ...(gradients === undefined ? {} : { gradients }),
    ...(isa === undefined ? {} : { isa }),
  };
}

/**
 * Trains a model in place: its tensors change, and its optimizer state is kept in `model.optimizer`. Works the same for every
 * technique; pruning masks, codebooks and quantization ranges are updated as the model's chains say. The same seed gives the same
 * bytes for any number of threads.
 *
 * As Keras' `fit`: data are shuffled each epoch, the last partial batch is kept, loss and accuracy are averages over the epoch, and
 * each call starts the optimizer afresh (unless `start` continues an earlier call).
 *
 * Steps run on threads of their own. Those shorter than a millisecond run on the calling one, which turns to other events every few
 * milliseconds, unless several models train at once.
 *
 * However training ends, the model is as after the last finished step. When `signal` aborts, the promise rejects with its reason
 * after `onInterrupt` was called.
 *
 * @throws PcqatError before training: `ERR_OPTION`, `ERR_GRAPH`, `ERR_UNKNOWN_LAYER`, and for data `ERR_EMPTY_DATA`, `ERR_SHAPE`,
 *   `ERR_DTYPE`, `ERR_LABEL_RANGE`, `ERR_NON_FINITE` (streams are checked batch by batch); while training: `ERR_DIVERGED` naming
 *   layer, epoch and step when a value becomes NaN or infinite, `ERR_INVARIANT` naming layer, epoch, step and count when masked weights
 *   would not be zero or clustered weights would leave their codebook. The model is then as after the last good step.
 *
 * @example
 * ```ts
 * import { adam, fit, GraphBuilder, createModel } from 'pcqat';
 * const g = new GraphBuilder('xor');
 * const hidden = g.dense(g.input([2]), { units: 8, activation: 'relu' });
 * const model = createModel(g.build(g.dense(hidden, { units: 2 })));
 * const train = { name: 'xor', size: 4, inputShape: [2], x: Float32Array.of(0, 0, 0, 1, 1, 0, 1, 1), y: Int32Array.of(0, 1, 1, 0) };
 * const history = await fit(model, { train, epochs: 100, optimizer: adam({ learningRate: 0.05 }) });
 * console.log(history.epochs.at(-1)?.accuracy);
 * ```
 */
export async function fit(model: Model, options: FitOptions): Promise<History> {
  return fitWith(openNativeSession, model, options);
}

/** {@link fit} on any engine. */
export async function fitWith(open: OpenSession, model: Model, options: FitOptions): Promise<History> {
  const started = performance.now();
  const settings = resolveFitOptions(options);
  const { train, loss, start } = settings;
  const resumed = start.epoch > 0 || start.stepInEpoch > 0;
  if (resumed && model.optimizer === undefined) {
    throw new PcqatError('ERR_OPTION', 'the model has no optimizer state to continue from', {
      where: 'fit start',
      remedy: 'Load it with loadModel.',
    });
  }
  const outline = lower(model, { loss });
  const requirement = { inputShape: outline.inputShape, outputShape: outline.outputShape, loss };
  checkData(settings, requirement);
  const lowered = lower(model, { loss, labels: await labelKind(train) });
  if (!resumed) await calibrateFirst(open, model, settings);
  const session = open(model, lowered, sessionOptions(settings));
  try {
    if (resumed && model.optimizer !== undefined) session.restoreOptimizer(model.optimizer);
    return await new Trainer(model, session, { settings, requirement, weights: lowered.chains, started }).run();
  } finally {
    session.dispose();
  }
}

/** Ranges that were never set come from the first batches of the first epoch (fixes W21, W22). */
async function calibrateFirst(open: OpenSession, model: Model, settings: FitSettings): Promise<void> {
  const { train, batchSize, shuffle, seed, calibrationBatches: maxBatches, augment, threads, signal, isa } = settings;
  await calibrateRanges(model, train, {
    open,
    ranges: 'missing',
    statistics: 'batch',
    maxBatches,
    batchSize,
    shuffle,
    seed,
    ...(augment === undefined ? {} : { augment }),
    ...(threads === undefined ? {} : { threads }),
    ...(signal === undefined ? {} : { signal }),
    ...(isa === undefined ? {} : { isa }),
  });
}
