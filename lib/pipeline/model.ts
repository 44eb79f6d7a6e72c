import type { Dataset } from '../data/types.js';
import type { Model } from '../graph/model.js';
import * as zoo from '../graph/zoo/index.js';
import type { Recipe } from './recipe.js';
import { recipeError } from './recipe-error.js';

/** Input of the models that fit one only. */
const FIXED_INPUTS: Readonly<Record<string, readonly number[]>> = { 'mnist-cnn': [28, 28, 1] };

/**
 * The freshly initialised model of a recipe, made for the data's shape and classes.
 *
 * @throws PcqatError `ERR_RECIPE` where model and data do not fit
 */
export function createRecipeModel(recipe: Recipe, data: Dataset): Model {
  const { model, seed } = recipe;
  const { classes, inputShape } = data;
  if (classes === undefined) throw recipeError('data', 'its examples have no class labels', 'Use data for classification.');
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
