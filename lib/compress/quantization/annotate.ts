import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import type { GraphNode } from '../../graph/types.js';
import { requireModel } from '../state.js';

/** A model and the layers that `quantizeApply` is to quantize. Annotation changes no prediction. */
export interface AnnotatedModel {
  readonly model: Model;
  /** Node names. */
  readonly layers: ReadonlySet<string>;
}

/**
 * Marks every layer for quantization (tfmot `quantize_annotate_model`).
 *
 * @param model - a model, or one that has annotations already
 * @throws {@link PcqatError} `ERR_OPTION` when it is neither
 * @example
 * ```ts
 * import { quantizeAnnotateModel, zoo } from 'pcqat';
 * const annotated = quantizeAnnotateModel(zoo.lenet5());
 * console.log(annotated.layers.has('conv1')); // true
 * ```
 */
export function quantizeAnnotateModel(model: Model | AnnotatedModel): AnnotatedModel {
  const source = sourceOf(model);
  return { model: source, layers: new Set(annotatable(source).map((node) => node.name)) };
}

/**
 * Marks some layers for quantization; the rest of the model stays float (tfmot `quantize_annotate_layer`). A layer with
 * a kernel takes the batch norm and the ReLU with it that follow it and that nothing else reads: they are one int8 layer.
 *
 * @param model - a model, or one that has annotations already: the new ones are added
 * @param layers - node names, or a predicate
 * @throws {@link PcqatError} `ERR_UNKNOWN_LAYER` that lists the layers; `ERR_OPTION` for something else than a model
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
): AnnotatedModel {
  const source = sourceOf(model);
  const candidates = annotatable(source);
  const known = new Set(candidates.map((node) => node.name));
  const names =
    typeof layers === 'function' ? candidates.filter(layers).map((node) => node.name) : typeof layers === 'string' ? [layers] : layers;
  for (const name of names) {
    if (known.has(name)) continue;
    throw new PcqatError('ERR_UNKNOWN_LAYER', `'${name}' is no layer that can be quantized`, {
      where: 'quantizeAnnotateLayer',
      remedy: `Layers are ${[...known].join(', ')}.`,
    });
  }
  return { model: source, layers: new Set([...('model' in model ? model.layers : []), ...names]) };
}

function sourceOf(model: Model | AnnotatedModel): Model {
  const source: unknown = typeof model === 'object' && model !== null && 'model' in model ? model.model : model;
  requireModel(source);
  return source;
}

/** Everything but the input, which is quantized whenever a layer that reads it is. */
function annotatable(model: Model): GraphNode[] {
  return model.graph.nodes.filter((node) => node.op !== 'input');
}
