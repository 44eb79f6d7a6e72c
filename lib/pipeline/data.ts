import { subset } from '../data/arrays.js';
import { compose, randomHorizontalFlip, randomNoise, randomShift, type Augmentation } from '../data/augment.js';
import { permutation } from '../data/batches.js';
import { loadDataset } from '../data/registry.js';
import type { Dataset, DatasetSplits } from '../data/types.js';
import type { Recipe } from './recipe.js';

/** A random choice of examples, the same in every run: neither the order of the data nor the recipe's seed shows in it. */
export function sample(data: Dataset, count: number): Dataset {
  if (count >= data.size) return data;
  return subset(data, permutation(data.size, 0, 0).subarray(0, count).sort(), data.name);
}

/** Images whose black and white, 0 and 1, become other values. */
export function withPixels(splits: DatasetSplits, [black, white]: readonly [number, number]): DatasetSplits {
  const scaled = (part: Dataset): Dataset => ({ ...part, x: part.x.map((value) => black + (white - black) * value) });
  return { ...splits, train: scaled(splits.train), validation: scaled(splits.validation), test: scaled(splits.test) };
}

/**
 * The data of a recipe.
 *
 * @throws PcqatError `ERR_IO`, `ERR_FORMAT` for missing or damaged files
 */
export async function loadRecipeData(recipe: Recipe): Promise<DatasetSplits> {
  const { name, limit, ...given } = recipe.data;
  const { pixels, ...options }: { pixels?: readonly [number, number] | undefined } & Record<string, unknown> = given;
  // the shuffle of a folder into parts follows the recipe's seed
  const loaded = await loadDataset(name, name === 'wav-folder' ? { ...options, seed: recipe.seed } : options);
  const splits = pixels === undefined ? loaded : withPixels(loaded, pixels);
  return {
    ...splits,
    train: sample(splits.train, limit?.train ?? splits.train.size),
    validation: sample(splits.validation, limit?.validation ?? splits.validation.size),
    test: sample(splits.test, limit?.test ?? splits.test.size),
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
