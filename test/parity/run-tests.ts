import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import Mocha from 'mocha';
import { ANY_ID } from './ids.js';
import type { TestResult } from './rows.js';

const TIMEOUT_MS = 60_000;

/** Sources of tests in which a number appears at all; the others need not be loaded. */
function testFiles(root: string): string[] {
  return readdirSync(path.join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts') && !file.startsWith(`parity${path.sep}`))
    .map((file) => path.join('test', file))
    .filter((file) => ANY_ID.test(readFileSync(path.join(root, file), 'utf8')))
    .sort();
}

/** Runs every test whose title carries a number, and says what each did. Failures of hooks count for the suite they belong to. */
export async function runTests(root: string): Promise<TestResult[]> {
  const results: TestResult[] = [];
  class Collect {
    constructor(runner: Mocha.Runner) {
      const add =
        (outcome: TestResult['outcome']) =>
        (test: Mocha.Runnable, error?: Error): void => {
          const source = path.relative(path.join(root, 'build'), test.file ?? '').replace(/\.js$/, '.ts');
          results.push({ file: source.split(path.sep).join('/'), title: test.title, fullTitle: test.fullTitle(), outcome });
          if (outcome === 'failed') console.error(`${test.fullTitle()}\n${error?.stack ?? String(error)}`);
        };
      runner.on('pass', add('passed'));
      runner.on('fail', add('failed'));
      runner.on('pending', add('skipped'));
    }
  }
  const mocha = new Mocha({ timeout: TIMEOUT_MS, forbidOnly: true, grep: ANY_ID, reporter: Collect as typeof Mocha.reporters.Base });
  for (const file of testFiles(root)) mocha.addFile(path.join(root, 'build', file.replace(/\.ts$/, '.js')));
  await mocha.loadFilesAsync();
  await new Promise<void>((resolve) => void mocha.run(() => resolve()));
  return results;
}
