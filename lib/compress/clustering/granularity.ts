import { firstRows } from '../../data/arrays.js';
import type { Dataset } from '../../data/types.js';
import { PcqatError } from '../../errors.js';
import { predict } from '../../evaluate/evaluate.js';
import type { Model } from '../../graph/model.js';
import { hasChannelAxis, kernelOf, selectLayers, type LayerSelection, type WeightedNode } from '../registry.js';
import { weightOf } from '../state.js';
import type { CentroidInit } from './centroids.js';
import { clusterWeights } from './cluster.js';
import { stripClustering } from './strip.js';

/** One codebook for the whole kernel, or one per output channel. */
export type Granularity = 'tensor' | 'channel';

/** Options of {@link chooseGranularity}. */
export interface GranularityOptions {
  /** Typical inputs; labels are not looked at. */
  readonly data: Dataset;
  /** K, as for `clusterWeights`. */
  readonly numberOfClusters: number;
  /** Default `kmeans++`. */
  readonly centroidInit?: CentroidInit;
  /** Default `false`. */
  readonly preserveSparsity?: boolean;
  /** Default: every convolution and dense layer. */
  readonly layers?: LayerSelection;
  /** Of the `random` initialiser. Default 0. */
  readonly seed?: number;
  /** Examples to measure with, from the first. Default 128. */
  readonly samples?: number;
  /**
   * A codebook for the whole kernel must leave this output signal-to-noise ratio, in dB, or the layer gets one per channel if that is better
   * by 3 dB at least. Default 10: the damage, before any re-training, may be a tenth of the output's power.
   */
  readonly minimumSnr?: number;
  readonly signal?: AbortSignal;
}

/** What {@link chooseGranularity} found for one layer. */
export interface GranularityChoice {
  readonly layer: string;
  readonly granularity: Granularity;
  /**
   * Σy² / Σ(y − ŷ)² of the model's output in dB when the kernel of this layer alone is clustered that way; Infinity when nothing changes.
   * No `channel`: the layer cannot have a codebook per channel (dense, one channel, or too few weights in a channel).
   */
  readonly snr: { readonly tensor: number; readonly channel?: number };
}

/** One codebook is worth this much damage: it keeps K codes in the whole tensor. */
const WORTHWHILE_DB = 3;

/**
 * Chooses for every layer between one codebook for the whole kernel (smallest file: K codes in the whole tensor) and one per output channel
 * (finer), by measured damage: the signal-to-noise ratio of the model's output on typical inputs when the layer's kernel is replaced by its
 * clustered form before any re-training.
 *
 * @param model - the model that is to be clustered; it is not changed
 * @returns one entry per layer, in graph order; hand the layers with `channel` to `clusterWeights` as `clusterPerChannel`
 * @throws {@link PcqatError} `ERR_OPTION`, `ERR_UNKNOWN_LAYER`, errors of `clusterWeights` and `predict` for bad models and data
 * @example
 * ```ts
 * import { chooseGranularity, clusterWeights, zoo } from 'pcqat';
 * const model = zoo.lenet5();
 * const data = { name: 'noise', size: 4, inputShape: [28, 28, 1], x: new Float32Array(4 * 784).fill(0.3), y: new Int32Array(4) };
 * const choices = await chooseGranularity(model, { data, numberOfClusters: 8 });
 * const clusterPerChannel = choices.filter(({ granularity }) => granularity === 'channel').map(({ layer }) => layer);
 * console.log(clusterWeights(model, { numberOfClusters: 8, clusterPerChannel }).chains.size); // 5
 * ```
 */
export async function chooseGranularity(model: Model, options: GranularityOptions): Promise<GranularityChoice[]> {
  const { data, samples = 128, minimumSnr = 10, layers, signal, ...clustering } = options;
  if (!(Number.isSafeInteger(samples) && samples >= 1)) reject('samples', samples, 'an integer of at least 1');
  if (typeof minimumSnr !== 'number' || Number.isNaN(minimumSnr)) reject('minimumSnr', minimumSnr, 'a number of decibels');
  const logits = withoutSoftmax(model);
  const { x } = firstRows(data, samples);
  const running = signal === undefined ? {} : { signal };
  const reference = await predict(logits, x, running);
  const ignore = (): void => undefined;
  const damage = async (node: WeightedNode, clusterPerChannel: boolean): Promise<number> => {
    const settings = { ...clustering, layers: [node.name], clusterPerChannel, normalizeSigns: false, onNotice: ignore };
    return signalToNoise(reference, await predict(stripClustering(clusterWeights(logits, settings)), x, running));
  };
  const choices: GranularityChoice[] = [];
  for (const node of selectLayers(model, layers, ignore)) {
    const tensor = await damage(node, false);
    const { data: weights, channels } = weightOf(model, kernelOf(node));
    if (!hasChannelAxis(node) || channels === 1 || weights.length / channels <= clustering.numberOfClusters) {
      choices.push({ layer: node.name, granularity: 'tensor', snr: { tensor } });
      continue;
    }
    const channel = await damage(node, true);
    const granularity = tensor < minimumSnr && channel >= tensor + WORTHWHILE_DB ? 'channel' : 'tensor';
    choices.push({ layer: node.name, granularity, snr: { tensor, channel } });
  }
  return choices;
}

/** A softmax would hide damage where it is saturated. */
function withoutSoftmax(model: Model): Model {
  const { name, nodes } = model.graph;
  return nodes.at(-1)?.op === 'softmax' ? { ...model, graph: { name, nodes: nodes.slice(0, -1) } } : model;
}

function signalToNoise(reference: Float32Array, output: Float32Array): number {
  let [signal, noise] = [0, 0];
  reference.forEach((y, i) => {
    signal += y ** 2;
    noise += (y - (output[i] ?? 0)) ** 2;
  });
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
}

function reject(field: string, value: unknown, rule: string): never {
  throw new PcqatError('ERR_OPTION', `${field} is ${String(value)} but must be ${rule}`, { where: `chooseGranularity.${field}` });
}
