import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { nativeInfo } from '#lib/native.js';
import { measureChain, measureCompression } from './compression.js';
import { measureKernels, measureMatmul } from './kernels.js';
import { measurePeak } from './peak.js';
import { measureSteps } from './steps.js';
import { resultText, type BenchResult } from './text.js';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    threads: { type: 'string' },
    seconds: { type: 'string', default: '5' },
    rival: { type: 'boolean', default: false },
  },
});

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new Error(`--${name} must be a positive number`);
  return value;
}

/** Keras' milliseconds per step on the same networks; needs a Python with tensorflow. */
function measureKeras(threads: number, seconds: number): BenchResult['keras'] {
  const script = fileURLToPath(new URL('../../bench/rival/keras_step.py', import.meta.url));
  const output = execFileSync('python3', [script, String(threads), String(seconds)], { encoding: 'utf8' });
  return JSON.parse(output.trim().split('\n').at(-1)!) as NonNullable<BenchResult['keras']>;
}

const native = nativeInfo();
const threads = values.threads === undefined ? native.threads : Math.trunc(positive('threads', values.threads));
const seconds = positive('seconds', values.seconds);
const note = (text: string): void => void process.stderr.write(`${text}\n`);

note('peak of the machine');
const peak = measurePeak(threads);
note('training steps');
const steps = await measureSteps(threads, seconds);
note('kernels');
const matmul = await measureMatmul(threads, seconds / 2);
const kernels = await measureKernels(threads, seconds / 2);
note('compression kernels');
const compression = await measureCompression(seconds / 2);
note('weight chain');
const chain = await measureChain(threads, seconds);
if (values.rival) note('Keras');
const keras = values.rival ? measureKeras(threads, seconds) : undefined;

const result: BenchResult = {
  machine: { cpu: cpus()[0]?.model ?? 'unknown', threads, isa: native.isa, node: process.versions.node, pcqat: native.version },
  ...(peak === undefined ? {} : { peak }),
  steps,
  matmul,
  kernels,
  compression,
  chain,
  peakRssBytes: process.resourceUsage().maxRSS * 1024,
  ...(keras === undefined ? {} : { keras }),
};
process.stdout.write(`${values.json ? JSON.stringify(result) : resultText(result)}\n`);
