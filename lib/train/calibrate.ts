import type { Isa } from '../../binding.js';
import type { BatchOptions } from '../data/batches.js';
import type { DataSource } from '../data/types.js';
import { requireCount } from '../errors.js';
import type { ActivationQuantizer } from '../compress/chains.js';
import { cloneTensor, type Model } from '../graph/model.js';
import { checkDataset, isDataset } from './check-data.js';
import { lower } from './lower.js';
import { adam } from './optimizers.js';
import { pass } from './pass.js';
import { openNativeSession, type OpenSession } from './training-session.js';

/** Options of {@link calibrate}. */
export interface CalibrateOptions {
  /** Use at most this many batches. Default: all. */
  readonly maxBatches?: number;
  /** Rows at a time; does not change the result. Default 32. */
  readonly batchSize?: number;
  /** `missing`: only ranges never set so far (0/0). Default `all`. */
  readonly ranges?: 'all' | 'missing';
  /** Default: all cores. The result does not depend on it. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
  /** For tests and benchmarks. */
  readonly isa?: Isa;
}

function range(model: Model, node: string): [min: Float32Array, max: Float32Array] {
  return [model.tensors.get(`${node}:min`)?.data as Float32Array, model.tensors.get(`${node}:max`)?.data as Float32Array];
}

/** Nodes whose range comes from data and was never set: 0/0. */
export function uncalibrated(model: Model): string[] {
  return dataRanges(model).filter((node) => range(model, node).every((bound) => bound?.[0] === 0));
}

/** Nodes whose activation range is taken from data; reference and fixed ranges are not. */
function dataRanges(model: Model): string[] {
  return [...model.quantizers].filter(([, { rangeInit, update }]) => rangeInit === 'data' && update !== 'none').map(([node]) => node);
}

/** What {@link calibrateRanges} takes besides the options of {@link calibrate}. */
interface CalibrateRangesOptions extends CalibrateOptions, Partial<BatchOptions> {
  /**
   * Whose mean and variance batch norms use: `moving`, their own, as at inference; `batch`, each batch's, as in training. In a network that
   * was hardly trained they differ so much that ranges from the one would clip most of the other. Default `moving`.
   */
  readonly statistics?: 'moving' | 'batch';
  /** Default: the native core. */
  readonly open?: OpenSession;
}

/**
 * The model with ranges of its own, which a training forward widens to the data. All else that the pass changes stays in its session, so the
 * other arrays are shared.
 */
function observerOf(model: Model): Model {
  const observing = ([node, quantizer]: [string, ActivationQuantizer]): [string, ActivationQuantizer] => [
    node,
    quantizer.update === 'none' ? quantizer : { ...quantizer, update: 'runningMinMax' },
  ];
  const tensors = new Map(model.tensors);
  for (const node of model.quantizers.keys()) {
    for (const name of [`${node}:min`, `${node}:max`]) {
      const range = model.tensors.get(name);
      if (range !== undefined) tensors.set(name, cloneTensor(range));
    }
  }
  return { ...model, tensors, quantizers: new Map([...model.quantizers].map(observing)) };
}

/** {@link calibrate} with the order of batches given: `fit` uses the shuffled order of its first epoch. */
export async function calibrateRanges(model: Model, data: DataSource, options: CalibrateRangesOptions): Promise<void> {
  const { maxBatches = Infinity, ranges = 'all', threads, signal, isa, batchSize = 32, shuffle = false, seed = 0 } = options;
  const nodes = ranges === 'all' ? dataRanges(model) : uncalibrated(model);
  if (nodes.length === 0) return;
  const asTraining = options.statistics === 'batch' && model.graph.nodes.some(({ op }) => op === 'batchNorm');
  const observed = asTraining ? observerOf(model) : model;
  const lowered = lower(observed);
  const session = (options.open ?? openNativeSession)(observed, lowered, {
    maxBatch: batchSize,
    ...(asTraining ? { optimizer: adam().spec } : {}),
    ...(threads === undefined ? {} : { threads }),
    ...(isa === undefined ? {} : { isa }),
  });
  try {
    let count = 0;
    const augment = options.augment === undefined ? {} : { augment: options.augment };
    for await (const batch of pass(data, {
      batchSize,
      shuffle,
      seed,
      epoch: 0,
      ...augment,
      requirement: lowered,
      name: 'calibration data',
    })) {
      signal?.throwIfAborted();
      await session.forward(batch.x, asTraining ? { mode: 'training' } : { mode: 'observe', resetRanges: count === 0 });
      if (++count >= maxBatches) break;
    }
    for (const name of nodes.flatMap((node) => [`${node}:min`, `${node}:max`])) {
      session.pull(name);
      model.tensors.get(name)?.data.set(observed.tensors.get(name)?.data ?? []);
    }
  } finally {
    session.dispose();
  }
}

/**
 * Takes the ranges of activation fake quantization from data: each becomes the smallest and largest value seen, 0 included (and
 * widened to be symmetric where the quantizer is), while the model runs without activation quantization (weights as its chains give
 * them). Changes `model`. `fit` does this by itself for ranges that were never set; use it before evaluating or converting an untrained
 * quantized model.
 *
 * Ranges with `rangeInit: 'reference'` or a fixed range stay as they are; a model without quantizers is left alone.
 *
 * @throws PcqatError `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_DTYPE`, `ERR_NON_FINITE` for bad data, `ERR_OPTION` for a bad option.
 *
 * @example
 * ```ts
 * import { calibrate, quantizeModel, zoo } from 'pcqat';
 * const model = quantizeModel(zoo.mnistCnn());
 * const x = new Float32Array(4 * 784).map((_, i) => (i % 255) / 255);
 * await calibrate(model, { name: 'images', size: 4, inputShape: [28, 28], x, y: new Int32Array(4) });
 * console.log(model.tensors.get('input:max')?.data[0]); // 0.996…
 * ```
 */
export async function calibrate(model: Model, data: DataSource, options: CalibrateOptions = {}): Promise<void> {
  const { maxBatches = 1, batchSize = 1 } = options;
  requireCount('maxBatches', maxBatches);
  requireCount('batchSize', batchSize);
  if (isDataset(data)) checkDataset(data, lower(model));
  await calibrateRanges(model, data, options);
}
