import { parseRecipe } from './parse.js';
import type { Recipe, RecipeInput } from './recipe.js';

/** Flags of `pcqat demo`. */
export interface DemoOptions {
  readonly model?: string;
  readonly sparsity?: number;
  readonly clusters?: number;
  readonly seed?: number;
  /** Total epochs of every column. */
  readonly epochs?: number;
  /** Folder with the packed recordings; default: the copy that ships with pcqat. */
  readonly data?: string;
  readonly html?: boolean;
}

/**
 * The recipe of `pcqat demo`: a model of the zoo on the Free Spoken Digit Dataset.
 *
 * @throws PcqatError `ERR_RECIPE` for an option out of range
 *
 * @example
 * ```ts
 * import { demoRecipe } from 'pcqat';
 * const recipe = demoRecipe({ clusters: 8 });
 * console.log(recipe.data.name, recipe.clusters); // fsdd 8
 * ```
 */
export function demoRecipe(options: DemoOptions = {}): Recipe {
  const { model = 'ds-cnn-s', data, html = true } = options;
  const input = {
    name: `pcqat demo: ${model} on spoken digits`,
    model,
    data: { name: 'fsdd', ...(data === undefined ? {} : { path: data }) },
    outputs: { html },
    augment: { shift: [4, 0], noise: 0.05 },
  };
  const given = { sparsity: options.sparsity, clusters: options.clusters, seed: options.seed, epochs: options.epochs };
  return parseRecipe({
    ...input,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  } satisfies Partial<Record<keyof RecipeInput, unknown>>);
}
