import { lower } from '#lib/train/lower.js';
import { adam } from '#lib/train/optimizers.js';
import { calibrate } from '#lib/train/calibrate.js';
import { softmaxCrossEntropy } from '#lib/train/losses.js';
import { loadBinding } from '#lib/native.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import type { Session, SessionOptions } from '../binding.js';
import { stepFloor, type Floor } from './floor.js';
import { type GemmPlan, SETS, startOpenBlas } from './gemm.js';
import { measureFresh, type Fresh } from './fresh.js';
import { interleave, type Candidate, type Timing } from './interleave.js';
import { noiseBatch, type Net } from './nets.js';
import { rivalNet } from './rivals/layers.js';
import { largestProduct } from './products.js';
import { prepareRivals, TRAINING_RIVALS } from './rivals/training.js';
import type { Stage } from './stages.js';

/** One stage of one network beside one rival. */
export interface StepRow {
  readonly net: string;
  readonly stage: string;
  /** Our step: forward, backward, Adam. */
  readonly oursMs: number;
  /** Its float step is `rivalMs`, whatever our stage. `null`: none ran. */
  readonly rival: string | null;
  readonly rivalMs: number | null;
  /** oursMs / rivalMs. */
  readonly ratio: number | null;
  readonly firstStepMs: number;
  readonly peakBytes: number;
}

/** What is known of a network besides the times of its stages. */
export interface NetResult {
  readonly net: string;
  readonly batch: number;
  readonly trainable: number;
  readonly rounds: number;
  readonly floor: Floor;
  /** What OpenBLAS reaches, in turn with the steps, at the product that most operations of a step are in; `null`: it did not run. */
  readonly openblasGflops: number | null;
  /** Planned memory of the session by stage: activations, gradients, workspaces. */
  readonly arenaBytes: Readonly<Record<string, number>>;
}

/** Training steps of all networks. */
export interface StepResult {
  readonly nets: readonly NetResult[];
  readonly rows: readonly StepRow[];
  /** Of the rivals that ran. */
  readonly versions: Readonly<Record<string, string>>;
}

/** What is measured, and how: the seconds are for the timed steps of one network. */
export interface StepPlan extends GemmPlan {
  readonly stages: readonly Stage[];
}

/** After a step a framework's threads still spin for a while. */
const REST_MS = 10;

/** A session that trains `model` with Adam; its tensors are those of the model. */
export function trainingSession(model: Model, options: Pick<SessionOptions, 'maxBatch' | 'threads'> & Partial<SessionOptions>): Session {
  const { program, tensors } = lower(model, { loss: softmaxCrossEntropy() });
  const { Session } = loadBinding();
  const made = new Session(program, { training: true, optimizer: adam().spec, ...options });
  for (const [name, id] of tensors) made.setTensor(id, model.tensors.get(name)!.data);
  return made;
}

/** Number of parameters that a float step learns. */
function trainableCount(model: Model): number {
  const { tensors } = lower(model, { loss: softmaxCrossEntropy() }).program;
  return tensors.filter(({ trainable }) => trainable).reduce((sum, { shape }) => sum + shape.reduce((size, length) => size * length, 1), 0);
}

async function measureNet(net: Net, plan: StepPlan): Promise<StepResult> {
  const { stages, threads, seconds, python, note } = plan;
  const model = net.make();
  const batch = noiseBatch(model, net.batch);
  const trainable = trainableCount(model);
  const sessions: [name: string, session: Session][] = [];
  const candidates: Candidate[] = [];
  for (const { name, model: modelOf, options } of stages) {
    const staged = modelOf(cloneModel(model));
    await calibrate(staged, batch);
    const one = trainingSession(staged, { maxBatch: net.batch, threads, ...options });
    let step = 0;
    sessions.push([name, one]);
    candidates.push({ name, run: () => one.trainStep(batch.x, batch.y, { learningRate: 1e-3, step: ++step }) });
  }
  const rivals = await prepareRivals(python, { net: rivalNet(model), batch: net.batch, threads, trainable }, note);
  const floor = stepFloor(model, net.batch);
  const { m, n, k } = largestProduct(net);
  const gflop = (2 * m * n * k) / 1e9;
  const repeat = Math.ceil(floor.gflop / gflop); // as long as a step, so that it pays its threads' waking no more often
  const openblas = await startOpenBlas(plan, [threads]);
  if (openblas !== undefined) candidates.push({ name: 'openblas', measure: () => openblas.run(threads, 'forward', repeat) });
  let times: Map<string, Timing>;
  try {
    await openblas?.prepare(threads, { m, n, k }, SETS);
    times = await interleave([...candidates, ...rivals.candidates], seconds, { restMs: python === undefined ? 0 : REST_MS, leadIn: 1 });
  } finally {
    rivals.stop();
    openblas?.stop();
  }
  const arenaBytes = Object.fromEntries(sessions.map(([name, one]) => [name, one.arenaBytes]));
  for (const [, one] of sessions) one.dispose();

  const rows: StepRow[] = [];
  for (const stage of stages) rows.push(...rowsOf(net, stage, times, await measureFresh(net, stage, threads)));
  const { rounds } = times.get(stages[0]!.name)!;
  const gemm = times.get('openblas');
  const openblasGflops = gemm === undefined ? null : gflop / (gemm.median / 1e3);
  return {
    nets: [{ net: net.name, batch: net.batch, trainable, rounds, floor, openblasGflops, arenaBytes }],
    rows,
    versions: rivals.versions,
  };
}

function rowsOf(net: Net, stage: Stage, times: ReadonlyMap<string, Timing>, fresh: Fresh): StepRow[] {
  const oursMs = times.get(stage.name)!.median;
  const row = { net: net.name, stage: stage.name, oursMs, ...fresh };
  const ran = TRAINING_RIVALS.filter(({ name }) => times.has(name));
  if (ran.length === 0) return [{ ...row, rival: null, rivalMs: null, ratio: null }];
  return ran.map(({ name }) => {
    const rivalMs = times.get(name)!.median;
    return { ...row, rival: name, rivalMs, ratio: oursMs / rivalMs };
  });
}

/** Each rival's version; several where it could not run every network alike. */
function distinctVersions(all: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const names = new Set(all.flatMap((versions) => Object.keys(versions)));
  return Object.fromEntries([...names].map((name) => [name, [...new Set(all.flatMap((versions) => versions[name] ?? []))].join(' or ')]));
}

/** Training steps of the benchmark networks; one network's rivals alive at a time. */
export async function measureSteps(plan: StepPlan): Promise<StepResult> {
  const results: StepResult[] = [];
  for (const net of plan.nets) {
    plan.note(`  ${net.name}`);
    results.push(await measureNet(net, plan));
  }
  return {
    nets: results.flatMap(({ nets }) => nets),
    rows: results.flatMap(({ rows }) => rows),
    versions: distinctVersions(results.map(({ versions }) => versions)),
  };
}
