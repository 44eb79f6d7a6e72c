// Run by bench/fresh.ts: <net> <stage> <threads>.
import { readFileSync, writeFileSync } from 'node:fs';
import type { FitOptions } from '#lib/train/fit-options.js';
import { fit } from '#lib/train/fit.js';
import { nativeInfo } from '#lib/native.js';
import type { Fresh } from './fresh.js';
import { NETS, noiseBatch } from './nets.js';
import { select, STAGES } from './stages.js';

/** Batches in the data set. */
const BATCHES = 10;

/** Starts the system's record of the highest resident memory anew. Only Linux can. */
function forgetPeak(): void {
  if (process.platform === 'linux') writeFileSync('/proc/self/clear_refs', '5');
}

function peakRss(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024;
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

const [netName, stageName, threads] = process.argv.slice(2);
const net = select('nets', NETS, netName)[0]!;
const stage = select('stages', STAGES, stageName)[0]!;
nativeInfo(); // loading the addon is not part of training
const train = noiseBatch(net.make(), net.batch * BATCHES);
globalThis.gc?.();
const before = process.memoryUsage.rss();
const model = stage.model(net.make());
forgetPeak();
let firstStepMs = 0;
const start = performance.now();
await fit(model, {
  train,
  epochs: 1,
  batchSize: net.batch,
  threads: Number(threads),
  callbacks: {
    onStep: () => {
      if (firstStepMs === 0) firstStepMs = performance.now() - start;
    },
  },
  ...(stage.options as Partial<FitOptions> | undefined),
});
const result: Fresh = { firstStepMs, peakBytes: peakRss() - before };
process.stdout.write(JSON.stringify(result));
