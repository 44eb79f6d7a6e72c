import type { Session } from '../binding.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { loadBinding } from '#lib/native.js';
import { interleave, repeated, type Candidate, type Timing } from './interleave.js';
import { noise } from './nets.js';
import { type Product, productsOf } from './products.js';
import { OpenBlas, type ProductForm } from './rivals/openblas.js';
import type { RivalPlan } from './plan.js';
import { trainingSession } from './steps.js';

/** One kernel of ours beside OpenBLAS at the same products, on the same number of threads. */
export interface GemmRow {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /**
   * - `product`: the matrix product alone, plain row-major operands. On several threads each call starts them, which counts where it is short;
   *   a session keeps its own.
   * - `forward`, `backward`: a convolution layer's forward, and both of its gradients; OpenBLAS multiplies what an explicit im2col would have
   *   left. From sessions of many and of one such layer, so that only layers differ.
   * - `first forward`: the first layer of a network, whose session holds only one: copying the input and averaging the output are in it.
   */
  readonly what: 'product' | 'forward' | 'backward' | 'first forward';
  readonly threads: number;
  readonly gflops: number;
  readonly openblasGflops: number | null;
  /** gflops / openblasGflops. */
  readonly ofOpenblas: number | null;
}

/** The products of all networks. */
export interface GemmResult {
  readonly rows: readonly GemmRow[];
  /** Version and kernels of OpenBLAS; `null`: it did not run. */
  readonly openblas: string | null;
}

/** What is measured, and how: the seconds are for one product on one number of threads. */
export interface GemmPlan extends RivalPlan {
  /** The CPU has AVX-512. */
  readonly wide: boolean;
}

/** Layers in the deep session. */
const DEPTH = 5;
/** Sets of operands in turn, as a network's layers have their own. */
const SETS = DEPTH - 1;
/** A turn takes about this long at 100 GFLOP/s. */
const TURN_GFLOP = 0.3;

/** Trains `depth` layers of a product. */
function layerSession({ input, kernel, strides, n, batch }: Product, depth: number, threads: number): Session {
  const g = new GraphBuilder('layers');
  let x = g.input(input);
  for (let i = 0; i < depth; i++) x = g.conv2d(x, { filters: n, kernelSize: kernel, strides, padding: 'same', useBias: false });
  return trainingSession(createModel(g.build(g.globalAveragePool2d(x)), { seed: 1 }), { maxBatch: batch, threads });
}

/** Numbers of layers that tell the time of one; pointwise layers that change the number of channels only have their product measured. */
function depths({ stackable, kernel }: Product): readonly number[] {
  if (stackable) return [1, DEPTH];
  return kernel[0] * kernel[1] > 1 ? [1] : [];
}

function ourCandidates(product: Product, threads: number, repeat: number): { candidates: Candidate[]; stop(): void } {
  const { m, n, k, input, batch } = product;
  const { matmul } = loadBinding();
  const w = noise(k * n, 2);
  const x = noise(m * k);
  const sets = Array.from({ length: SETS }, () => ({ x: x.slice(), y: new Float32Array(m * n) }));
  let turn = 0;
  const multiply = (): void => {
    const { x, y } = sets[turn++ % SETS]!;
    matmul(x, w, m, n, k, y, undefined, threads);
  };
  const data = noise(batch * input[0] * input[1] * input[2]);
  const labels = new Int32Array(batch);
  const sessions = depths(product).map((depth) => ({ depth, session: layerSession(product, depth, threads) }));
  const layers = sessions.flatMap(({ depth, session }): Candidate[] => [
    repeated(`forward ${depth}`, Math.ceil(repeat / depth), () => session.forward(data)),
    repeated(`step ${depth}`, Math.ceil(repeat / depth), () => session.trainStep(data, labels, { learningRate: 1e-9, step: 1 })),
  ]);
  return {
    candidates: [repeated('product', repeat, multiply), ...layers],
    stop: () => sessions.forEach(({ session }) => session.dispose()),
  };
}

function rowsOf(product: Product, threads: number, times: ReadonlyMap<string, Timing>): GemmRow[] {
  const { name, m, n, k, stackable } = product;
  const gflop = (2 * m * n * k) / 1e9;
  const ms = (candidate: string): number | undefined => times.get(candidate)?.median;
  const blas = (...forms: ProductForm[]): number | undefined => {
    const all = forms.map(ms);
    return all.includes(undefined) ? undefined : all.reduce<number>((sum, one) => sum + one!, 0);
  };
  const row = (what: GemmRow['what'], products: number, oursMs: number, blasMs: number | undefined): GemmRow => {
    const [gflops, openblasGflops] = [oursMs, blasMs].map((time) => (time === undefined ? null : (products * gflop * 1e3) / time));
    return {
      name,
      m,
      n,
      k,
      what,
      threads,
      gflops: gflops!,
      openblasGflops: openblasGflops!,
      ofOpenblas: blasMs === undefined ? null : blasMs / oursMs,
    };
  };
  const rows = [row('product', 1, ms('product')!, blas('forward'))];
  const first = ms('forward 1');
  if (first === undefined) return rows;
  if (!stackable) return [...rows, row('first forward', 1, first, blas('forward'))];
  const layer = (kind: string): number => (ms(`${kind} ${DEPTH}`)! - ms(`${kind} 1`)!) / (DEPTH - 1);
  const forward = layer('forward');
  return [...rows, row('forward', 1, forward, blas('forward')), row('backward', 2, layer('step') - forward, blas('input', 'kernel'))];
}

async function measureProduct(product: Product, threads: number, seconds: number, openblas: OpenBlas | undefined): Promise<GemmRow[]> {
  const repeat = Math.max(1, Math.round(TURN_GFLOP / ((2 * product.m * product.n * product.k) / 1e9)));
  const ours = ourCandidates(product, threads, repeat);
  const forms: readonly ProductForm[] = product.stackable ? ['forward', 'input', 'kernel'] : ['forward'];
  if (openblas !== undefined) await openblas.prepare(threads, product, SETS);
  const theirs =
    openblas === undefined ? [] : forms.map((form): Candidate => ({ name: form, measure: () => openblas.run(threads, form, repeat) }));
  try {
    return rowsOf(product, threads, await interleave([...ours.candidates, ...theirs], seconds, { restMs: openblas === undefined ? 0 : 1 }));
  } finally {
    ours.stop();
  }
}

async function startOpenBlas({ python, threads, wide, note }: GemmPlan): Promise<OpenBlas | undefined> {
  if (python?.packages.has('numpy') !== true) return undefined;
  try {
    return await OpenBlas.start(python, [...new Set([1, threads])], wide);
  } catch (error) {
    note(`  OpenBLAS does not take part: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Our matrix product and convolutions at the products of the networks, one thread and all, beside OpenBLAS where there is one. */
export async function measureGemm(plan: GemmPlan): Promise<GemmResult> {
  const openblas = await startOpenBlas(plan);
  const rows: GemmRow[] = [];
  try {
    for (const product of plan.nets.flatMap(productsOf)) {
      for (const threads of new Set([1, plan.threads])) rows.push(...(await measureProduct(product, threads, plan.seconds, openblas)));
    }
  } finally {
    openblas?.stop();
  }
  return { rows, openblas: openblas?.description ?? null };
}
