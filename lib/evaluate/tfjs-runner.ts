import type { DataSource } from '../data/types.js';
import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { elementCount } from '../graph/shapes.js';
import { openTfjsSession } from '../tfjs/engine.js';
import { explained, requireTfjs } from '../tfjs/explain.js';
import type { Tfjs, TfTensor } from '../tfjs/tfjs.js';
import type { Loss } from '../train/losses.js';
import type { Evaluation } from '../train/metrics.js';
import { evaluateWith } from './evaluate.js';
import { openGraphRunner, sessionOptions } from './graph-runner.js';
import { checkedRowCount, concatenated, portions } from './rows.js';
import { readArtifacts } from './tfjs-artifacts.js';

/** What pcqat needs of a model of tfjs: a `LayersModel`, or a `GraphModel` with one input and one output. */
export interface LayersModel {
  readonly inputs: readonly { readonly shape?: readonly (number | null)[] | undefined }[];
  predict(x: never, options?: { batchSize?: number }): unknown;
}

/** tfjs with the loader of LayersModels, which `@tensorflow/tfjs` and `@tensorflow/tfjs-layers` have. */
type TfjsWithLoader = Tfjs & { readonly loadLayersModel?: (source: never) => Promise<LayersModel & { dispose?(): unknown }> };

/** Options of {@link runTfjs}. */
export interface TfjsRunOptions {
  /** Rows at a time. Default 128. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
}

const isModel = (source: Model | LayersModel | object): source is Model => 'graph' in source && 'tensors' in source;
const isLayersModel = (source: object): source is LayersModel => 'predict' in source && typeof source.predict === 'function';

/**
 * Outputs of a model for rows of inputs, computed by the caller's tfjs in inference mode: a model of pcqat as it is (through masks, codebooks
 * and fake quantization), or a LayersModel, to see that an exported or imported one computes the same. tfjs builds a LayersModel as its file
 * says, whatever memory that takes: for files that you do not trust use `importModel`.
 *
 * @param tf - `@tensorflow/tfjs-core`, `@tensorflow/tfjs` or `@tensorflow/tfjs-node` with a backend registered
 * @param source - a pcqat model; a loaded LayersModel; its artifacts; or the path of its folder or `model.json` (the last two need a `tf` with
 *   `loadLayersModel`)
 * @param x - rows × product of the input shape
 * @returns rows × product of the output shape
 * @throws PcqatError `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_NON_FINITE`, `ERR_OPTION` for bad data or options; `ERR_IO`, `ERR_FORMAT` for a folder
 *   that is no LayersModel; `ERR_MISSING_PEER` without a loader; `ERR_UNSUPPORTED` for more than one input or output.
 *
 * @example
 * ```ts
 * import '@tensorflow/tfjs-backend-cpu';
 * import * as tf from '@tensorflow/tfjs-core';
 * import { zoo } from 'pcqat';
 * import { runTfjs } from 'pcqat/tfjs';
 * const logits = await runTfjs(tf, zoo.mnistCnn(), new Float32Array(2 * 28 * 28));
 * console.log(logits.length); // 20
 * ```
 */
export async function runTfjs(
  tf: Tfjs,
  source: Model | LayersModel | object | string,
  x: Float32Array,
  options: TfjsRunOptions = {},
): Promise<Float32Array> {
  requireTfjs(tf);
  if (typeof source !== 'string' && (typeof source !== 'object' || source === null)) {
    throw new PcqatError('ERR_OPTION', `there is no model to run, but ${String(source)}`, { where: 'runTfjs' });
  }
  if (typeof source !== 'string' && isModel(source)) return runModel(tf, source, x, options);
  if (typeof source !== 'string' && isLayersModel(source)) return runLayersModel(tf, source, x, options);
  const { loadLayersModel } = tf as TfjsWithLoader;
  if (typeof loadLayersModel !== 'function') {
    throw new PcqatError('ERR_MISSING_PEER', 'this tfjs cannot load a LayersModel', {
      where: 'runTfjs',
      remedy: "Pass '@tensorflow/tfjs', or { ...tf, loadLayersModel } with that of '@tensorflow/tfjs-layers'.",
    });
  }
  const artifacts = typeof source === 'string' ? await readArtifacts(source) : source;
  let loaded: Awaited<ReturnType<typeof loadLayersModel>>;
  try {
    loaded = await loadLayersModel({ load: async () => artifacts } as never);
  } catch (cause) {
    throw new PcqatError('ERR_FORMAT', `tfjs cannot load it: ${(cause as Error).message}`, {
      where: typeof source === 'string' ? source : 'artifacts',
      cause,
    });
  }
  try {
    return await runLayersModel(tf, loaded, x, options);
  } finally {
    loaded.dispose?.();
  }
}

async function runModel(tf: Tfjs, model: Model, x: Float32Array, options: TfjsRunOptions): Promise<Float32Array> {
  const runner = openGraphRunner(model, options, openTfjsSession(tf));
  try {
    return await runner.run(x, options);
  } finally {
    runner.dispose();
  }
}

async function runLayersModel(tf: Tfjs, model: LayersModel, x: Float32Array, options: TfjsRunOptions): Promise<Float32Array> {
  const { maxBatch } = sessionOptions(options);
  const [input, ...others] = model.inputs;
  const shape = input?.shape?.slice(1);
  if (others.length > 0 || shape === undefined || shape.some((size) => typeof size !== 'number' || size < 1)) {
    throw new PcqatError('ERR_UNSUPPORTED', 'only a model with one input of a fixed shape can run', { where: 'runTfjs' });
  }
  const inputShape = shape as number[];
  checkedRowCount(x, inputShape);
  const size = elementCount(inputShape);
  const parts: Float32Array[] = [];
  for (const part of portions(x, size, maxBatch)) {
    options.signal?.throwIfAborted();
    const output = tf.tidy(() => predicted(model, tf.tensor(part.slice(), [part.length / size, ...inputShape])));
    parts.push(Float32Array.from(await output.data()));
    output.dispose();
  }
  return concatenated(parts, Float32Array);
}

function predicted(model: LayersModel, x: TfTensor): TfTensor {
  let output: unknown;
  try {
    output = model.predict(x as never, { batchSize: x.shape[0] ?? 1 });
  } catch (error) {
    throw explained(error, 'runTfjs');
  }
  if (typeof output === 'object' && output !== null && 'dataSync' in output) return output as TfTensor;
  throw new PcqatError('ERR_UNSUPPORTED', 'only a model with one output can run', { where: 'runTfjs' });
}

/**
 * `evaluate` on the caller's tfjs: loss and accuracy of a model as it is.
 *
 * @returns Mean loss, and accuracy as a fraction in [0, 1].
 * @throws PcqatError as `evaluate`; `ERR_UNSUPPORTED` when the backend lacks a kernel, naming it and the layer.
 *
 * @example
 * ```ts
 * import '@tensorflow/tfjs-backend-cpu';
 * import * as tf from '@tensorflow/tfjs-core';
 * import { zoo } from 'pcqat';
 * import { evaluateTfjs } from 'pcqat/tfjs';
 * const data = { name: 'noise', size: 2, inputShape: [28, 28], x: new Float32Array(2 * 784).fill(0.5), y: Int32Array.of(3, 4) };
 * console.log((await evaluateTfjs(tf, zoo.mnistCnn(), data)).loss);
 * ```
 */
export function evaluateTfjs(
  tf: Tfjs,
  model: Model,
  data: DataSource,
  options: TfjsRunOptions & { readonly loss?: Loss } = {},
): Promise<Evaluation> {
  return evaluateWith(openTfjsSession(tf), model, data, options);
}
