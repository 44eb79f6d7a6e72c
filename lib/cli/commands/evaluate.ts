import type { Classification } from '../../evaluate/classification.js';
import { classify } from '../../evaluate/classification.js';
import { type Latency, measureLatency } from '../../evaluate/latency.js';
import type { OpenRunnerOptions, RunnerName } from '../../evaluate/runner.js';
import { openRunner } from '../../evaluate/runners.js';
import { elementCount } from '../../graph/shapes.js';
import { type DataChoice, loadChosenData, relabel } from '../../pipeline/named-data.js';
import { percent, thousands } from '../../report/format.js';
import { alignColumns } from '../../report/table.js';
import { printable } from '../input.js';
import { interruptible } from '../interruptible.js';

/** Flags of `pcqat evaluate`. */
export interface EvaluateCommandOptions extends DataChoice, Omit<OpenRunnerOptions, 'batchSize' | 'exampleShape'> {
  readonly runner: RunnerName;
  readonly labels?: readonly string[];
  readonly batch: number;
  readonly latencyRuns: number;
  readonly json: boolean;
}

/** More classes than fit on a line are shown as the pairs that are confused most. */
const MATRIX_CLASSES = 16;
const CONFUSIONS = 20;

const fractionText = (fraction: number | null): string => (fraction === null ? '–' : `${percent(fraction)} %`);

/** Which classes are taken for which. */
function confusionText({ classes, confusion }: Classification): string {
  const name = (label: number): string => printable(classes[label]?.name ?? '');
  const few = classes.length <= MATRIX_CLASSES;
  const table = alignColumns([
    ['class', 'examples', 'recall', 'precision', ...(few ? classes.map((_, label) => name(label)) : [])],
    ...classes.map(({ rows, recall, precision }, label) => [
      name(label),
      thousands(rows),
      fractionText(recall),
      fractionText(precision),
      ...(few ? (confusion[label] ?? []).map(thousands) : []),
    ]),
  ]);
  if (few) return `${table}\n\nThe last ${classes.length} columns: for how many examples of the row's class the model says that class.`;
  const pairs = confusion.flatMap((counts, label) => counts.map((count, predicted) => ({ count, label, predicted })));
  const worst = pairs.filter(({ count, label, predicted }) => count > 0 && label !== predicted).sort((a, b) => b.count - a.count);
  const lines = worst.slice(0, CONFUSIONS).map(({ count, label, predicted }) => [name(label), name(predicted), thousands(count)]);
  return lines.length === 0 ? table : `${table}\n\n${alignColumns([['class', 'taken for', 'examples'], ...lines], 2)}`;
}

const milliseconds = (value: number): string => `${value.toPrecision(3)} ms`;

function latencyText({ runs, mean, p50, p90, p99 }: Latency): string {
  const values = [`p50 ${milliseconds(p50)}`, `p90 ${milliseconds(p90)}`, `p99 ${milliseconds(p99)}`, `mean ${milliseconds(mean)}`];
  return `latency of one row, ${thousands(runs)} runs: ${values.join(', ')}`;
}

/** An evaluation as text. */
export function evaluationText(title: string, result: Classification, latency: Latency | undefined): string {
  const loss = result.loss === undefined ? '' : `, loss ${result.loss.toFixed(4)}`;
  return [
    printable(title),
    `accuracy ${percent(result.accuracy)} %${loss}`,
    '',
    confusionText(result),
    ...(latency === undefined ? [] : ['', latencyText(latency)]),
  ].join('\n');
}

/** `pcqat evaluate <file>`. */
export async function evaluateCommand(file: string, options: EvaluateCommandOptions): Promise<void> {
  const {
    labels,
    batch,
    latencyRuns,
    json,
    data: source,
    split = 'test',
    features: _features,
    limit: _limit,
    pixels: _pixels,
    ...opening
  } = options;
  await interruptible(async (signal) => {
    const data = await loadChosenData(options);
    signal.throwIfAborted();
    const runner = await openRunner(file, { ...opening, batchSize: batch, exampleShape: data.inputShape });
    try {
      const examples = relabel(data, labels, elementCount(runner.outputShape));
      const result = await classify(runner, examples, { batchSize: batch, signal });
      const timed = { runs: latencyRuns, x: data.x.subarray(0, Math.min(16, data.size) * elementCount(runner.inputShape)), signal };
      const latency = latencyRuns === 0 ? undefined : await measureLatency(runner, timed);
      const title = `${file} in ${runner.name}, ${thousands(result.rows)} examples of ${source} (${split})`;
      const object = { file, runner: runner.name, data: source, split, ...result, ...(latency === undefined ? {} : { latency }) };
      process.stdout.write(`${json ? JSON.stringify(object) : evaluationText(title, result, latency)}\n`);
    } finally {
      runner.dispose();
    }
  });
}
