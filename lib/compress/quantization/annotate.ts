import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import type { GraphNode } from '../../graph/types.js';
import { requireModel } from '../state.js';
import { checkConfig, type QuantizeConfig } from './config.js';

/** A model and the layers that `quantizeApply` is to quantize. Annotation changes no prediction. */
export interface AnnotatedModel {
  readonly model: Model;
  /** Node names. */
  readonly layers: ReadonlySet<string>;
  /** How to quantize some of them, by node name; the others are quantized as the scheme does it. */
  readonly configs?: ReadonlyMap<string, QuantizeConfig>;
}

/**
 * Marks every layer for quantization (tfmot `quantize_annotate_model`).
 *
 * @param model - a model, or one that has annotations already: their configs are kept
 * @throws {@link PcqatError} `ERR_OPTION` when it is neither
 * @example
 * ```ts
 * import { quantizeAnnotateModel, zoo } from 'pcqat';
 * const annotated = quantizeAnnotateModel(zoo.lenet5());
 * console.log(annotated.layers.has('conv1')); // true
 * ```
 */
export function quantizeAnnotateModel(model: Model | AnnotatedModel): AnnotatedModel {
  const before = annotated(model);
  return { ...before, layers: new Set(annotatable(before.model).map((node) => node.name)) };
}

/**
 * Marks some layers for quantization; the rest of the model stays float (tfmot `quantize_annotate_layer`). A layer with
 * a kernel takes the batch norm and the ReLU with it that follow it and that nothing else reads: they are one int8 layer.
 *
 * @param model - a model, or one that has annotations already: the new ones are added
 * @param layers - node names, or a predicate
 * @param config - how to quantize them. Default: as the scheme does it, or as an earlier annotation of the layer says
 * @throws {@link PcqatError} `ERR_UNKNOWN_LAYER` that lists the layers; `ERR_OPTION` for something else than a model or for a bad config,
 *   naming layer and field
 * @example
 * ```ts
 * import { quantizeAnnotateLayer, quantizeApply, zoo } from 'pcqat';
 * const model = zoo.lenet5();
 * console.log([...quantizeApply(quantizeAnnotateLayer(model, ['conv1'])).chains.keys()]); // [ 'conv1/kernel' ]
 * ```
 */
export function quantizeAnnotateLayer(
  model: Model | AnnotatedModel,
  layers: string | readonly string[] | ((node: GraphNode) => boolean),
  config?: QuantizeConfig,
): AnnotatedModel {
  const before = annotated(model);
  const candidates = annotatable(before.model);
  const known = new Map(candidates.map((node) => [node.name, node]));
  const names =
    typeof layers === 'function' ? candidates.filter(layers).map((node) => node.name) : typeof layers === 'string' ? [layers] : layers;
  const configs = new Map(before.configs);
  for (const name of names) {
    const node = known.get(name);
    if (node !== undefined) {
      if (config !== undefined) configs.set(name, checkConfig(config, node));
      continue;
    }
    throw new PcqatError('ERR_UNKNOWN_LAYER', `'${name}' is no layer that can be quantized`, {
      where: 'quantizeAnnotateLayer',
      remedy: `Layers are ${[...known.keys()].join(', ')}.`,
    });
  }
  return { model: before.model, layers: new Set([...before.layers, ...names]), configs };
}

function annotated(model: Model | AnnotatedModel): Required<AnnotatedModel> {
  const isAnnotated = typeof model === 'object' && model !== null && 'model' in model;
  requireModel(isAnnotated ? model.model : model);
  return isAnnotated ? { configs: new Map(), ...model } : { model, layers: new Set(), configs: new Map() };
}

/** Everything but the input, which is quantized whenever a layer that reads it is. */
function annotatable(model: Model): GraphNode[] {
  return model.graph.nodes.filter((node) => node.op !== 'input');
}
