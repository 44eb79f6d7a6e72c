import { PcqatError } from '../errors.js';

/** A recipe field that is wrong: what is wrong with it, and what is allowed. */
export function recipeError(field: string, message: string, remedy: string): PcqatError {
  return new PcqatError('ERR_RECIPE', `invalid recipe: ${message}`, { where: `recipe${field === '' ? '' : '.'}${field}`, remedy });
}
