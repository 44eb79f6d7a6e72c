import type { Dataset } from '../../data/types.js';
import { PcqatError } from '../../errors.js';
import { compareModels, type ModelComparison } from '../../evaluate/compare.js';
import type { LayerComparisons } from '../../evaluate/compare-layers.js';
import type { OpenRunnerOptions, Runner, RunnerName } from '../../evaluate/runner.js';
import { sameOrder } from '../../evaluate/rows.js';
import { openRunner } from '../../evaluate/runners.js';
import { elementCount } from '../../graph/shapes.js';
import { Random } from '../../graph/random.js';
import { type DataChoice, loadChosenData } from '../../pipeline/named-data.js';
import { percent, thousands } from '../../report/format.js';
import { alignColumns } from '../../report/table.js';
import { printable, shortened } from '../input.js';
import { interruptible } from '../interruptible.js';

/** Flags of `pcqat compare`. */
export interface CompareCommandOptions extends Partial<DataChoice>, Omit<OpenRunnerOptions, 'batchSize' | 'exampleShape' | 'runner'> {
  readonly random: number;
  readonly seed: number;
  readonly range: readonly [number, number];
  readonly runnerA: RunnerName;
  readonly runnerB: RunnerName;
  readonly batch: number;
  readonly json: boolean;
}

const short = (value: number): string => (value === 0 ? '0' : value.toPrecision(3));
const relativeText = (relative: number | null): string => (relative === null ? '–' : short(relative));

function layersText({ by, rows: compared, layers, unmatched }: LayerComparisons): string {
  const rows = layers.map(({ a, b, maxAbs, meanAbs, relative }) => [
    shortened(a),
    shortened(b),
    ...[short(maxAbs), short(meanAbs), relativeText(relative)],
  ]);
  const rest = unmatched.map((names, i) =>
    names.length === 0 ? [] : [`not compared in ${'AB'[i]}: ${names.map((name) => shortened(name)).join(', ')}`],
  );
  return [
    `layers on ${compared === 1 ? 'the first row' : `the first ${compared} rows`}, paired by ${by}, each behind its batch normalization and activation:`,
    '',
    alignColumns([['layer of A', 'layer of B', 'largest', 'mean', 'relative'], ...rows], 2),
    ...rest.flat(),
  ].join('\n');
}

/** A comparison as text. */
export function comparisonText(head: readonly string[], result: ModelComparison): string {
  const { agreement, maxAbs, meanAbs, relative, layers } = result;
  return [
    ...head.map(printable),
    '',
    `same class: ${percent(agreement)} %`,
    `difference of the outputs: largest ${short(maxAbs)}, mean ${short(meanAbs)}, relative ${relativeText(relative)}`,
    ...(layers === undefined ? [] : ['', layersText(layers)]),
  ].join('\n');
}

function randomRows(size: number, { random: rows, seed, range: [low, high] }: CompareCommandOptions): Float32Array {
  const random = new Random(seed, 'compare');
  return Float32Array.from({ length: rows * size }, () => low + (high - low) * random.uniform());
}

/** @throws PcqatError `ERR_SHAPE` */
function checkFits({ inputShape }: Runner, data: Dataset): void {
  if (sameOrder(data.inputShape, inputShape)) return;
  const shapes = `examples are [${data.inputShape.join(', ')}] but the model's input is [${inputShape.join(', ')}]`;
  throw new PcqatError('ERR_SHAPE', shapes, { where: `data '${data.name}'`, remedy: 'Choose the data that the models were made for.' });
}

/** `pcqat compare <a> <b>`. */
export async function compareCommand(fileA: string, fileB: string, options: CompareCommandOptions): Promise<void> {
  const { data: source, split = 'test', batch, json, seed, range, random, runnerA, runnerB } = options;
  const { input, output, inputShape, dequantize, threads } = options;
  const given = Object.entries({ input, output, inputShape, dequantize, threads }).filter(([, value]) => value !== undefined);
  const opening = { ...(Object.fromEntries(given) as OpenRunnerOptions), batchSize: batch };
  await interruptible(async (signal) => {
    const data = source === undefined ? undefined : await loadChosenData({ ...options, data: source });
    const open: Runner[] = [];
    try {
      const example = data === undefined ? {} : { exampleShape: data.inputShape };
      const a = await openRunner(fileA, { ...opening, ...example, runner: runnerA });
      open.push(a);
      const b = await openRunner(fileB, { ...opening, exampleShape: a.inputShape, ...example, runner: runnerB });
      open.push(b);
      if (data !== undefined) checkFits(a, data);
      const x = data?.x ?? randomRows(elementCount(a.inputShape), options);
      const result = await compareModels(a, b, x, { batchSize: batch, signal, ...(threads === undefined ? {} : { threads }) });
      const rows =
        data === undefined
          ? `${thousands(random)} random rows in [${range.join(', ')}), seed ${seed}`
          : `${thousands(data.size)} examples of ${source} (${split})`;
      const head = [`A: ${fileA} in ${a.name}`, `B: ${fileB} in ${b.name}`, rows];
      const object = { a: { file: fileA, runner: a.name }, b: { file: fileB, runner: b.name }, ...result };
      process.stdout.write(`${json ? JSON.stringify(object) : comparisonText(head, result)}\n`);
    } finally {
      for (const runner of open) runner.dispose();
    }
  });
}
