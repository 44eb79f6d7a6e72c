#!/usr/bin/env node
import { createRequire } from 'node:module';
import { parse } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { MODEL_NAMES } from '../pipeline/recipe.js';
import { compareCommand } from './commands/compare.js';
import { demoCommand } from './commands/demo.js';
import { evaluateCommand } from './commands/evaluate.js';
import { importCommand } from './commands/import.js';
import { infoCommand } from './commands/info.js';
import { inspectCommand } from './commands/inspect.js';
import { runCommand } from './commands/run.js';
import { verifyCommand } from './commands/verify.js';
import { describeError } from './errors.js';
import { compareOptions, dataOptions, evaluateOptions, importOptions, integer, number, outputOptions, threadsOption } from './options.js';

const FAILURE = 1;
const USAGE = 2;

/** Adds the options that every training command takes. */
const trainingOptions = (command: Command): Command =>
  command
    .addOption(new Option('--seed <n>', 'seed of weights, shuffling, augmentation and dropout').argParser(integer))
    .addOption(threadsOption())
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

  outputOptions(
    importOptions(
      root
        .command('import')
        .description('read a Keras, tfjs, ONNX, frozen TensorFlow or TFLite model and save it as one of pcqat')
        .argument('<file>', '.h5, .keras, .onnx, .pb, .tflite, or model.json of tfjs or its folder')
        .option('--check', 'only say what is in it and what pcqat cannot take; ends with 1 where there is any', false)
        .option('--out <file>', 'file to write (default: <name>.pcqat.json)'),
    ),
  ).action((file: string, options: Parameters<typeof importCommand>[1]) => importCommand(file, options));

  const data =
    'recipe file, whose data are used; folder of IDX, CIFAR-10 or (one folder per class) .wav files; or a name that recipes know, ' +
    'perhaps with its folder: fsdd, cifar10:folder';
  outputOptions(
    importOptions(
      evaluateOptions(
        dataOptions(
          root
            .command('evaluate')
            .description('run a model on labelled data: accuracy, loss, confusion matrix, recall and precision of every class, latency')
            .argument('<file>', 'pcqat model, .tflite, .onnx, tfjs, Keras or .pb file'),
          new Option('--data <data>', data).makeOptionMandatory(),
        ),
      ),
    ),
  ).action(evaluateCommand);

  outputOptions(
    importOptions(
      compareOptions(
        dataOptions(
          root
            .command('compare')
            .description('run two models on the same rows: how far their outputs, and where both are graphs their layers, are apart')
            .argument('<a>', 'first model, of any kind that evaluate takes')
            .argument('<b>', 'second model'),
          new Option('--data <data>', `${data} (default: random rows)`),
        ),
      ),
    ),
  ).action(compareCommand);

  outputOptions(
    root
      .command('inspect')
      .description('show layers, types, scales, zeros, distinct codes and sizes of a .tflite file')
      .argument('<file>', '.tflite file'),
  ).action(inspectCommand);

  outputOptions(
    root
      .command('verify')
      .description('check a .tflite file against its certificate: every layer, tensor and operator, and the fidelity on its probe')
      .argument('<file>', '.tflite file')
      .argument('[certificate]', 'certificate (default: the one beside the file)')
      .addOption(threadsOption()),
  ).action(verifyCommand);

  outputOptions(root.command('info').description('show version, instruction set, threads and GPU module')).action(infoCommand);

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
