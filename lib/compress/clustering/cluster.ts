import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import { loadBinding } from '../../native.js';
import { warnNotice, type OnNotice } from '../notice.js';
import { hasChannelAxis, kernelOf, selectLayers, type LayerSelection, type WeightedNode } from '../registry.js';
import { draftOf, requireFinite, weightOf, type ModelDraft, type WeightView } from '../state.js';
import { normalizeBatchNormSigns } from '../quantization/normalize-signs.js';
import { centroidInits, initialCentroids, type CentroidInit } from './centroids.js';
import { nearestToZero, padRows, slicesOf } from './channels.js';

/** Options of {@link clusterWeights}. */
export interface ClusterOptions {
  /** K, the number of values that a codebook may hold: an integer > 1, > 2 with `preserveSparsity`; at most 65,536. */
  readonly numberOfClusters: number;
  /** How the first codebook is chosen. Default `kmeans++`. */
  readonly centroidInit?: CentroidInit;
  /** Keep the zeros of a kernel: one centroid stays at zero, and masked weights on it. Default `false`. */
  readonly preserveSparsity?: boolean;
  /**
   * Which zeros `preserveSparsity` keeps. `given`: the weights that are zero now, and no others; a kernel (or a channel with a
   * codebook of its own) without a zero gets no zero centroid. `reference`: as tfmot, every codebook gets one, and weights nearest
   * to it become zero for good (W31). Default `given`.
   */
  readonly zeros?: 'given' | 'reference';
  /** One codebook per output channel of a convolution; dense layers and transposed convolutions always have one for the whole kernel (W10). Default `false`. */
  readonly clusterPerChannel?: boolean;
  /** How the gradients of the weights of one cluster become the gradient of its centroid. Default `sum`. */
  readonly gradientAggregation?: 'sum' | 'average';
  /** Layers to cluster. Default: all with a kernel but depthwise ones. */
  readonly layers?: LayerSelection;
  /** Seed of the `random` initialiser. Default 0. */
  readonly seed?: number;
  /**
   * Make every batch norm scale positive first ({@link normalizeBatchNormSigns}), so that folding never negates the codes of
   * a channel. The function of the model stays the same. Default `true`.
   */
  readonly normalizeSigns?: boolean;
  /** Told what was skipped and why. Default: a process warning when weights stay unclustered against the request. */
  readonly onNotice?: OnNotice;
}

/**
 * Shares weights: each selected kernel is replaced by at most K values that train together with it
 * (Han et al. 2016; spec section 2; tfmot `cluster_weights`).
 *
 * The chain is ŵ = C[nearest(w ⊙ M)]. Weights keep moving between clusters while `fit` trains both. With `preserveSparsity` the
 * weights that are zero stay zero; others that are nearest to the zero centroid are zero until they leave it again (fixes W31).
 * A kernel with no more weights than clusters (per channel if asked) is left alone, with a notice. A layer that is clustered
 * already keeps its codebook. Finish with {@link stripClustering}.
 *
 * @throws {@link PcqatError} `ERR_OPTION`, `ERR_UNKNOWN_LAYER`, `ERR_UNSUPPORTED` for a pruned (strip it) or quantized weight,
 *   `ERR_NON_FINITE`
 * @example
 * ```ts
 * import { clusterWeights, materializeWeight, zoo } from 'pcqat';
 * const model = zoo.lenet5();
 * const clustered = clusterWeights(model, { numberOfClusters: 8 });
 * console.log(new Set(materializeWeight(clustered, 'conv2/kernel')).size <= 8); // true
 * ```
 */
export function clusterWeights(model: Model, options: ClusterOptions): Model {
  const settings = settingsOf(options);
  const draft = draftOf(options.normalizeSigns === false ? model : normalizeBatchNormSigns(model));
  for (const node of selectLayers(model, options.layers, settings.onNotice)) clusterNode(draft, node, settings);
  return draft;
}

/** More centroids than this cannot be trained; int8 has 255 codes. */
const maxClusters = 65_536;

type Settings = Required<Omit<ClusterOptions, 'layers' | 'normalizeSigns'>>;

