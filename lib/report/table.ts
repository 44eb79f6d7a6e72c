import { duration, percent, thousands } from './format.js';
import type { ColumnReport, Report } from './types.js';

/** The result table as rows of text, the first one the heading. */
export function tableRows(report: Report): string[][] {
  const columns = Object.values(report.columns).filter((column) => column !== undefined);
  const row = (label: string, cell: (column: ColumnReport) => string): string[] => [label, ...columns.map(cell)];
  return [
    row('', ({ title }) => title),
    row('float / fake-int8 accuracy', ({ accuracy, accuracyOf }) => `${percent(accuracy)} %${accuracyOf === 'fake-int8' ? ' (fake)' : ''}`),
    row('full-integer INT8 accuracy', ({ int8Accuracy }) => `${percent(int8Accuracy)} %`),
    row('.tflite bytes → gzip bytes', ({ bytes, gzipBytes }) => `${thousands(bytes)} → ${thousands(gzipBytes)}`),
    row('zeros % · distinct int8 codes per layer (max)', ({ zeros, maxCodes }) => `${percent(zeros, 1)} % · ${maxCodes}`),
  ];
}

/** What the table does not say: budget, data, machine, time. */
export function tableNotes(report: Report): string[] {
  const { budget, dataset, machine } = report;
  const untrained = Object.values(report.columns).filter((column) => column?.epochs === 0);
  return [
    `Every${untrained.length === 0 ? '' : ' other'} column: ${budget.epochs} epochs (${thousands(budget.steps)} steps of ${budget.batchSize}) in all. ` +
      `Target: ${percent(report.sparsity, 0)} % zeros, ${report.clusters} clusters. Seed ${report.seed}.`,
    ...untrained.map((column) => `${column!.title}: ${report.model} as it is, not trained.`),
    `Accuracy on the ${thousands(dataset.test)} test examples of ${report.data} (${thousands(dataset.train)} for training).`,
    `${duration(report.seconds)} on ${machine.cpu.trim()}, ${machine.threads} threads, ${machine.isa}.`,
    ...(dataset.credit === '' ? [] : [`Data: ${dataset.credit}`]),
  ];
}

/** Rows of text in columns, the first row the heading; the first `left` columns are aligned to the left. */
export function alignColumns(rows: readonly (readonly string[])[], left = 1): string {
  const widths = rows[0]!.map((_, index) => rows.reduce((most, row) => Math.max(most, row[index]!.length), 0));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, index) => (index < left ? cell.padEnd(widths[index]!) : cell.padStart(widths[index]!)))
      .join('  ')
      .trimEnd();
  const rule = '─'.repeat(widths.reduce((sum, width) => sum + width + 2, -2));
  return [line(rows[0]!), rule, ...rows.slice(1).map(line)].join('\n');
}

/**
 * The result as text for a terminal.
 *
 * @example
 * ```ts
 * import { textTable, type Report } from 'pcqat';
 * export const show = (report: Report) => console.log(textTable(report));
 * ```
 */
export function textTable(report: Report): string {
  return [alignColumns(tableRows(report)), '', ...tableNotes(report)].join('\n');
}

/**
 * The result as a Markdown table, with the notes below it.
 *
 * @example
 * ```ts
 * import { markdownTable, type Report } from 'pcqat';
 * export const paste = (report: Report) => console.log(markdownTable(report));
 * ```
 */
export function markdownTable(report: Report): string {
  const rows = tableRows(report);
  const line = (row: string[]): string => `| ${row.join(' | ')} |`;
  const rule = line(rows[0]!.map((_, index) => (index === 0 ? '---' : '---:')));
  return [line(rows[0]!), rule, ...rows.slice(1).map(line), '', ...tableNotes(report).map((note) => `${note}  `)].join('\n');
}
