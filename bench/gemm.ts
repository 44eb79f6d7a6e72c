import { loadBinding } from '#lib/native.js';
import { interleave, repeated, type Candidate, type Timing } from './interleave.js';
import { type LayerForm, startLayers } from './layers.js';
import { noise } from './nets.js';
import { type Product, productsOf } from './products.js';
import { OpenBlas, type ProductForm } from './rivals/openblas.js';
import type { RivalPlan } from './plan.js';
import type { TimingWorkers } from './worker.js';

/** One kernel of ours beside OpenBLAS at the same products, on the same number of threads. */
export interface GemmRow {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /**
   * - `product`: the matrix product alone, plain row-major operands, called from JavaScript.
   * - `forward`, `backward`: a convolution layer's forward, and both of its gradients; `kernel gradient`: of a network's first layer, whose input
   *   needs none. The layer alone (bench/layer.cpp): no copy of an input, no optimizer, no layer beside it is in the number. What the layer itself
   *   does around its products is: reading windows from images, packing, partial sums. OpenBLAS multiplies what an explicit im2col would have
   *   left, which takes it no time here, so `backward` is the sum of its two products.
   *
   * On both sides threads live on between calls, and several sets of operands are used in turn, as layers of a network have their own.
   */
  readonly what: 'product' | 'forward' | 'backward' | 'kernel gradient';
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

/** Sets of operands in turn, as the layers of a network have their own. */
export const SETS = 4;
/** A turn takes about this long at 100 GFLOP/s. */
const TURN_GFLOP = 0.3;

/** Who multiplies. */
interface Sides {
  readonly layers: TimingWorkers<LayerForm> | undefined;
  readonly openblas: OpenBlas | undefined;
}

/** What is measured of a product, and the products of OpenBLAS that it is worth. */
interface Measured {
  readonly what: GemmRow['what'];
  readonly form?: LayerForm;
  readonly products: readonly ProductForm[];
}

function measuredOf({ isFirst }: Product, hasLayers: boolean): Measured[] {
  const product: Measured = { what: 'product', products: ['forward'] };
  if (!hasLayers) return [product];
  const forward: Measured = { what: 'forward', form: 'forward', products: ['forward'] };
  const backward: Measured = isFirst
    ? { what: 'kernel gradient', form: 'kernel', products: ['kernel'] }
    : { what: 'backward', form: 'backward', products: ['input', 'kernel'] };
  return [product, forward, backward];
}

/** The product from JavaScript. */
function matmulCandidate({ m, n, k }: Product, threads: number, repeat: number): Candidate {
  const { matmul } = loadBinding();
  const w = noise(k * n, 2);
  const x = noise(m * k);
  const sets = Array.from({ length: SETS }, () => ({ x: x.slice(), y: new Float32Array(m * n) }));
  let turn = 0;
  return repeated('product', repeat, () => {
    const { x, y } = sets[turn++ % SETS]!;
    matmul(x, w, m, n, k, y, undefined, threads);
  });
}

async function measureProduct(product: Product, threads: number, seconds: number, { layers, openblas }: Sides): Promise<GemmRow[]> {
  const { name, m, n, k, geometry } = product;
  const gflop = (2 * m * n * k) / 1e9;
  const repeat = Math.max(1, Math.round(TURN_GFLOP / gflop));
  const all = measuredOf(product, layers !== undefined);
  await layers?.prepare(threads, { geometry }, SETS);
  await openblas?.prepare(threads, { m, n, k }, SETS);
  const ours = all.flatMap(({ what, form }): Candidate[] =>
    form === undefined ? [] : [{ name: what, measure: () => layers!.run(threads, form, repeat) }],
  );
  const forms = openblas === undefined ? [] : [...new Set(all.flatMap(({ products }) => products))];
  const theirs = forms.map((form): Candidate => ({ name: `openblas ${form}`, measure: () => openblas!.run(threads, form, repeat) }));
  const candidates = [matmulCandidate(product, threads, repeat), ...ours, ...theirs];
  const times: ReadonlyMap<string, Timing> = await interleave(candidates, seconds, { restMs: openblas === undefined ? 0 : 1 });
  const ms = (candidate: string): number => times.get(candidate)!.median;
  return all.map(({ what, products }): GemmRow => {
    const rate = (time: number): number => (products.length * gflop * 1e3) / time;
    const gflops = rate(ms(what));
    const openblasGflops = openblas === undefined ? null : rate(products.reduce((sum, form) => sum + ms(`openblas ${form}`), 0));
    return { name, m, n, k, what, threads, gflops, openblasGflops, ofOpenblas: openblasGflops === null ? null : gflops / openblasGflops };
  });
}

/** OpenBLAS on each number of threads, where a Python has it. */
export async function startOpenBlas({ python, wide, note }: GemmPlan, threads: readonly number[]): Promise<OpenBlas | undefined> {
  if (python?.packages.has('numpy') !== true) return undefined;
  try {
    return await OpenBlas.start(python, threads, wide);
  } catch (error) {
    note(`  OpenBLAS does not take part: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Our matrix product and convolutions at the products of the networks, one thread and all, beside OpenBLAS where there is one. */
export async function measureGemm(plan: GemmPlan): Promise<GemmResult> {
  const counts = [...new Set([1, plan.threads])];
  const openblas = await startOpenBlas(plan, counts);
  const layers = startLayers(counts);
  if (layers === undefined) plan.note('  Products only: layers need the target pcqat_layer_bench of CMake.');
  const rows: GemmRow[] = [];
  try {
    for (const product of plan.nets.flatMap(productsOf)) {
      for (const threads of counts) rows.push(...(await measureProduct(product, threads, plan.seconds, { layers, openblas })));
    }
  } finally {
    layers?.stop();
    openblas?.stop();
  }
  return { rows, openblas: openblas?.description ?? null };
}
