import { checkGoal, type SeedResult } from './check.js';
import type { Experiment } from './experiments.js';

/** Mean, and the smallest and largest value. */
function spread(values: readonly number[], text: (value: number) => string): string {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? text(mean) : `${text(mean)} (${text(low)}–${text(high)})`;
}

const percent = (value: number): string => (100 * value).toFixed(2);
const bytes = (value: number): string => Math.round(value).toLocaleString('en');

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** Accuracy against sparsity and clusters, the experiment's own point included. */
export function curveText({ name }: Experiment, own: SeedResult, points: readonly SeedResult[]): string {
  const sorted = [own, ...points].sort((a, b) => a.report.sparsity - b.report.sparsity || a.report.clusters - b.report.clusters);
  const rows = sorted.map(({ report }) => {
    const { int8Accuracy, gzipBytes, zeros, maxCodes } = report.columns.pcqat!;
    return [
      percent(report.sparsity),
      String(report.clusters),
      percent(int8Accuracy),
      bytes(gzipBytes),
      (100 * zeros).toFixed(1),
      String(maxCodes),
    ];
  });
  const head = ['sparsity %', 'clusters', 'INT8 PCQAT %', 'gzip bytes', 'zeros %', 'most codes'];
  return [
    `Against sparsity and clusters, seed ${own.report.seed} (\`npm run results -- ${name} --curve\`):`,
    '',
    line(head),
    line(head.map(() => '---:')),
    ...rows.map(line),
  ].join('\n');
}

/** One experiment as Markdown: a column of the report per row, then its goals. */
export function experimentText(experiment: Experiment, results: readonly SeedResult[]): string {
  const reports = results.map(({ report }) => report);
  const first = reports[0]!;
  const rows = Object.keys(first.columns).map((name) => {
    const all = reports.map((report) => report.columns[name]!);
    const share = all.map(({ gzipBytes }, i) => gzipBytes / (reports[i]!.columns.baseline?.gzipBytes ?? gzipBytes));
    return [
      all[0]!.title,
      spread(
        all.map(({ accuracy }) => accuracy),
        percent,
      ),
      spread(
        all.map(({ int8Accuracy }) => int8Accuracy),
        percent,
      ),
      spread(
        all.map(({ gzipBytes }) => gzipBytes),
        bytes,
      ),
      spread(share, (value) => (100 * value).toFixed(1)),
      spread(
        all.map(({ zeros }) => zeros),
        (value) => (100 * value).toFixed(1),
      ),
      spread(
        all.map(({ maxCodes }) => maxCodes),
        (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1)),
      ),
    ];
  });
  const head = ['', 'float / fake-int8 %', 'INT8 %', 'gzip bytes', '% of baseline', 'zeros %', 'most codes'];
  const { budget, dataset, machine } = first;
  const goals = experiment.goals.map((goal) => checkGoal(goal, results));
  return [
    `## ${experiment.title}`,
    '',
    line(head),
    line(head.map((_, i) => (i === 0 ? '---' : '---:'))),
    ...rows.map(line),
    '',
    ...goals.map(({ goal, measured, reached }) => `- ${reached ? 'reached' : '**not reached**'}: ${goal}: ${measured}`),
    '',
    `\`npm run results -- ${experiment.name}\`: seeds ${reports.map(({ seed }) => seed).join(', ')}; every column ${budget.epochs} epochs ` +
      `(${bytes(budget.steps)} steps of ${budget.batchSize}); ${bytes(dataset.train)} training and ${bytes(dataset.test)} test examples. ` +
      `${machine.isa}, ${machine.threads} threads.`,
  ].join('\n');
}
