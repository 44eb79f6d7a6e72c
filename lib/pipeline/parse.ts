import { readFile } from 'node:fs/promises';
import { dirname, extname, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import type { z } from 'zod';
import { PcqatError } from '../errors.js';
import { recipeError } from './recipe-error.js';
import { planColumns } from './columns.js';
import { checkFormats } from './exports.js';
import { recipeSchema, type Recipe } from './recipe.js';

type Issue = z.core.$ZodIssue;

/** `['columns', 'pcqat', 2, 'epochs']` → `columns.pcqat[2].epochs`. */
function fieldPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    const name = /^[\w$-]+$/.test(String(key)) ? String(key) : JSON.stringify(String(key));
    return text === '' ? name : `${text}.${name}`;
  }, '');
}

/** A value as it may stand in a message: short, on one line. */
function show(value: unknown): string {
  if (typeof value === 'number') return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 40 ? `${text.slice(0, 37)}…` : text;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  object: 'an object',
  record: 'an object',
  array: 'a list',
  tuple: 'a list',
};

const typeName = (expected: string): string => TYPE_NAMES[expected] ?? expected;

/** Follows a path into the recipe, for the value to show. */
const valueAt = (root: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | null | undefined)?.[key], root);

/** Of a union's alternatives, the one that got furthest into the value: its first issue is what the writer meant. */
function deepest(alternatives: readonly (readonly Issue[])[], value: unknown): Issue | undefined {
  // An alternative that is told by a field which is absent was not meant.
  const meant = (issue: Issue): boolean =>
    issue.code !== 'invalid_union' || issue.path.length === 0 || valueAt(value, issue.path) !== undefined;
  const first = alternatives.map((issues) => issues[0]).filter((issue) => issue !== undefined && meant(issue)) as Issue[];
  const depth = Math.max(0, ...first.map((issue) => issue.path.length));
  return depth === 0 ? first.find((issue) => issue.code === 'unrecognized_keys') : first.find((issue) => issue.path.length === depth);
}

/** What is wrong at a field, and what is allowed there. */
function describeIssue(issue: Issue, root: unknown, base: readonly PropertyKey[] = []): { where: string; message: string; remedy: string } {
  const path = [...base, ...issue.path];
  const where = fieldPath(path);
  const value = valueAt(root, path);
  const is = value === undefined ? 'it is missing' : `it is ${show(value)}`;
  switch (issue.code) {
    case 'unrecognized_keys': {
      const keys = issue.keys.map((key) => `'${key}'`).join(', ');
      const field = fieldPath([...path, issue.keys[0]!]);
      return { where: field, message: `unknown field ${keys}`, remedy: 'Remove it, or see docs/recipes.md for the fields.' };
    }
    case 'invalid_type':
      return {
        where,
        message: value === undefined ? 'it is missing' : `${is} but must be ${typeName(issue.expected)}`,
        remedy: `Give ${typeName(issue.expected)}.`,
      };
    case 'too_small': {
      const bound = `${issue.inclusive === false ? 'greater than' : 'at least'} ${issue.minimum}`;
      if (issue.origin === 'array' || issue.origin === 'string') {
        const unit = issue.origin === 'array' ? 'entries' : 'characters';
        return { where, message: `${is} but must have ${bound} ${unit}`, remedy: `Give ${bound} ${unit}.` };
      }
      return { where, message: `${is} but must be ${bound}`, remedy: `Use a value ${bound}.` };
    }
    case 'too_big': {
      const bound = `${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}`;
      return { where, message: `${is} but must be ${bound}`, remedy: `Use a value ${bound}.` };
    }
    case 'invalid_value':
      return { where, message: `${is}, which is not known`, remedy: `Allowed: ${issue.values.map(String).join(', ')}.` };
    case 'invalid_union': {
      const inner = deepest(issue.errors as readonly (readonly Issue[])[], value);
      if (inner) return describeIssue(inner, root, path);
      const options = unionOptions(issue);
      return { where, message: value === undefined ? 'it is missing' : `${is}, which is not known`, remedy: options };
    }
    default:
      return { where, message: issue.message, remedy: 'See docs/recipes.md.' };
  }
}

