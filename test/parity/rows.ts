import { idsIn, isKnown, STATEMENT_IDS, WEAKNESS_IDS } from './ids.js';

export type StatementStatus = 'held' | 'held differently' | 'not applicable';
export type WeaknessStatus = 'fixed' | 'kept' | 'cannot apply';

/** One entry of `statements.json` or `weaknesses.json`. */
export interface Entry {
  readonly id: string;
  /** One line, in our words. */
  readonly summary: string;
  readonly status: StatementStatus | WeaknessStatus;
  /** Needed unless the status is `held` or `fixed`. */
  readonly why?: string;
}

/** What one test did. */
export interface TestResult {
  /** Source file, from the repository's root. */
  readonly file: string;
  /** Without the titles of its suites. */
  readonly title: string;
  readonly fullTitle: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
}

/** A row of the table. */
export interface Row extends Entry {
  readonly tests: readonly TestResult[];
}

/** What the tool found: the rows, and everything that is wrong. */
export interface Findings {
  readonly statements: readonly Row[];
  readonly weaknesses: readonly Row[];
  /** By row id, or a file or title. Empty = every promise holds. */
  readonly problems: readonly { readonly where: string; readonly what: string }[];
}

export interface Inputs {
  readonly statements: readonly Entry[];
  readonly weaknesses: readonly Entry[];
  readonly results: readonly TestResult[];
  /** Text of docs/differences.md. */
  readonly differences: string;
}

/** States that promise something, so a passing test must show it. */
const PROMISES: readonly string[] = ['held', 'held differently', 'fixed'];
/** States that need no reason. */
const PLAIN: readonly string[] = ['held', 'fixed'];
/** A test that names such a row contradicts it. */
const DENIALS: readonly string[] = ['not applicable', 'cannot apply'];

/** Puts tests to rows and checks every rule of the table. */
export function findings({ statements, weaknesses, results, differences }: Inputs): Findings {
  const problems: { where: string; what: string }[] = [];
  const report = (where: string, what: string): void => void problems.push({ where, what });
  const byId = new Map<string, TestResult[]>();
  for (const result of results) {
    for (const id of idsIn(result.fullTitle)) {
      if (!isKnown(id)) report(`${result.file}: ${result.title}`, `names ${id}, which is no row`);
      byId.set(id, [...(byId.get(id) ?? []), result]);
    }
  }
  const build = (entries: readonly Entry[], ids: readonly string[], statuses: readonly string[]): Row[] => {
    checkComplete(entries, ids, report);
    const sorted = [...entries].sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id));
    return sorted.map((entry) => {
      const row = { ...entry, tests: byId.get(entry.id) ?? [] };
      if (!statuses.includes(row.status)) report(row.id, `has the status '${row.status}', not one of ${statuses.join(', ')}`);
      checkRow(row, report);
      return row;
    });
  };
  const rows = build(statements, STATEMENT_IDS, ['held', 'held differently', 'not applicable']);
  const weakRows = build(weaknesses, WEAKNESS_IDS, ['fixed', 'kept', 'cannot apply']);
  const documented = new Set(idsIn(differences));
  for (const { id, status } of weakRows) {
    if (status !== 'cannot apply' && !documented.has(id)) report(id, `is ${status} but docs/differences.md does not name it`);
  }
  return { statements: rows, weaknesses: weakRows, problems };
}

type Report = (where: string, what: string) => void;

function checkComplete(entries: readonly Entry[], ids: readonly string[], report: Report): void {
  const counts = new Map<string, number>();
  for (const { id } of entries) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const id of ids) if (!counts.has(id)) report(id, 'is missing');
  for (const [id, count] of counts) {
    if (count > 1) report(id, 'is listed more than once');
    if (!ids.includes(id)) report(id, 'is no row of this list');
  }
}

function checkRow({ id, summary, status, why = '', tests }: Row, report: Report): void {
  if (summary.trim() === '') report(id, 'has no summary');
  if (!PLAIN.includes(status) && why.trim() === '') report(id, `is ${status} without a reason`);
  for (const { outcome, file, title } of tests) if (outcome === 'failed') report(id, `fails in ${file}: ${title}`);
  if (DENIALS.includes(status)) {
    for (const { file, title } of tests) report(id, `is ${status}, but a test claims it: ${file}: ${title}`);
  }
  if (!PROMISES.includes(status)) return;
  if (tests.length === 0) report(id, `is ${status} but has no test`);
  else if (tests.every(({ outcome }) => outcome === 'skipped')) report(id, `is ${status} but all its tests were skipped`);
}
