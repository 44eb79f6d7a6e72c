import { parseRecipe, readRecipe } from '../../pipeline/parse.js';
import { shellCommand } from '../shell.js';
import { train, type TrainCommandOptions } from './train.js';

/** `pcqat run <recipe>`. */
export async function runCommand(
  file: string,
  options: Omit<TrainCommandOptions, 'resumeCommand'> & { readonly seed?: number; readonly html: boolean },
): Promise<void> {
  const read = await readRecipe(file);
  const recipe = parseRecipe({
    ...read,
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    outputs: { ...read.outputs, html: read.outputs.html && options.html },
  });
  await train(recipe, { ...options, resumeCommand: shellCommand() });
}
