import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import { loadBinding } from '../../native.js';
import { warnNotice, type OnNotice } from '../notice.js';
import { isWeighted, kernelOf, type WeightedNode } from '../registry.js';
import { clusteredAs, draftOf, forgetClusters, requireFinite, weightOf, type ModelDraft } from '../state.js';
import { quantizeAnnotateModel, type AnnotatedModel } from './annotate.js';
import { checkConfig, configuredOutputs, setOutputQuantizer, type QuantizeConfig, startOfWeight, withWeightQuantizer } from './config.js';
import { foldedPairs } from './normalize-signs.js';
import { placeQuantizers } from './placement.js';
import { allValuesQuantizer, movingAverageQuantizer, type Quantizer } from './quantizers.js';
import { Default8BitQuantizeScheme, type ClusterRecord, type QuantizeScheme } from './schemes.js';

/** Options of {@link quantizeApply}. */
export interface QuantizeOptions {
  /** What happens to kernels. Default: `new Default8BitQuantizeScheme()`, plain QAT. */
  readonly scheme?: QuantizeScheme;
  /**
   * Where activation ranges start. `data` (default): `fit` or `calibrate` takes them from data first (fixes W21, W22).
   * `reference`: ±6, the input 0/0.
   */
  readonly rangeInit?: 'data' | 'reference';
  /** Of the moving average of activation ranges, in (0, 1). Default 0.99 with `data`, 0.999 with `reference`. */
  readonly activationDecay?: number;
  /** Told what is not preserved and why. Default: a process warning when clusters or zeros may be lost. */
  readonly onNotice?: OnNotice;
}

/**
 * Puts 8-bit fake quantization on the annotated layers (Jacob et al. 2018; spec 3, 4; tfmot `quantize_apply`): kernels by the
 * scheme, outputs asymmetrically per tensor with moving-average ranges, once per int8 operator. Batch norm stays a float layer
 * with batch statistics between an unquantized convolution output and one fake quantization.
 *
 * A config given to `quantizeAnnotateLayer` replaces the default quantizers of its layer; the scheme's mask and codebook stay.
 *
 * @returns a new model to train with `fit` and to export with `convertToInt8`
 * @throws {@link PcqatError} `ERR_OPTION` when nothing is annotated or an option is bad, `ERR_UNSUPPORTED` when a kernel is still
 *   pruned or clustered (strip it) or quantized already, `ERR_NON_FINITE`
 * @example
 * ```ts
 * import { quantizeAnnotateModel, quantizeApply, zoo } from 'pcqat';
 * const qat = quantizeApply(quantizeAnnotateModel(zoo.lenet5()));
 * console.log([...qat.quantizers.keys()]); // the input, and one node per int8 operator
 * ```
 */
export function quantizeApply(annotated: AnnotatedModel, options: QuantizeOptions = {}): Model {
  const { scheme = new Default8BitQuantizeScheme(), rangeInit = 'data', onNotice = warnNotice } = options;
  const decay = options.activationDecay ?? (rangeInit === 'data' ? 0.99 : 0.999);
  if (rangeInit !== 'data' && rangeInit !== 'reference') reject('rangeInit', rangeInit, "'data' or 'reference'");
  if (typeof (scheme as Partial<QuantizeScheme>).planWeight !== 'function') reject('scheme', scheme, 'a quantize scheme');
  if (!(decay > 0 && decay < 1)) reject('activationDecay', decay, 'in (0, 1)');
  if (!((annotated as Partial<AnnotatedModel>).layers instanceof Set) || annotated.layers.size === 0) {
    throw new PcqatError('ERR_OPTION', 'no layer is annotated for quantization', {
      where: 'quantizeApply',
      remedy: 'Pass the result of quantizeAnnotateModel or quantizeAnnotateLayer.',
    });
  }
  const draft = draftOf(annotated.model);
  if (draft.quantizers.size > 0) {
    throw new PcqatError('ERR_UNSUPPORTED', 'the model is quantized already', {
      where: 'quantizeApply',
      remedy: 'Start from the float model.',
    });
  }
  const { outputs, weights } = placeQuantizers(draft.graph, annotated.layers);
  const configs = checkedConfigs(annotated);
  const configured = configuredOutputs(draft.graph, configs, outputs);
  for (const node of draft.graph.nodes) {
    if (isWeighted(node) && weights.has(node.name)) {
      quantizeWeight(draft, node, { scheme, onNotice, rangeInit, quantizer: configs.get(node.name)?.weights });
    }
    if (!outputs.has(node.name)) continue;
    const chosen = configured.get(node.name) ?? (node.op === 'input' ? allValuesQuantizer() : movingAverageQuantizer());
    if (chosen !== false) setOutputQuantizer(draft, node.name, chosen, { decay, rangeInit });
  }
  warnOfNegativeScales(draft, onNotice);
  return draft;
}

