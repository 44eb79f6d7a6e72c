import { clusterWeights } from '../compress/clustering/cluster.js';
import { chooseGranularity } from '../compress/clustering/granularity.js';
import { stripClustering } from '../compress/clustering/strip.js';
import { quantizeAnnotateModel } from '../compress/quantization/annotate.js';
import { quantizeApply } from '../compress/quantization/apply.js';
import {
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  Default8BitQuantizeScheme,
  type QuantizeScheme,
} from '../compress/quantization/schemes.js';
import { projectCodebooks } from '../compress/quantization/project.js';
import { isSharedByDefault, weightedNodes } from '../compress/registry.js';
import { pruneLowMagnitude } from '../compress/sparsity/prune.js';
import { constantSparsity, polynomialDecay } from '../compress/sparsity/schedules.js';
import { stripPruning } from '../compress/sparsity/strip.js';
import type { PruningSchedule } from '../compress/sparsity/types.js';
import type { Dataset } from '../data/types.js';
import { cloneModel, type Model } from '../graph/model.js';
import { modelTitle, type Recipe } from './recipe.js';
import { recipeError } from './recipe-error.js';
import type { Stage } from './stage-schema.js';

/** What the recipe wants for each layer with weights: the common value or the layer's own. */
export interface LayerTargets {
  /** Target sparsity by layer; 0 or absent = left dense. */
  readonly sparsity: ReadonlyMap<string, number>;
  /** Clusters by layer; absent = left alone. */
  readonly clusters: ReadonlyMap<string, number>;
}

/**
 * Layers of a model with the recipe's targets.
 *
 * @throws PcqatError `ERR_RECIPE` where `layers` names one that the model does not have
 */
export function layerTargets(model: Model, recipe: Recipe): LayerTargets {
  const nodes = weightedNodes(model);
  for (const name of Object.keys(recipe.layers)) {
    if (!nodes.some((node) => node.name === name)) {
      const known = nodes.map((node) => node.name).join(', ');
      throw recipeError(`layers.${name}`, `model '${modelTitle(recipe)}' has no layer '${name}' with weights`, `Layers are ${known}.`);
    }
  }
  const sparsity = new Map<string, number>();
  const clusters = new Map<string, number>();
  for (const node of nodes) {
    const { name } = node;
    const own = recipe.layers[name];
    const included = recipe.depthwise || isSharedByDefault(node);
    const zeros = own?.sparsity ?? (included ? recipe.sparsity : 0);
    const values = own?.clusters ?? (included ? recipe.clusters : false);
    if (zeros > 0) sparsity.set(name, zeros);
    if (values !== false) clusters.set(name, values);
  }
  return { sparsity, clusters };
}

/** Layer names by their common value. */
function byValue(targets: ReadonlyMap<string, number>): Map<number, string[]> {
  const groups = new Map<number, string[]>();
  for (const [name, value] of targets) groups.set(value, [...(groups.get(value) ?? []), name]);
  return groups;
}

function pruningSchedule(stage: Stage & { stage: 'prune' }, sparsity: number, stepsPerEpoch: number): PruningSchedule {
  const frequency = Math.max(1, Math.floor(stepsPerEpoch / stage.updatesPerEpoch));
  const rampSteps = (stage.rampEpochs ?? stage.epochs / 2) * stepsPerEpoch;
  // a multiple of the frequency, so that the last update is at the target
  const endStep = Math.max(1, Math.floor(rampSteps / frequency)) * frequency;
  if (stage.schedule === 'constant') return constantSparsity({ targetSparsity: sparsity, beginStep: 0, endStep, frequency });
  return polynomialDecay({
    initialSparsity: Math.min(stage.initialSparsity, sparsity),
    finalSparsity: sparsity,
    beginStep: 0,
    endStep,
    frequency,
  });
}

function schemeOf(stage: Stage & { stage: 'qat' | 'pqat' | 'cqat' | 'pcqat' }): QuantizeScheme {
  const plain = stage.weightScale === undefined ? {} : { disablePerAxis: stage.weightScale === 'tensor' };
  const shared = stage.weightScale === undefined ? {} : { weightScale: stage.weightScale };
  switch (stage.stage) {
    case 'qat':
      return new Default8BitQuantizeScheme(plain);
    case 'pqat':
      return new Default8BitPrunePreserveQuantizeScheme(plain);
    case 'cqat':
      return new Default8BitClusterPreserveQuantizeScheme({ ...shared, preserveSparsity: false });
    case 'pcqat':
      return new Default8BitClusterPreserveQuantizeScheme({ ...shared, preserveSparsity: true });
  }
}

/** What {@link prepareStage} needs besides the model. */
export interface StageContext {
  readonly recipe: Recipe;
  readonly stepsPerEpoch: number;
  /** Typical inputs: the damage of a codebook is measured on them. */
  readonly data: Dataset;
  readonly signal?: AbortSignal;
}

/** Layers of one group that get a codebook per channel: those the recipe names, and those chosen by measured damage. */
async function perChannelLayers(
  model: Model,
  layers: readonly string[],
  numberOfClusters: number,
  granularity: (Stage & { stage: 'cluster' })['granularity'],
  { recipe, data, signal }: StageContext,
): Promise<string[]> {
  const wanted = (layer: string) => recipe.layers[layer]?.granularity ?? granularity;
  const open = layers.filter((layer) => wanted(layer) === 'auto');
  const { centroidInit, preserveSparsity, seed } = recipe;
  const options = {
    data,
    numberOfClusters,
    centroidInit,
    preserveSparsity,
    seed,
    layers: open,
    ...(signal === undefined ? {} : { signal }),
  };
  const choices = open.length === 0 ? [] : await chooseGranularity(model, options);
  const chosen = new Map(choices.map(({ layer, granularity: choice }) => [layer, choice]));
  return layers.filter((layer) => (chosen.get(layer) ?? wanted(layer)) === 'channel');
}

/**
 * The model that a stage trains: the last technique is stripped and the stage's own put on, with a fresh optimizer.
 * `finetune` keeps the chains as they are; `retune` fixes the codebooks. The source model stays untouched.
 */
export async function prepareStage(source: Model, stage: Stage, context: StageContext): Promise<Model> {
  const { recipe, stepsPerEpoch } = context;
  const { optimizer: _, ...model } = cloneModel(source);
  if (stage.stage === 'float' || stage.stage === 'finetune') return model;
  if (stage.stage === 'retune') return projectCodebooks(model);
  const targets = layerTargets(model, recipe);
  let next: Model = stripClustering(stripPruning(model));
  switch (stage.stage) {
    case 'prune':
      for (const [sparsity, layers] of byValue(targets.sparsity)) {
        next = pruneLowMagnitude(next, { layers, schedule: pruningSchedule(stage, sparsity, stepsPerEpoch) });
      }
      return next;
    case 'cluster': {
      const float = next;
      for (const [numberOfClusters, layers] of byValue(targets.clusters)) {
        next = clusterWeights(next, {
          layers,
          numberOfClusters,
          centroidInit: recipe.centroidInit,
          preserveSparsity: recipe.preserveSparsity,
          clusterPerChannel: await perChannelLayers(float, layers, numberOfClusters, stage.granularity, context),
          gradientAggregation: stage.aggregation,
          seed: recipe.seed,
        });
      }
      return next;
    }
    default: {
      const { rangeInit } = stage;
      return quantizeApply(quantizeAnnotateModel(next), { scheme: schemeOf(stage), ...(rangeInit === undefined ? {} : { rangeInit }) });
    }
  }
}
