// Runs the experiments of experiments.ts on several seeds and says whether the project's goals are reached.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { parseRecipe, type RecipeInput, type Report, runRecipe } from '#lib/index.js';
import { atomicWrite } from '#lib/formats/atomic-write.js';
import type { SeedResult } from './check.js';
import { type CurvePoint, experiments, type Experiment } from './experiments.js';
import { fidelityOfRun } from './fidelity.js';
import { curveText, experimentText } from './text.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string', default: '../shared/data' },
    seeds: { type: 'string', default: '1,2,3' },
    out: { type: 'string', default: 'build/results' },
    json: { type: 'boolean', default: false },
    /** Also the points of the experiment's curve. */
    curve: { type: 'boolean', default: false },
    /** Replaces the experiment's section of this Markdown file. */
    write: { type: 'string' },
  },
});

const note = (text: string): void => void process.stderr.write(`${text}\n`);

function withSeed({ recipe }: Experiment, seed: number, point?: CurvePoint): RecipeInput {
  const columns = point === undefined ? {} : { columns: ['pcqat'] as const };
  const text = JSON.stringify({ ...recipe, ...point, outputs: { html: false, models: true, ...recipe.outputs, ...columns }, seed });
  return JSON.parse(text.replaceAll('$data', () => JSON.stringify(path.resolve(values.data)).slice(1, -1))) as RecipeInput;
}

/** What one seed gives; a finished run in the output folder is used again. */
async function runSeed(experiment: Experiment, seed: number, point?: CurvePoint): Promise<SeedResult> {
  const suffix = point === undefined ? '' : `-${point.sparsity}-${point.clusters}`;
  const out = path.join(values.out, `${experiment.name}-${seed}${suffix}`);
  const options = { out, onProgress: (event: { type: string }) => void (event.type === 'column' && note(JSON.stringify(event))) };
  const recipe = parseRecipe(withSeed(experiment, seed, point));
  note(`${experiment.name}${suffix}, seed ${seed}`);
  let report: Report;
  try {
    report = await runRecipe(recipe, { ...options, resume: true });
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_OPTION') throw error; // nothing to resume: start
    report = await runRecipe(recipe, { ...options, fresh: true });
  }
  return { report, fidelity: await fidelityOfRun(out, recipe) };
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
  const results: SeedResult[] = [];
  for (const seed of values.seeds.split(',').map(Number)) results.push(await runSeed(experiment, seed));
  const points: SeedResult[] = [];
  for (const point of values.curve ? (experiment.curve ?? []) : []) points.push(await runSeed(experiment, results[0]!.report.seed, point));
  const text = [experimentText(experiment, results), ...(points.length === 0 ? [] : [curveText(experiment, results[0]!, points)])].join(
    '\n\n',
  );
  process.stdout.write(`${values.json ? JSON.stringify({ name, results }) : text}\n\n`);
  if (values.write !== undefined) await writeSection(values.write, name, text);
}
