#!/usr/bin/env node
import { createRequire } from 'node:module';
import { parse } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { MODEL_NAMES } from '../pipeline/recipe.js';
import { demoCommand } from './commands/demo.js';
import { infoCommand } from './commands/info.js';
import { inspectCommand } from './commands/inspect.js';
import { runCommand } from './commands/run.js';
import { verifyCommand } from './commands/verify.js';
import { describeError } from './errors.js';

const FAILURE = 1;
const USAGE = 2;

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.');
  return value;
}

function integer(text: string): number {
  const value = number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be a whole number.');
  return value;
}

function threads(text: string): number {
  const value = integer(text);
  if (value < 1 || value > 1024) throw new InvalidArgumentError('It must be from 1 to 1024.');
  return value;
}

/** Adds the options that every training command takes. */
const trainingOptions = (command: Command): Command =>
  command
    .addOption(new Option('--seed <n>', 'seed of weights, shuffling, augmentation and dropout').argParser(integer))
    .addOption(new Option('--threads <n>', 'worker threads; results do not depend on it (default: one per core)').argParser(threads))
    .addOption(new Option('--resume', 'go on from the checkpoint in the output folder').default(false))
    .addOption(new Option('--fresh', 'discard a checkpoint in the output folder and start anew').default(false).conflicts('resume'))
    .option('--no-html', 'do not write report.html')
    .option('--json', 'print JSON lines: progress, then the report', false)
    .option('--verbose', 'print stack traces of errors', false);

function program(): Command {
  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  const root = new Command('pcqat')
    .description('Prune, cluster and quantize convolutional networks; int8 .tflite out.')
    .version(version)
    .exitOverride()
    .showHelpAfterError('(pcqat --help lists the commands)');

  trainingOptions(
    root
      .command('demo')
      .description('train a keyword spotter on real spoken digits in five ways and compare them')
      .addOption(new Option('--model <name>', 'model of the zoo').choices(MODEL_NAMES).default('ds-cnn-s'))
      .addOption(new Option('--sparsity <fraction>', 'fraction of zeros in pruned layers, in [0, 1)').argParser(number).default(0.5))
      .addOption(new Option('--clusters <n>', 'distinct values per layer').argParser(integer).default(16))
      .addOption(new Option('--epochs <n>', 'training epochs of every column').argParser(integer))
      .addOption(new Option('--data <folder>', 'folder with the packed recordings (default: those that ship with pcqat)'))
      .option('--out <folder>', 'output folder', 'pcqat-demo'),
  ).action(demoCommand);

  trainingOptions(
    root
      .command('run')
      .description('run a recipe (JSON or YAML; see docs/recipes.md)')
      .argument('<recipe>', 'recipe file')
      .option('--out <folder>', 'output folder (default: pcqat-<name of the recipe file>)'),
  ).action((recipe: string, options: { out?: string } & Omit<Parameters<typeof runCommand>[1], 'out'>) =>
    runCommand(recipe, { ...options, out: options.out ?? `pcqat-${parse(recipe).name}` }),
  );

  root
    .command('inspect')
    .description('show layers, types, scales, zeros, distinct codes and sizes of a .tflite file')
    .argument('<file>', '.tflite file')
    .option('--json', 'print one JSON object', false)
    .option('--verbose', 'print stack traces of errors', false)
    .action(inspectCommand);

  root
    .command('verify')
    .description('check a .tflite file against its certificate: every layer, tensor and operator, and the fidelity on its probe')
    .argument('<file>', '.tflite file')
    .argument('[certificate]', 'certificate (default: the one beside the file)')
    .addOption(new Option('--threads <n>', 'worker threads; results do not depend on it (default: one per core)').argParser(threads))
    .option('--json', 'print one JSON object', false)
    .option('--verbose', 'print stack traces of errors', false)
    .action(verifyCommand);

  root
    .command('info')
    .description('show version, instruction set, threads and GPU module')
    .option('--json', 'print one JSON object', false)
    .option('--verbose', 'print stack traces of errors', false)
    .action(infoCommand);

  return root;
}

async function main(): Promise<void> {
  try {
    await program().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : USAGE;
      return;
    }
    process.stderr.write(`${describeError(error, process.argv.includes('--verbose'))}\n`);
    process.exitCode = FAILURE;
  }
}

// A reader that closes the pipe early (`pcqat inspect … | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

await main();
