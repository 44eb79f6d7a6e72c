import { expect } from 'chai';
import { describe, it } from 'mocha';
import { STATEMENT_IDS, WEAKNESS_IDS } from './ids.js';
import { jsonRows, markdown, textTable } from './render.js';
import { findings, type Entry, type Findings, type Inputs, type TestResult } from './rows.js';

const result = (fullTitle: string, outcome: TestResult['outcome'] = 'passed'): TestResult => ({
  file: 'test/a.test.ts',
  title: fullTitle,
  fullTitle,
  outcome,
});

/** Every row, not applicable unless told otherwise, so that nothing needs a test. */
function inputs(changes: Readonly<Record<string, Partial<Entry> | undefined>> = {}, results: readonly TestResult[] = []): Inputs {
  const entry = (id: string, status: Entry['status']): Entry => ({ id, summary: `about ${id}`, status, why: 'no', ...changes[id] });
  return {
    statements: STATEMENT_IDS.map((id) => entry(id, 'not applicable')),
    weaknesses: WEAKNESS_IDS.map((id) => entry(id, 'cannot apply')),
    results,
    differences: 'a row about W1',
  };
}

const problems = ({ problems: list }: Findings): string[] => list.map(({ where, what }) => `${where} ${what}`);

describe('rules of the parity table', () => {
  it('all is well when each promise has a passing test', () => {
    const changes = { P12: { status: 'held' }, X3: { status: 'held differently' }, W1: { status: 'fixed' } } as const;
    const found = findings(inputs(changes, [result('P12: a'), result('W1, X3'), result('P12', 'skipped')]));
    expect(problems(found)).to.deep.equal([]);
    expect(found.statements.find(({ id }) => id === 'P12')?.tests).to.have.length(2);
  });

  it('a promise needs a test that runs and passes', () => {
    const held = { P12: { status: 'held' } } as const;
    expect(problems(findings(inputs(held)))).to.deep.equal(['P12 is held but has no test']);
    expect(problems(findings(inputs(held, [result('P12', 'skipped')])))).to.deep.equal(['P12 is held but all its tests were skipped']);
    const failing = findings(inputs(held, [result('P12 a'), result('P12 b', 'failed')]));
    expect(problems(failing)).to.deep.equal(['P12 fails in test/a.test.ts: P12 b']);
  });

  it('no test may claim what is not applicable', () => {
    expect(problems(findings(inputs({}, [result('Q7')])))[0]).to.match(/^Q7 is not applicable, but a test claims it/);
    expect(problems(findings(inputs({}, [result('W7')])))[0]).to.match(/^W7 is cannot apply, but a test claims it/);
  });

  it('every row is there once, with a summary and a reason', () => {
    const { statements, ...rest } = inputs({ P2: { why: ' ' }, P3: { summary: '' }, P4: { status: 'fixed', why: 'x' } });
    const [first, ...others] = statements;
    const extra: Entry = { id: 'C24', summary: 'x', status: 'not applicable', why: 'x' };
    expect(problems(findings({ statements: [...others, others[0], extra], ...rest }))).to.have.members([
      `${first.id} is missing`,
      'P2 is listed more than once',
      'C24 is no row of this list',
      'P2 is not applicable without a reason',
      'P2 is not applicable without a reason',
      'P3 has no summary',
      "P4 has the status 'fixed', not one of held, held differently, not applicable",
      'P4 is fixed but has no test',
    ]);
  });

  it('a weakness that can apply is in docs/differences.md', () => {
    const changes = { W1: { status: 'kept' }, W2: { status: 'kept' } } as const;
    expect(problems(findings(inputs(changes)))).to.deep.equal(['W2 is kept but docs/differences.md does not name it']);
  });

  it('a title with a number that is no row is a mistake', () => {
    expect(problems(findings(inputs({}, [result('P41: typo')])))).to.deep.equal(['test/a.test.ts: P41: typo names P41, which is no row']);
  });
});

describe('the parity table', () => {
  const found = findings(inputs({ P12: { status: 'held', summary: 'a | b', why: '' } }, [result('P12: x_y'), result('P12: z')]));

  it('as JSON has id, status, why and test', () => {
    const rows = jsonRows(found);
    expect(rows).to.have.length(STATEMENT_IDS.length + WEAKNESS_IDS.length);
    expect(rows.find(({ id }) => id === 'P12')).to.deep.equal({
      id: 'P12',
      status: 'held',
      why: '',
      test: ['test/a.test.ts: P12: x_y', 'test/a.test.ts: P12: z'],
    });
  });

  it('as Markdown escapes text and names the tests, without a time or a count', () => {
    const text = markdown(found);
    expect(text).to.include('| P12 | a \\| b | **held** | `test/a.test.ts`: “P12: x\\_y”, “P12: z” |');
    const failed = findings(inputs({ P12: { status: 'held', summary: 'a | b', why: '' } }, [result('P12: x_y', 'failed'), result('P12: z', 'skipped')])); // prettier-ignore
    expect(markdown(failed), 'depends on titles only').to.equal(text);
  });

  it('as text says what each row is worth', () => {
    const lines = textTable(found.statements).split('\n');
    expect(lines).to.have.length(STATEMENT_IDS.length);
    expect(lines.find((line) => line.startsWith('P12'))).to.match(/^P12 +held +2 passed +a \| b$/);
  });
});
