// Runs the experiments of experiments.ts on several seeds and says whether the project's goals are reached.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { parseRecipe, type RecipeInput, type Report, runRecipe } from '#lib/index.js';
import { atomicWrite } from '#lib/formats/atomic-write.js';
import { experiments, type Experiment } from './experiments.js';
import { experimentText } from './text.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string', default: '../shared/data' },
    seeds: { type: 'string', default: '1,2,3' },
    out: { type: 'string', default: 'build/results' },
    json: { type: 'boolean', default: false },
    /** Replaces the experiment's section of this Markdown file. */
    write: { type: 'string' },
  },
});

const note = (text: string): void => void process.stderr.write(`${text}\n`);

function withSeed({ recipe }: Experiment, seed: number): RecipeInput {
  const text = JSON.stringify({ ...recipe, outputs: { html: false, ...recipe.outputs }, seed });
  return JSON.parse(text.replaceAll('$data', () => JSON.stringify(path.resolve(values.data)).slice(1, -1))) as RecipeInput;
}

/** The report of one seed; a finished one in the output folder is used again. */
async function runSeed(experiment: Experiment, seed: number): Promise<Report> {
  const out = path.join(values.out, `${experiment.name}-${seed}`);
  const options = { out, onProgress: (event: { type: string }) => void (event.type === 'column' && note(JSON.stringify(event))) };
  const recipe = parseRecipe(withSeed(experiment, seed));
  note(`${experiment.name}, seed ${seed}`);
  try {
    return await runRecipe(recipe, { ...options, resume: true });
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_OPTION') throw error; // nothing to resume: start
    return runRecipe(recipe, { ...options, fresh: true });
  }
}

async function writeSection(file: string, name: string, text: string): Promise<void> {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const old = await readFile(file, 'utf8');
  const [from, to] = [old.indexOf(begin), old.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${file} has no section between ${begin} and ${end}`);
  await atomicWrite(file, `${old.slice(0, from + begin.length)}\n\n${text}\n\n${old.slice(to)}`);
}

const wanted = positionals.length === 0 ? experiments.map(({ name }) => name) : positionals;
for (const name of wanted) {
  const experiment = experiments.find((one) => one.name === name);
  if (experiment === undefined) throw new Error(`no experiment '${name}'; there are ${experiments.map((one) => one.name).join(', ')}`);
  const reports: Report[] = [];
  for (const seed of values.seeds.split(',').map(Number)) reports.push(await runSeed(experiment, seed));
  const text = experimentText(experiment, reports);
  process.stdout.write(`${values.json ? JSON.stringify({ name, reports }) : text}\n\n`);
  if (values.write !== undefined) await writeSection(values.write, name, text);
}
