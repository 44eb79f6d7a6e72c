/** The weight chain as the specification writes it (1.6, 2.5, 2.6, 3.5, 4.3, 4.5), element by element in f32. */
const f = Math.fround;

/** Which parts a chain has. Channel = last axis. */
export interface ChainCase {
  readonly name: string;
  readonly shape: readonly number[];
  readonly mask?: { readonly writeBack: boolean; readonly maskGradient: boolean };
  readonly codebook?: {
    readonly k: number;
    readonly perChannel: boolean;
    readonly aggregation: 'sum' | 'average';
    readonly zeroPin?: 'index' | 'equal';
  };
  readonly fakeQuant?: { readonly perChannel: boolean; readonly bits?: number };
}

/** Spec 3.5 on one symmetric narrow range, in f32. */
function fakeQuantizer(a: number, bits: number, multiply: boolean): { quantize(x: number): number; passes(x: number): boolean } {
  const [qmin, qmax] = [1, 2 ** bits - 1];
  const [min, max] = [f(-a), f(a)];
  if (a === 0) return { quantize: () => 0, passes: () => true };
  const s = f(f(max - min) / (qmax - qmin));
  const inv = f((qmax - qmin) / f(max - min));
  const zq = Math.min(Math.max(Math.floor(f(qmin - f(min / s)) + 0.5), qmin), qmax);
  const [nmin, nmax] = [f((qmin - zq) * s), f((qmax - zq) * s)];
  const q0 = Math.floor(f(f(-nmin * inv) + 0.5));
  return {
    quantize: (x) => {
      const shifted = f(Math.min(Math.max(x, nmin), nmax) - nmin);
      return f(Math.floor(f(f((multiply ? f(shifted * inv) : f(shifted / s)) - q0) + 0.5)) * s);
    },
    passes: (x) => nmin <= x && x <= nmax,
  };
}

/** ChainState of one chain, as the test expects it. */
export interface ChainState {
  w: number[];
  centroids: number[];
}

export class ChainReference {
  readonly channels: number;
  constructor(
    readonly c: ChainCase,
    readonly mask: Uint8Array,
    readonly zeroIndex: Int32Array,
  ) {
    this.channels = c.shape[c.shape.length - 1];
  }

  /** Row of the codebook that weight i uses. */
  private row(i: number): number {
    return this.c.codebook?.perChannel ? i % this.channels : 0;
  }

  /** What a training forward pass does to the state (spec 1.6, 2.6, 4.5). */
  write(state: ChainState): ChainState {
    const { c } = this;
    const w = c.mask?.writeBack ? state.w.map((v, i) => (this.mask[i] ? v : 0)) : state.w;
    let centroids = state.centroids;
    if (c.codebook?.zeroPin) {
      const { k, zeroPin } = c.codebook;
      centroids = centroids.map((v, j) => {
        const z = this.zeroIndex[Math.floor(j / k)];
        if (z < 0) return v;
        const pinned = zeroPin === 'index' ? j % k === z : v === state.centroids[Math.floor(j / k) * k + z];
        return pinned ? 0 : v;
      });
    }
    return { w, centroids };
  }

  forward(state: ChainState): { indices: number[]; min: number[]; used: number[]; passes: boolean[] } {
    const { c } = this;
    const { w, centroids } = this.write(state);
    const masked = w.map((v, i) => (c.mask && !this.mask[i] ? 0 : v));
    const k = c.codebook?.k ?? 0;
    const indices = c.codebook
      ? masked.map((v, i) => {
          let best = 0;
          for (let j = 1; j < k; ++j) {
            const at = (q: number): number => f(Math.abs(f(v - centroids[this.row(i) * k + q])));
            if (at(j) < at(best)) best = j;
          }
          return best;
        })
      : [];
    const clustered = c.codebook ? indices.map((j, i) => centroids[this.row(i) * k + j]) : masked;
    if (!c.fakeQuant) return { indices, min: [], used: clustered, passes: clustered.map(() => true) };
    const { perChannel, bits = 8 } = c.fakeQuant;
    const range = new Array<number>(perChannel ? this.channels : 1).fill(0);
    const slot = (i: number): number => (perChannel ? i % this.channels : 0);
    clustered.forEach((v, i) => (range[slot(i)] = Math.max(range[slot(i)], Math.abs(v))));
    const quantizers = range.map((a) => fakeQuantizer(a, bits, perChannel));
    return {
      indices,
      min: range.map((a) => -a),
      used: clustered.map((v, i) => quantizers[slot(i)].quantize(v)),
      passes: clustered.map((v, i) => quantizers[slot(i)].passes(v)),
    };
  }

  /** Gradients of w and of the centroids from the gradient of the used weight. */
  backward(state: ChainState, gradient: ArrayLike<number>): { w: number[]; centroids: number[] } {
    const { c } = this;
    const { indices, passes } = this.forward(state);
    const g = passes.map((pass, i) => (pass ? gradient[i] : 0));
    const k = c.codebook?.k ?? 0;
    const sums = state.centroids.map(() => 0);
    const counts = state.centroids.map(() => 0);
    indices.forEach((j, i) => {
      sums[this.row(i) * k + j] += g[i];
      counts[this.row(i) * k + j] += 1;
    });
    return {
      w: g.map((v, i) => (c.mask?.maskGradient && !this.mask[i] ? 0 : v)),
      centroids: c.codebook?.aggregation === 'average' ? sums.map((s, j) => (counts[j] ? s / counts[j] : 0)) : sums,
    };
  }
}
