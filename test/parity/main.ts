// `npm run parity`: which behaviour of the reference is held, by which tests. Runs them, prints the table, writes docs/parity.md.
//   --json   prints rows { id, status, why, test } instead of the table
//   --check  does not write docs/parity.md but fails when it is not up to date
// Ends with a line `N passed, M failed` that counts rows; the exit code is 1 when a promised one does not hold.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { jsonRows, markdown, textTable } from './render.js';
import { findings, type Entry } from './rows.js';
import { runTests } from './run-tests.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');
const entries = (file: string): Entry[] => JSON.parse(read(file)) as Entry[];

// Tests may say why they skip; what is printed here must stay readable by programs.
const print = console.log;
console.log = console.error;

const { values } = parseArgs({ options: { json: { type: 'boolean' }, check: { type: 'boolean' } } });

const found = findings({
  statements: entries('test/parity/statements.json'),
  weaknesses: entries('test/parity/weaknesses.json'),
  results: await runTests(root),
  differences: read('docs/differences.md'),
});
const problems = [...found.problems];

const document = path.join('docs', 'parity.md');
const text = markdown(found);
if (values.check === true) {
  if (read(document) !== text) problems.push({ where: document, what: 'is not up to date: run `npm run parity` and commit it' });
} else {
  writeFileSync(path.join(root, document), text);
}

console.log = print;
if (values.json === true) console.log(JSON.stringify(jsonRows(found), null, 2));
else console.log(`${textTable(found.statements)}\n\nWeaknesses of the reference\n${textTable(found.weaknesses)}\n`);

const say = values.json === true ? console.error : console.log;
for (const { where, what } of problems) say(`FAILED  ${where} ${what}`);
const rows = [...found.statements, ...found.weaknesses];
const broken = new Set(problems.map(({ where }) => where));
say(`${rows.filter(({ id }) => !broken.has(id)).length} passed, ${broken.size} failed`);
// Test runtimes (WebAssembly threads) may keep the process alive.
process.exit(problems.length === 0 ? 0 : 1);