function clusterNode(draft: ModelDraft, node: WeightedNode, settings: Settings): void {
  const layer = node.name;
  const parameter = kernelOf(node);
  const chain = draft.chains.get(parameter);
  if (chain?.technique === 'cluster') {
    settings.onNotice({ code: 'already-treated', layer, message: 'The layer is clustered already; it keeps its codebook.' });
    return;
  }
  if (chain !== undefined) {
    throw new PcqatError('ERR_UNSUPPORTED', `a weight with a ${chain.technique} chain cannot be clustered`, {
      where: `layer '${layer}'`,
      remedy: chain.technique === 'prune' ? 'Call stripPruning first.' : 'Cluster before quantizing.',
    });
  }
  const weight = weightOf(draft, parameter);
  requireFinite(weight);
  const channels = settings.clusterPerChannel && hasChannelAxis(node) ? weight.channels : 0;
  const perCodebook = weight.data.length / (channels || 1);
  if (perCodebook <= settings.numberOfClusters) {
    const message = `${perCodebook} weights${channels > 0 ? ' per channel' : ''} are too few for ${settings.numberOfClusters} clusters; the layer is not clustered.`;
    settings.onNotice({ code: 'too-few-weights', layer, message });
    return;
  }
  if (settings.numberOfClusters > maxClusters) {
    throw new PcqatError('ERR_OPTION', `${settings.numberOfClusters} clusters are more than the ${maxClusters} of a codebook`, {
      where: `layer '${layer}'`,
      remedy: 'Ask for fewer clusters, or leave the layer out with `layers`.',
    });
  }
  if (settings.preserveSparsity && !weight.data.includes(0)) {
    settings.onNotice({ code: 'no-zeros', layer, message: 'The kernel has no zero to preserve.' });
  } else if (settings.preserveSparsity && weight.data.every((value) => value === 0)) {
    settings.onNotice({ code: 'all-zero', layer, message: 'Every weight is zero and will stay so.' });
  }
  attachCodebook(draft, weight, channels, settings);
}

/** State of spec 2.3: codebook, indices, and for kept zeros their mask and the zero centroids. */
function attachCodebook(draft: ModelDraft, weight: WeightView, channels: number, settings: Settings): void {
  const { centroidInit, numberOfClusters, zeros, seed } = settings;
  const slices = slicesOf(weight.data, channels);
  const keepsZeros = slices.map((slice) => settings.preserveSparsity && (zeros === 'reference' || slice.includes(0)));
  const preserveSparsity = keepsZeros.includes(true);
  const rows = slices.map((slice, i) => initialCentroids(slice, centroidInit, numberOfClusters, keepsZeros[i] === true, seed));
  const { centroids, k } = padRows(rows);
  const indices = new Int32Array(weight.data.length);
  loadBinding().assignCentroids(weight.data, centroids, channels, indices);
  const set = (state: string, shape: readonly number[], data: Float32Array | Int32Array | Uint8Array) =>
    draft.tensors.set(`${weight.parameter}:${state}`, { shape, data });
  set('centroids', channels === 0 ? [k] : [channels, k], centroids);
  set('indices', weight.shape, indices);
  if (preserveSparsity) {
    const masked = zeros === 'given' ? weight.data : new Float32Array(indices.length);
    if (zeros === 'reference') loadBinding().gatherCentroids(indices, centroids, channels, masked);
    set(
      'mask',
      weight.shape,
      Uint8Array.from(masked, (value) => (value !== 0 ? 1 : 0)),
    );
    set(
      'zero_index',
      [rows.length],
      Int32Array.from(rows, (row, i) => (keepsZeros[i] === true ? nearestToZero(row) : -1)),
    );
  }
  draft.chains.set(weight.parameter, {
    technique: 'cluster',
    ...(preserveSparsity ? { mask: { writeBack: false, maskGradient: true } } : {}),
    codebook: { perChannel: channels > 0, aggregation: settings.gradientAggregation, ...(preserveSparsity ? { zeroPin: 'equal' } : {}) },
  });
}

function settingsOf(options: ClusterOptions): Settings {
  const {
    numberOfClusters,
    centroidInit = 'kmeans++',
    preserveSparsity = false,
    zeros = 'given',
    clusterPerChannel = false,
    gradientAggregation = 'sum',
    seed = 0,
    onNotice = warnNotice,
  } = options;
  const least = preserveSparsity ? 3 : 2;
  if (!(Number.isSafeInteger(numberOfClusters) && numberOfClusters >= least)) {
    reject('numberOfClusters', numberOfClusters, `an integer of at least ${least}${preserveSparsity ? ' with preserveSparsity' : ''}`);
  }
  if (!centroidInits.includes(centroidInit)) reject('centroidInit', centroidInit, `one of ${centroidInits.join(', ')}`);
  if (gradientAggregation !== 'sum' && gradientAggregation !== 'average')
    reject('gradientAggregation', gradientAggregation, "'sum' or 'average'");
  if (!['given', 'reference'].includes(zeros)) reject('zeros', zeros, "'given' or 'reference'");
  if (!(Number.isSafeInteger(seed) && seed >= 0)) reject('seed', seed, 'an integer of at least 0');
  return { numberOfClusters, centroidInit, preserveSparsity, zeros, clusterPerChannel, gradientAggregation, seed, onNotice };
}

function reject(field: string, value: unknown, rule: string): never {
  throw new PcqatError('ERR_OPTION', `${field} is ${String(value)} but must be ${rule}`, { where: `clusterWeights.${field}` });
}
