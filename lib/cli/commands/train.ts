import { join } from 'node:path';
import type { RunOptions } from '../../pipeline/run.js';
import { runRecipe } from '../../pipeline/run.js';
import type { Recipe } from '../../pipeline/recipe.js';
import { textTable } from '../../report/table.js';
import { INTERRUPTED, withInterrupt } from '../interrupt.js';
import { progressOutput } from '../terminal.js';

/** What `demo` and `run` have in common. */
export interface TrainCommandOptions {
  readonly out: string;
  readonly threads?: number;
  readonly resume: boolean;
  readonly fresh: boolean;
  readonly json: boolean;
  /** The command that goes on after Ctrl-C. */
  readonly resumeCommand: string;
}

/** Runs a recipe with progress on the terminal, prints the table, and stops in order at Ctrl-C. */
export async function train(recipe: Recipe, options: TrainCommandOptions): Promise<void> {
  const output = progressOutput(options.json);
  let saved = false;
  const run: RunOptions = {
    out: options.out,
    resume: options.resume,
    fresh: options.fresh,
    onProgress: (event) => {
      saved ||= event.type === 'checkpoint';
      output.write(event);
    },
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  };
  try {
    const report = await withInterrupt(
      (signal) => runRecipe(recipe, { ...run, signal }),
      () => output.note('Stopping after this step; press Ctrl-C again to end at once.'),
    );
    output.end();
    if (options.json) {
      process.stdout.write(`${JSON.stringify({ type: 'report', report })}\n`);
      return;
    }
    process.stdout.write(`${textTable(report)}\n\n`);
    const files = [
      'report.json',
      ...(recipe.outputs.html ? ['report.html'] : []),
      ...Object.values(report.columns).flatMap((column) => [column!.file, ...(column!.exports ?? []).map(({ file }) => file)]),
    ];
    process.stdout.write(`${files.map((file) => join(options.out, file)).join('\n')}\n`);
  } catch (error) {
    output.end();
    if (!(error instanceof Error) || error.name !== 'AbortError') throw error;
    output.note(saved ? `Stopped. Go on with: ${options.resumeCommand}` : 'Stopped before anything was trained.');
    process.exitCode = INTERRUPTED;
  }
}
