// Puts the table of a report into README.md: `node scripts/write-readme-table.mjs pcqat-demo/report.json`.
import { readFile, writeFile } from 'node:fs/promises';
import { format } from 'prettier';
import { markdownTable } from '../dist/report/table.js';

const [source] = process.argv.slice(2);
if (source === undefined) throw new Error('usage: node scripts/write-readme-table.mjs <report.json>');
const readme = new URL('../README.md', import.meta.url);
const table = markdownTable(JSON.parse(await readFile(source, 'utf8')));
const text = await readFile(readme, 'utf8');
const marked = /(<!-- demo-table -->)[\s\S]*(<!-- \/demo-table -->)/;
if (!marked.test(text)) throw new Error('README.md has no demo-table marks');
const filled = text.replace(marked, (_, start, end) => `${start}\n\n${table}\n\n${end}`);
await writeFile(readme, await format(filled, { parser: 'markdown', singleQuote: true, printWidth: 140 }));