/**
 * `quantizeApply(quantizeAnnotateModel(model), options)` (tfmot `quantize_model`).
 *
 * @throws {@link PcqatError} as {@link quantizeApply}
 * @example
 * ```ts
 * import { quantizeModel, zoo } from 'pcqat';
 * console.log(quantizeModel(zoo.lenet5()).chains.size > 0); // true
 * ```
 */
export function quantizeModel(model: Model, options: QuantizeOptions = {}): Model {
  return quantizeApply(quantizeAnnotateModel(model), options);
}

/** Configs may be made by hand, or come from JSON. */
function checkedConfigs({ model, layers, configs = new Map() }: AnnotatedModel): ReadonlyMap<string, QuantizeConfig> {
  const nodes = new Map(model.graph.nodes.map((node) => [node.name, node]));
  const checked = new Map<string, QuantizeConfig>();
  for (const [name, config] of configs) {
    const node = nodes.get(name);
    if (node === undefined || !layers.has(name)) {
      throw new PcqatError('ERR_OPTION', 'a config belongs to no annotated layer', { where: `layer '${name}'` });
    }
    checked.set(name, checkConfig(config, node));
  }
  return checked;
}

interface WeightOptions {
  readonly scheme: QuantizeScheme;
  readonly onNotice: OnNotice;
  readonly rangeInit: 'data' | 'reference';
  /** Instead of the scheme's. */
  readonly quantizer: Quantizer | false | undefined;
}

function quantizeWeight(draft: ModelDraft, node: WeightedNode, { scheme, onNotice, rangeInit, quantizer }: WeightOptions): void {
  const parameter = kernelOf(node);
  const old = draft.chains.get(parameter);
  if (old !== undefined) {
    throw new PcqatError('ERR_UNSUPPORTED', `a weight with a ${old.technique} chain cannot be quantized`, {
      where: `layer '${node.name}'`,
      remedy:
        old.technique === 'prune'
          ? 'Call stripPruning first.'
          : old.technique === 'cluster'
            ? 'Call stripClustering first.'
            : 'It is quantized already.',
    });
  }
  const weight = weightOf(draft, parameter);
  requireFinite(weight);
  const { chain: planned, state, notices } = scheme.planWeight(node, weight, recordOf(draft, parameter));
  const chain = quantizer === undefined ? planned : withWeightQuantizer(planned, quantizer);
  for (const notice of notices) onNotice({ layer: node.name, ...notice });
  for (const [name, tensor] of Object.entries(state)) draft.tensors.set(`${parameter}:${name}`, tensor);
  if (chain !== undefined) draft.chains.set(parameter, chain);
  if (chain?.codebook !== undefined) assign(draft, parameter);
  else forgetClusters(draft, parameter); // training will move the values apart
  if (chain?.fakeQuant !== undefined) {
    const range = startOfWeight(weight, chain.fakeQuant, quantizer, rangeInit);
    draft.tensors.set(`${parameter}:min`, { shape: [range.min.length], data: range.min });
    draft.tensors.set(`${parameter}:max`, { shape: [range.max.length], data: range.max });
  }
}

/** The weight's values are the centroids, so this is exact. */
function assign(draft: ModelDraft, parameter: string): void {
  const weight = weightOf(draft, parameter);
  const centroids = draft.tensors.get(`${parameter}:centroids`);
  const indices = draft.tensors.get(`${parameter}:indices`);
  if (!(centroids?.data instanceof Float32Array) || !(indices?.data instanceof Int32Array)) return;
  loadBinding().assignCentroids(weight.data, centroids.data, centroids.shape.length === 2 ? weight.channels : 0, indices.data);
}

function recordOf(model: Model, parameter: string): ClusterRecord | undefined {
  const record = model.tensors.get(`${parameter}:${clusteredAs}`)?.data;
  return record === undefined ? undefined : { clusters: record[0] ?? 0, perChannel: record[1] === 1 };
}

/** One scale for a codebook needs positive batch norm scales; folding a negative one negates the codes of its channel. */
function warnOfNegativeScales(model: Model, onNotice: OnNotice): void {
  for (const { layer, batchNorm } of foldedPairs(model)) {
    const chain = model.chains.get(kernelOf(layer));
    if (chain?.codebook === undefined || chain.codebook.perChannel) continue;
    const negative = weightOf(model, `${batchNorm.name}/gamma`).data.filter((value) => value < 0).length;
    if (negative === 0) continue;
    onNotice({
      code: 'negative-gamma',
      layer: layer.name,
      message: `${negative} scales of '${batchNorm.name}' are negative, so int8 codes may exceed the number of clusters; clusterWeights with normalizeSigns avoids it.`,
    });
  }
}

function reject(field: string, value: unknown, rule: string): never {
  throw new PcqatError('ERR_OPTION', `${field} is ${String(value)} but must be ${rule}`, { where: `quantizeApply.${field}` });
}
