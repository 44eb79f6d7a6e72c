import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { Int8Runner } from '#lib/evaluate/int8.js';
import { writeTflite } from '#lib/formats/tflite/write.js';
import { loadBinding } from '#lib/native.js';
import { calibrate } from '#lib/train/calibrate.js';
import { lower } from '#lib/train/lower.js';
import { interleave, repeated, type Candidate } from './interleave.js';
import { noiseBatch, qatModel, type Net } from './nets.js';
import type { RivalPlan } from './plan.js';
import { type BenchWorker, rivalWorker } from './worker.js';

/** Inference of one network on one batch size. Milliseconds for the whole batch. */
export interface InferenceRow {
  readonly net: string;
  readonly batch: number;
  /** Our integer executor; the input is copied in and the output out. */
  readonly int8Ms: number;
  /** Our f32 session of the float model, likewise. */
  readonly floatMs: number;
  /** TFLite's int8 kernels: its default (XNNPACK), and its own without a delegate. Nothing is copied. `null`: not run. */
  readonly xnnpackMs: number | null;
  readonly builtinMs: number | null;
  /** int8Ms / the better of the two. */
  readonly ratio: number | null;
}

/** Inference of all networks. */
export interface InferenceResult {
  readonly rows: readonly InferenceRow[];
  /** Of TensorFlow, if TFLite ran. */
  readonly version: string | null;
}

const BATCHES = [1, 64];
/** Images of a batch are not measured together beyond this many input values: a call would take seconds in the slowest rival. */
const MOST_VALUES = 1e7;
/** A turn repeats short calls for about this long. */
const TURN_MS = 50;
/** TFLite's threads spin for up to 2 ms after a call. */
const REST_MS = 3;

const KERNELS = ['tflite-xnnpack', 'tflite-builtin'] as const;

/** TFLite with one file ready to run; `undefined` and a note when it does not take part. */
async function prepareTflite(
  tflite: BenchWorker | undefined,
  file: string,
  batch: number,
  { threads, note }: RivalPlan,
): Promise<string | undefined> {
  if (tflite === undefined) return undefined;
  try {
    let version = '';
    for (const kernels of KERNELS)
      ({ version } = (await tflite.request('prepare', { file, batch, threads, kernels })) as { version: string });
    return version;
  } catch (error) {
    note(`  TFLite does not take part: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Milliseconds of a run when memory is there and threads have started. */
async function settledMs(run: () => unknown): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    await run();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

async function measureNet(
  net: Net,
  batch: number,
  folder: string,
  tflite: BenchWorker | undefined,
  plan: RivalPlan,
): Promise<InferenceResult> {
  const { threads, seconds } = plan;
  const model = net.make();
  const data = noiseBatch(model, batch);
  const quantized = qatModel(model);
  await calibrate(quantized, noiseBatch(model, Math.min(net.batch, 32)));
  const int8 = await convertToInt8(quantized);
  const file = join(folder, `${net.name}.tflite`);
  await writeTflite(int8, file);

  const runner = new Int8Runner(int8, { threads });
  const codes = Int8Array.from(data.x, (value) => Math.max(-128, Math.min(127, Math.round(value * 40))));
  const { program, tensors } = lower(model);
  const session = new (loadBinding().Session)(program, { maxBatch: batch, training: false, threads });
  for (const [name, id] of tensors) session.setTensor(id, model.tensors.get(name)!.data);

  // Of each by its own time, or a slow one would take minutes for as many calls as a fast one.
  const repeats = async (run: () => Promise<unknown>): Promise<number> => Math.max(1, Math.round(TURN_MS / (await settledMs(run))));
  const ours = { int8: () => runner.runQuantized(codes), float: () => session.forward(data.x) };
  const version = await prepareTflite(tflite, file, batch, plan);
  const tfliteCandidate = async (kernels: (typeof KERNELS)[number]): Promise<Candidate> => {
    const run = async (repeat: number): Promise<number> => (await tflite!.request('run', { kernels, repeat })) as number;
    const repeat = await repeats(() => run(1));
    return { name: kernels, measure: () => run(repeat) };
  };
  try {
    const times = await interleave(
      [
        repeated('int8', await repeats(ours.int8), ours.int8),
        repeated('float', await repeats(ours.float), ours.float),
        ...(version === undefined ? [] : [await tfliteCandidate(KERNELS[0]), await tfliteCandidate(KERNELS[1])]),
      ],
      seconds,
      { restMs: REST_MS },
    );
    const [int8Ms, floatMs, xnnpackMs = null, builtinMs = null] = ['int8', 'float', ...KERNELS].map((name) => times.get(name)?.median);
    const ratio = xnnpackMs === null || builtinMs === null ? null : int8Ms! / Math.min(xnnpackMs, builtinMs);
    const row = { net: net.name, batch, int8Ms: int8Ms!, floatMs: floatMs!, xnnpackMs, builtinMs, ratio };
    return { rows: [row], version: version ?? null };
  } finally {
    runner.dispose();
    session.dispose();
  }
}

/** int8 inference of the networks, exported from a model with calibrated fake quantization, beside our float inference and TFLite's kernels. */
export async function measureInference(plan: RivalPlan): Promise<InferenceResult> {
  const folder = await mkdtemp(join(tmpdir(), 'pcqat-bench-'));
  const results: InferenceResult[] = [];
  const { python } = plan;
  const tflite = python?.packages.has('tensorflow') === true ? rivalWorker(python.path, 'tflite_run.py') : undefined;
  try {
    for (const net of plan.nets) {
      const width = noiseBatch(net.make(), 1).x.length;
      for (const batch of BATCHES.filter((rows) => rows === 1 || rows * width <= MOST_VALUES)) {
        plan.note(`  ${net.name}, batch ${batch}`);
        results.push(await measureNet(net, batch, folder, tflite, plan));
      }
    }
  } finally {
    tflite?.stop();
    await rm(folder, { recursive: true, force: true });
  }
  return { rows: results.flatMap(({ rows }) => rows), version: results.find(({ version }) => version !== null)?.version ?? null };
}
