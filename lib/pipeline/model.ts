import { stripClustering } from '../compress/clustering/strip.js';
import { weightedNodes } from '../compress/registry.js';
import { stripPruning } from '../compress/sparsity/strip.js';
import type { Dataset } from '../data/types.js';
import { readModel } from '../formats/import/read-model.js';
import type { Model } from '../graph/model.js';
import { inferShapes, sameShape } from '../graph/shapes.js';
import * as zoo from '../graph/zoo/index.js';
import { withoutTrailingOnes } from '../train/check-data.js';
import type { Recipe } from './recipe.js';
import { recipeError } from './recipe-error.js';

/** Input of the models that fit one only. */
const FIXED_INPUTS: Readonly<Record<string, readonly number[]>> = { 'mnist-cnn': [28, 28, 1] };

/**
 * The model from a file that a recipe starts from; `undefined` where it starts from a fresh one. What pruning and clustering put on
 * it is stripped: zeros and shared weights stay in the weights.
 *
 * @throws PcqatError `ERR_RECIPE` for a model that is quantized already or has nothing to train; what reading the file throws
 */
export async function readSourceModel({ model }: Recipe): Promise<Model | undefined> {
  if (!('file' in model)) return undefined;
  const { file, input, output, dequantize } = model;
  const read = await readModel(file, {
    ...(input === undefined ? {} : { input }),
    ...(output === undefined ? {} : { output }),
    ...(dequantize === undefined ? {} : { dequantize }),
  });
  if (read.model.quantizers.size > 0) {
    throw recipeError('model.file', `'${file}' has fake quantization already`, 'Start from the float model that it was made of.');
  }
  const { optimizer: _, ...source } = stripClustering(stripPruning(read.model));
  if (weightedNodes(source).length === 0) throw recipeError('model.file', `'${file}' has no layer with weights`, 'Choose another model.');
  return source;
}

/** @throws PcqatError `ERR_RECIPE` where a model from a file does not take the examples or give their classes */
function checkFits(source: Model, { inputShape, name }: Dataset, classes: number): void {
  const shapes = inferShapes(source.graph);
  const [input = [], output = []] = [source.graph.nodes[0], source.graph.nodes.at(-1)].map((node) => shapes.get(node?.name ?? ''));
  if (!sameShape(withoutTrailingOnes(input), withoutTrailingOnes(inputShape))) {
    throw recipeError(
      'model.file',
      `the model takes [${input.join(', ')}] but an example of '${name}' is [${inputShape.join(', ')}]`,
      'Choose data with the shape and features that the model was made for, or cut the model with `input`.',
    );
  }
  if (output.length !== 1 || output[0] !== classes) {
    throw recipeError(
      'model.file',
      `the model gives [${output.join(', ')}] but '${name}' has ${classes} classes`,
      'Choose data with as many classes, or cut the model with `output`.',
    );
  }
}

/**
 * The model of a recipe: from its file, or freshly initialised for the data's shape and classes.
 *
 * @param source - what {@link readSourceModel} gave
 * @throws PcqatError `ERR_RECIPE` where model and data do not fit
 */
export function createRecipeModel(recipe: Recipe, data: Dataset, source?: Model): Model {
  const { model, seed } = recipe;
  const { classes, inputShape } = data;
  if (classes === undefined) throw recipeError('data', 'its examples have no class labels', 'Use data for classification.');
  if (source !== undefined) {
    checkFits(source, data, classes);
    return source;
  }
  if ('file' in model) throw recipeError('model.file', 'it was not read', 'Read it with readSourceModel.');
  const fixed = FIXED_INPUTS[model.name];
  if (inputShape.length !== 3 || (fixed && fixed.some((length, axis) => length !== inputShape[axis]))) {
    const wanted = fixed ? `[${fixed.join(', ')}]` : 'height × width × channels';
    throw recipeError(
      'model',
      `'${model.name}' takes ${wanted} but the data has [${inputShape.join(', ')}]`,
      'Choose another model or other data.',
    );
  }
  switch (model.name) {
    case 'ds-cnn-s':
    case 'ds-cnn-m':
    case 'ds-cnn-l': {
      const size = model.name.slice(-1).toUpperCase() as 'S' | 'M' | 'L';
      return zoo.dsCnn({ size, classes, inputShape, seed, ...(model.dropout === undefined ? {} : { dropout: model.dropout }) });
    }
    case 'mobilenet-v1':
      return zoo.mobilenetV1({ classes, inputShape, seed, alpha: model.alpha ?? 0.25 });
    case 'resnet8':
      return zoo.resnet8({ classes, inputShape, seed });
    case 'lenet5':
      return zoo.lenet5({ classes, inputShape, seed });
    case 'mnist-cnn':
      return zoo.mnistCnn({ classes, seed });
  }
}
