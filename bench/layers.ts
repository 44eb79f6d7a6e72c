import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BenchWorker, TimingWorkers } from './worker.js';

/** Passes of one convolution layer: forward, both gradients, the gradient of the kernel alone. */
export type LayerForm = 'forward' | 'backward' | 'kernel';

/** Single layers of our core, as a session runs them, without the rest of a training step; `undefined` unless `pcqat_layer_bench` is built. */
export function startLayers(threads: readonly number[]): TimingWorkers<LayerForm> | undefined {
  // build/bench/layers.js → build
  const program = fileURLToPath(new URL('../pcqat_layer_bench', import.meta.url));
  if (!existsSync(program)) return undefined;
  return new TimingWorkers(new Map(threads.map((count) => [count, new BenchWorker(program, [String(count)])])));
}
