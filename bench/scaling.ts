import type { Session } from '../binding.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import * as zoo from '#lib/graph/zoo/index.js';
import { calibrate } from '#lib/train/calibrate.js';
import { interleave, type Candidate } from './interleave.js';
import { noiseBatch } from './nets.js';
import type { Plan } from './plan.js';
import type { Stage } from './stages.js';
import { trainingSession } from './steps.js';

/** Training step at one size. */
export interface ScalingRow {
  /** `batch`: rows in a step of DS-CNN-S; `weights`: trainable parameters of MobileNet v1 of growing width on 32×32 images, 8 a step. */
  readonly axis: 'batch' | 'weights';
  readonly size: number;
  readonly stage: string;
  readonly threads: number;
  readonly ms: number;
}

/** How well a line `ms = fixed + perUnit · size` describes the rows of an axis, a stage and a number of threads. */
export interface LinearFit {
  readonly axis: ScalingRow['axis'];
  readonly stage: string;
  readonly threads: number;
  readonly fixedMs: number;
  readonly perUnitMs: number;
  /** The largest distance of a row from the line, as a share of the row. */
  readonly deviation: number;
}

/** Cost of a training step against size. */
export interface ScalingResult {
  readonly rows: readonly ScalingRow[];
  readonly fits: readonly LinearFit[];
}

/** What is measured, and how: the seconds are for one size of one stage. */
export interface ScalingPlan extends Plan {
  /** QAT is left out: its steps are PCQAT's but for the chains. */
  readonly stages: readonly Stage[];
}

const LARGEST_BATCH = 512;
/** Widths from about 0.1 to 20 million weights. */
const ALPHAS = [0.18, 0.28, 0.56, 1.1, 1.75, 2.5];
const WIDTH_BATCH = 8;

interface Point {
  readonly axis: ScalingRow['axis'];
  readonly size: number;
  readonly batch: number;
  readonly model: Model;
}

function points(): Point[] {
  const batches = Array.from({ length: Math.log2(LARGEST_BATCH) + 1 }, (_, power): Point => {
    return { axis: 'batch', size: 2 ** power, batch: 2 ** power, model: zoo.dsCnn({ size: 'S', classes: 10 }) };
  });
  const widths = ALPHAS.map((alpha): Point => {
    const model = zoo.mobilenetV1({ alpha, inputShape: [32, 32, 3], classes: 10 });
    const statistics = /\/moving_(mean|variance)$/;
    const learned = [...model.tensors].filter(([name]) => !statistics.test(name));
    return { axis: 'weights', size: learned.reduce((sum, [, { data }]) => sum + data.length, 0), batch: WIDTH_BATCH, model };
  });
  return [...batches, ...widths];
}

async function measurePoint(
  { axis, size, batch: rows, model }: Point,
  stage: Stage,
  { threads, seconds }: ScalingPlan,
): Promise<ScalingRow[]> {
  const batch = noiseBatch(model, rows);
  const staged = stage.model(cloneModel(model));
  await calibrate(staged, batch);
  const counts = [...new Set([1, threads])];
  const sessions = counts.map((count): [number, Session] => [
    count,
    trainingSession(staged, { maxBatch: rows, threads: count, ...stage.options }),
  ]);
  const candidates = sessions.map(([count, session]): Candidate => {
    let step = 0;
    return { name: String(count), run: () => session.trainStep(batch.x, batch.y, { learningRate: 1e-5, step: ++step }) };
  });
  const times = await interleave(candidates, seconds, { leadIn: 1 });
  for (const [, session] of sessions) session.dispose();
  return counts.map((count) => ({ axis, size, stage: stage.name, threads: count, ms: times.get(String(count))!.median }));
}

/**
 * The line with the least sum of squared relative distances.
 *
 * @param points - size and milliseconds; at least two sizes
 */
export function fitLine(points: readonly (readonly [size: number, ms: number])[]): {
  fixedMs: number;
  perUnitMs: number;
  deviation: number;
} {
  // least squares of (fixed + perUnit · size) / ms against 1
  let [aa, ab, bb, a, b] = [0, 0, 0, 0, 0];
  for (const [size, ms] of points) {
    const [one, x] = [1 / ms, size / ms];
    aa += one * one;
    ab += one * x;
    bb += x * x;
    a += one;
    b += x;
  }
  const determinant = aa * bb - ab * ab;
  const fixedMs = (a * bb - b * ab) / determinant;
  const perUnitMs = (aa * b - ab * a) / determinant;
  const deviation = Math.max(...points.map(([size, ms]) => Math.abs((fixedMs + perUnitMs * size) / ms - 1)));
  return { fixedMs, perUnitMs, deviation };
}

function fits(rows: readonly ScalingRow[]): LinearFit[] {
  const groups = new Map<string, ScalingRow[]>();
  for (const row of rows) {
    const key = `${row.axis} ${row.stage} ${row.threads}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map((group) => {
    const { axis, stage, threads } = group[0]!;
    return { axis, stage, threads, ...fitLine(group.map(({ size, ms }) => [size, ms] as const)) };
  });
}

/** Steps against batch (1 … 512) and weights (0.1 … 20 million), on one thread and on all. */
export async function measureScaling(plan: ScalingPlan): Promise<ScalingResult> {
  const rows: ScalingRow[] = [];
  const stages = plan.stages.filter(({ name }) => name !== 'qat');
  for (const point of points()) {
    plan.note(`  ${point.axis} ${point.size}`);
    for (const stage of stages) rows.push(...(await measurePoint(point, stage, plan)));
  }
  return { rows, fits: fits(rows) };
}
