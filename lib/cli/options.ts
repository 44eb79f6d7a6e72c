import { type Command, InvalidArgumentError, Option } from 'commander';
import { RUNNERS } from '../evaluate/runner.js';
import { SPLITS } from '../pipeline/named-data.js';

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.');
  return value;
}

export function integer(text: string): number {
  const value = number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be a whole number.');
  return value;
}

/** A whole number from `least`. */
const from =
  (least: number, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = integer(text);
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(
      most < Number.MAX_SAFE_INTEGER ? `It must be from ${least} to ${most}.` : `It must be at least ${least}.`,
    );
  };

const threads = from(1, 1024);

/** Numbers between commas. */
function shape(text: string): number[] {
  const lengths = text.split(/[,x×]/).map(integer);
  if (lengths.some((length) => length < 1)) throw new InvalidArgumentError('It must hold positive whole numbers, e.g. 49,10,1.');
  return lengths;
}

function range(text: string): [number, number] {
  const [low, high, ...more] = text.split(',').map(number);
  if (low === undefined || high === undefined || more.length > 0 || low >= high) {
    throw new InvalidArgumentError('It must be two numbers, the smaller one first, e.g. 0,255.');
  }
  return [low, high];
}

const names = (text: string): string[] => text.split(',').map((name) => name.trim());

export const threadsOption = (): Option =>
  new Option('--threads <n>', 'worker threads; results do not depend on it (default: one per core)').argParser(threads);

/** Adds `--json` and `--verbose`, which every command that prints one object takes. */
export const outputOptions = (command: Command): Command =>
  command.option('--json', 'print one JSON object', false).option('--verbose', 'print stack traces of errors', false);

/** Adds the options that cut and read foreign files. */
export const importOptions = (command: Command): Command =>
  command
    .option('--input <name>', 'tensor or node where the model starts (default: its only input)')
    .option('--output <name>', 'tensor or node where the model ends (default: its only output)')
    .addOption(
      new Option('--input-shape <shape>', "input without the batch, in the file's own layout, where it is left open").argParser(shape),
    )
    .option('--dequantize', 'read integer weights as the real numbers they stand for', false);

/** Adds the choice of examples. */
export const dataOptions = (command: Command, data: Option): Command =>
  command
    .addOption(data)
    .addOption(new Option('--split <part>', 'part of the data').choices(SPLITS).default('test'))
    .addOption(new Option('--features <name>', 'MFCC features, for a folder of .wav files').choices(['arm', 'mlperf']))
    .addOption(
      new Option('--pixels <black,white>', 'what black and white pixels become, e.g. 0,255 or -1,1 (default: 0,1)').argParser(range),
    )
    .addOption(new Option('--limit <n>', 'use only so many examples, a random choice that is always the same').argParser(from(1)));

const runner = (flag: string, what: string): Option => new Option(`${flag} <name>`, what).choices(RUNNERS).default('native');

/** Adds what `evaluate` takes beside data and import options. */
export const evaluateOptions = (command: Command): Command =>
  command
    .addOption(runner('--runner', 'runtime; all but native are optional packages and take files of their own format'))
    .addOption(new Option('--labels <names>', "the model's classes in the order of its outputs, e.g. yes,no").argParser(names))
    .addOption(new Option('--batch <n>', 'examples at a time').argParser(from(1, 65_536)).default(128))
    .addOption(threadsOption())
    .addOption(new Option('--latency-runs <n>', 'runs of one row that are timed; 0: none').argParser(from(0)).default(200));

/** Adds what `compare` takes beside data and import options. */
export const compareOptions = (command: Command): Command =>
  command
    .addOption(
      new Option('--random <n>', 'rows of random numbers, where there are no data').argParser(from(1)).default(64).conflicts('data'),
    )
    .addOption(new Option('--seed <n>', 'of the random numbers').argParser(integer).default(1))
    .addOption(new Option('--range <low,high>', 'of the random numbers').argParser(range).default([-1, 1], '-1,1'))
    .addOption(runner('--runner-a', 'runtime of the first model'))
    .addOption(runner('--runner-b', 'runtime of the second model'))
    .addOption(new Option('--batch <n>', 'rows at a time').argParser(from(1, 65_536)).default(128))
    .addOption(threadsOption());
