import path from 'node:path';
import { loadModel, measureFidelity, projectCodebooks, readTfliteFile, type Fidelity, type Recipe } from '#lib/index.js';
import { loadRecipeData } from '#lib/pipeline/data.js';

/** Simulation against exported file on the whole test part, from the model and the file that a finished run left in its folder. */
export async function fidelityOfRun(out: string, recipe: Recipe): Promise<Fidelity> {
  const model = projectCodebooks(await loadModel(path.join(out, 'pcqat')));
  const { test } = await loadRecipeData(recipe);
  return measureFidelity(model, await readTfliteFile(path.join(out, 'pcqat.tflite')), test);
}