/** What a union takes, in words. */
function unionOptions(issue: Extract<Issue, { code: 'invalid_union' }>): string {
  const known = (issue as { options?: readonly unknown[] }).options;
  if (known && known.length > 0) return `Allowed: ${known.map(String).join(', ')}.`;
  const wanted = (issue.errors as readonly (readonly Issue[])[]).flat().map((inner) => {
    if (inner.code === 'invalid_type') return typeName(inner.expected);
    if (inner.code === 'invalid_value') return inner.values.map(String).join(', ');
    if (inner.code === 'too_small') return `a number ${inner.inclusive === false ? 'greater than' : 'of at least'} ${inner.minimum}`;
    if (inner.code === 'too_big') return `a number of at most ${inner.maximum}`;
    return inner.message;
  });
  return `Allowed: ${[...new Set(wanted)].join(', or ')}.`;
}

/** `preserveSparsity` needs a zero centroid and one on each side of it. */
function checkClusters(recipe: Recipe): void {
  const smallest = recipe.preserveSparsity ? 3 : 2;
  const fields: [string, number | false | undefined][] = [['clusters', recipe.clusters]];
  for (const [name, layer] of Object.entries(recipe.layers)) fields.push([fieldPath(['layers', name, 'clusters']), layer.clusters]);
  for (const [where, clusters] of fields) {
    if (typeof clusters === 'number' && clusters < smallest) {
      throw recipeError(
        where,
        `it is ${clusters} but must be at least 3 with preserveSparsity`,
        'Use 3 or more, or set preserveSparsity to false.',
      );
    }
  }
}

/**
 * Checks a recipe and fills in the defaults.
 *
 * @param input - the recipe as an object; `model`, `data` and `optimizer` may be just a name
 * @throws PcqatError `ERR_RECIPE`: unknown field, wrong type or value out of range; `where` names the field
 *
 * @example
 * ```ts
 * import { parseRecipe } from 'pcqat';
 * const recipe = parseRecipe({ model: 'ds-cnn-s', data: 'fsdd', sparsity: 0.6 });
 * console.log(recipe.sparsity, recipe.clusters); // 0.6 16
 * ```
 */
export function parseRecipe(input: unknown): Recipe {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new PcqatError('ERR_RECIPE', `a recipe must be an object but this is ${show(input)}`, {
      remedy: 'See docs/recipes.md for an example.',
    });
  }
  const result = recipeSchema.safeParse(input);
  if (!result.success) {
    const { where, message, remedy } = describeIssue(result.error.issues[0]!, input);
    throw recipeError(where, message, remedy);
  }
  checkClusters(result.data);
  planColumns(result.data);
  checkFormats(result.data);
  return result.data;
}

/**
 * Reads and checks a recipe file: JSON, or YAML where the name ends in `.yaml` or `.yml`. A model's file is made relative to the recipe's folder.
 *
 * @throws PcqatError `ERR_IO` where the file cannot be read, `ERR_RECIPE` where it is not a valid recipe
 *
 * @example
 * ```ts
 * import { readRecipe, PcqatError } from 'pcqat';
 * await readRecipe('missing.json').catch((error: unknown) => {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_IO
 * });
 * ```
 */
export async function readRecipe(path: string): Promise<Recipe> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new PcqatError('ERR_IO', `the recipe cannot be read: ${(cause as Error).message}`, {
      where: path,
      remedy: 'Check the path.',
      cause,
    });
  }
  let value: unknown;
  try {
    value = ['.yaml', '.yml'].includes(extname(path).toLowerCase()) ? parseYaml(text, { maxAliasCount: 20 }) : JSON.parse(text);
  } catch (cause) {
    const message = (cause as Error).message.split('\n')[0]!;
    throw new PcqatError('ERR_RECIPE', `the recipe is not valid ${/ya?ml$/i.test(path) ? 'YAML' : 'JSON'}: ${message}`, {
      where: path,
      remedy: 'Files ending in .yaml or .yml are read as YAML, all others as JSON.',
      cause,
    });
  }
  return withModelPath(parseRecipe(value), path);
}

/** A model's file is named relative to the recipe's. */
function withModelPath(recipe: Recipe, path: string): Recipe {
  const { model } = recipe;
  return 'file' in model ? { ...recipe, model: { ...model, file: resolve(dirname(path), model.file) } } : recipe;
}
