import { subset } from '../data/arrays.js';
import { compose, randomHorizontalFlip, randomNoise, randomShift, type Augmentation } from '../data/augment.js';
import { loadDataset } from '../data/registry.js';
import type { Dataset, DatasetSplits } from '../data/types.js';
import type { Recipe } from './recipe.js';

/** Examples at even distances, so that a sorted data set is represented as a whole. */
export function spread(data: Dataset, count: number): Dataset {
  if (count >= data.size) return data;
  const rows = Array.from({ length: count }, (_, i) => Math.floor((i * data.size) / count));
  return subset(data, rows, data.name);
}

/**
 * The data of a recipe.
 *
 * @throws PcqatError `ERR_IO`, `ERR_FORMAT` for missing or damaged files
 */
export async function loadRecipeData(recipe: Recipe): Promise<DatasetSplits> {
  const { name, limit, ...options } = recipe.data;
  // the shuffle of a folder into parts follows the recipe's seed
  const splits = await loadDataset(name, name === 'wav-folder' ? { ...options, seed: recipe.seed } : options);
  return {
    ...splits,
    train: spread(splits.train, limit?.train ?? splits.train.size),
    validation: spread(splits.validation, limit?.validation ?? splits.validation.size),
    test: spread(splits.test, limit?.test ?? splits.test.size),
  };
}

/** The recipe's random changes of training examples; none where it names none. */
export function recipeAugmentation({ augment }: Recipe): Augmentation | undefined {
  if (augment === undefined) return undefined;
  const { shift, flip, noise } = augment;
  return compose(
    ...(shift ? [randomShift({ height: shift[0], width: shift[1] })] : []),
    ...(flip ? [randomHorizontalFlip()] : []),
    ...(noise === undefined ? [] : [randomNoise({ stddev: noise })]),
  );
}
