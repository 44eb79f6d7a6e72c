import type { Findings, Row, TestResult } from './rows.js';

/** What `--json` prints of a row. */
export interface JsonRow {
  readonly id: string;
  readonly status: string;
  readonly why: string;
  /** `file: title`, one for each test. */
  readonly test: readonly string[];
}

export function jsonRows({ statements, weaknesses }: Findings): JsonRow[] {
  return [...statements, ...weaknesses].map(({ id, status, why = '', tests }) => ({
    id,
    status,
    why,
    test: tests.map(({ file, title }) => `${file}: ${title}`),
  }));
}

/** For a terminal: id, status, how many tests, and the reason or the summary. */
export function textTable(rows: readonly Row[]): string {
  const width = (cells: readonly string[]): number => Math.max(...cells.map((cell) => cell.length));
  const ids = width(rows.map(({ id }) => id));
  const statuses = width(rows.map(({ status }) => status));
  const line = ({ id, status, tests, why = '', summary }: Row): string =>
    `${id.padEnd(ids)}  ${status.padEnd(statuses)}  ${verdict(tests).padEnd(10)}  ${why === '' ? summary : why}`;
  return rows.map(line).join('\n');
}

function verdict(tests: readonly TestResult[]): string {
  const passed = tests.filter(({ outcome }) => outcome === 'passed').length;
  if (tests.length === 0) return '-';
  if (tests.some(({ outcome }) => outcome === 'failed')) return 'FAILED';
  return passed === 0 ? 'skipped' : `${passed} passed`;
}

/** How many titles of one file are written out. */
const MOST_TITLES = 4;

/** `docs/parity.md`: the same on every machine that has the same sources. */
export function markdown({ statements, weaknesses }: Findings): string {
  return `# Parity with the reference

<!-- Written by \`npm run parity\`; do not edit. Change test/parity/*.json or the tests. -->

What the tests of tensorflow/model-optimization 0.8.1 pin down, statement by statement, and whether it holds here. The numbers are those
of the project's specification; the tests carry them in their titles. \`npm run parity\` runs those tests, prints this table and fails
when one that is held does not hold.

- **held**: the same behaviour.
- **held differently**: the same promise in another form.
- **not applicable**: the statement is about something that does not exist here.

${table(statements)}

## Weaknesses of the reference

What [differences.md](differences.md) explains, with the tests that would fail on the reference's behaviour.

${table(weaknesses)}
`;
}

function table(rows: readonly Row[]): string {
  const lines = rows.map((row) => `| ${[row.id, escape(row.summary), status(row), tests(row.tests)].join(' | ')} |`);
  return ['| # | statement | here | tests |', '| --- | --- | --- | --- |', ...lines].join('\n');
}

function status({ status: name, why = '' }: Row): string {
  return why === '' ? `**${name}**` : `**${name}**: ${escape(why)}`;
}

function tests(results: readonly TestResult[]): string {
  const byFile = new Map<string, string[]>();
  for (const { file, title } of results) byFile.set(file, [...(byFile.get(file) ?? []), title]);
  return [...byFile]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([file, titles]) => {
      const shown = titles.slice(0, MOST_TITLES).map((title) => `“${escape(title)}”`);
      return `\`${file}\`: ${shown.join(', ')}${titles.length > MOST_TITLES ? ' and more' : ''}`;
    })
    .join('<br>');
}

/** Text inside a cell: no cell borders, no markup. */
function escape(text: string): string {
  return text.replaceAll(/[|*_[\]<>`\\]/g, (mark) => `\\${mark}`);
}
