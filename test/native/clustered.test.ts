import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { expectCode } from '../support/errors.js';
import { expectSame, loadGolden, type GoldenArray } from '../support/golden.js';
import { binding } from './support.js';

interface Case {
  readonly kind: string;
  readonly K: number;
  readonly aggregation: 'SUM' | 'AVG';
  readonly perChannel: boolean;
  readonly w: GoldenArray;
  readonly centroids: GoldenArray;
  readonly upstream: GoldenArray;
  readonly indices: GoldenArray<Int32Array>;
  readonly clustered: GoldenArray;
  readonly dW: GoldenArray;
  readonly dCentroids: GoldenArray;
}

const isas = binding.buildInfo().availableIsas;

function assign(w: Float32Array, centroids: Float32Array, channels = 0, isa = isas[0]!): Int32Array {
  const indices = new Int32Array(w.length).fill(-1);
  binding.assignCentroids(w, centroids, channels, indices, isa);
  return indices;
}

function gradient(
  indices: ArrayLike<number>,
  upstream: ArrayLike<number>,
  k: number,
  aggregation: 'sum' | 'average',
  channels = 0,
): number[] {
  const out = new Float32Array(k * Math.max(channels, 1));
  binding.centroidGradient(Int32Array.from(indices), Float32Array.from(upstream), channels, k, aggregation, out);
  return [...out];
}

/** argmin of the f32 distance, lowest index: the definition. */
function bruteForce(w: Float32Array, centroids: Float32Array, channels: number): Int32Array {
  const k = centroids.length / Math.max(channels, 1);
  return Int32Array.from(w, (value, i) => {
    const row = channels === 0 ? 0 : (i % channels) * k;
    let best = 0;
    for (let j = 1; j < k; j++) {
      if (Math.abs(Math.fround(value - centroids[row + j]!)) < Math.abs(Math.fround(value - centroids[row + best]!))) best = j;
    }
    return best;
  });
}

describe('nearest centroid and its gradient', () => {
  const { cases } = loadGolden<{ readonly cases: readonly Case[] }>('clustered');

  for (const isa of isas) {
    it(`84 recorded cases on ${isa}: indices and weights exact (spec 2.5)`, () => {
      expect(cases).to.have.length(84);
      cases.forEach((entry, i) => {
        const what = `case ${i} (${entry.kind}, K ${entry.K}, ${entry.perChannel ? 'per channel' : 'per tensor'})`;
        const channels = entry.perChannel ? entry.w.shape.at(-1)! : 0;
        const indices = assign(entry.w.data, entry.centroids.data, channels, isa);
        expectSame(indices, entry.indices.data, `${what}: indices`);
        const clustered = new Float32Array(indices.length);
        binding.gatherCentroids(indices, entry.centroids.data, channels, clustered, isa);
        expectSame(clustered, entry.clustered.data, `${what}: clustered`);
      });
    });
  }

  it('84 recorded cases: dW is the upstream gradient, dCentroids within 1e-5 of the largest', () => {
    cases.forEach((entry, i) => {
      const channels = entry.perChannel ? entry.w.shape.at(-1)! : 0;
      expectSame(entry.dW.data, entry.upstream.data, `case ${i}: straight-through`);
      const actual = gradient(entry.indices.data, entry.upstream.data, entry.K, entry.aggregation === 'SUM' ? 'sum' : 'average', channels);
      const largest = Math.max(...entry.dCentroids.data.map(Math.abs));
      actual.forEach((value, j) => expect(value, `case ${i}, centroid ${j}`).to.be.closeTo(entry.dCentroids.data[j]!, 1e-5 * largest));
    });
  });

  it('C21: lookup', () => {
    const out = new Float32Array(6);
    binding.gatherCentroids(Int32Array.of(0, 0, 1, 1, 1, 1), Float32Array.of(-1, 1), 0, out);
    expect([...out]).to.deep.equal([-1, -1, 1, 1, 1, 1]);
    const bias = new Float32Array(3);
    binding.gatherCentroids(Int32Array.of(2, 0, 1), Float32Array.of(0, 3, 5), 0, bias);
    expect([...bias]).to.deep.equal([5, 0, 3]);
  });

  it('C22: SUM and AVG gradients of ones', () => {
    const ones = (n: number): number[] => new Array<number>(n).fill(1);
    const half = [0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0];
    expect(gradient(half, ones(16), 2, 'average')).to.deep.equal([1, 1]);
    expect(gradient(half, ones(16), 2, 'sum')).to.deep.equal([8, 8]);
    expect(gradient(ones(16), ones(16), 2, 'average')).to.deep.equal([0, 1]);
    expect(gradient(ones(16), ones(16), 2, 'sum')).to.deep.equal([0, 16]);
    expect(gradient([0, 0, 1, 0, 0, 1, 0, 0, 1], ones(9), 2, 'sum')).to.deep.equal([6, 3]);
    expect(gradient(new Array<number>(9).fill(0), ones(9), 2, 'sum')).to.deep.equal([9, 0]);
    expect(gradient([0, 0, 1, 0, 0, 1, 0, 0, 1], ones(9), 2, 'average')).to.deep.equal([1, 1]);
    expect(gradient(new Array<number>(9).fill(0), ones(9), 2, 'average')).to.deep.equal([1, 0]);
  });

  it('C23: per-channel lookup', () => {
    // [2, 1, 1, 3]: three channels with codebooks of their own.
    const out = new Float32Array(6);
    binding.gatherCentroids(Int32Array.of(0, 1, 1, 1, 0, 1), Float32Array.of(-1, 1, -2, 2, -3, 3), 3, out);
    expect([...out]).to.deep.equal([-1, 2, 3, 1, -2, 3]);
  });

  it('C23: per-channel gradients', () => {
    // idx [2,2,1,3]: channel 0 and 1 use both centroids twice, channel 2 three times and once.
    const indices = [0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 1];
    expect(gradient(indices, new Array<number>(12).fill(1), 2, 'sum', 3)).to.deep.equal([2, 2, 2, 2, 3, 1]);
    expect(gradient(indices, new Array<number>(12).fill(1), 2, 'average', 3)).to.deep.equal([1, 1, 1, 1, 1, 1]);
  });

  it('C47: ties go to the lower index, whatever the order of the centroids', () => {
    for (const isa of isas) {
      expect([...assign(Float32Array.of(1.5, 2.5, 3.5), Float32Array.of(1, 2, 3, 4), 0, isa)]).to.deep.equal([0, 1, 2]);
      expect([...assign(Float32Array.of(1.5, 2.5, 3.5), Float32Array.of(4, 3, 2, 1), 0, isa)]).to.deep.equal([2, 1, 0]);
      expect([...assign(new Float32Array(40).fill(0.5), Float32Array.of(1, 0, 1, 0), 0, isa)]).to.deep.equal(new Array<number>(40).fill(0));
    }
  });

  // Values that tie, nearly tie, repeat, differ by an ulp, or are so large that distances round or overflow.
  const nasty = fc.constantFrom(
    0,
    -0,
    1,
    1 + 2 ** -23,
    1 - 2 ** -24,
    0.5,
    -0.5,
    2 ** -126,
    2 ** -149,
    -(2 ** -149),
    1e-8,
    1e8,
    1e8 + 8,
    16777216,
    -1e30,
    1e30,
    3.4e38,
    -3.4e38,
  );
  const smooth = fc.float({ min: -2, max: 2, noNaN: true });
  const grid = fc.integer({ min: -8, max: 8 }).map((v) => v / 4);
  const any = fc.float({ noNaN: true, noDefaultInfinity: true });
  const value = fc.oneof(nasty, smooth, grid, any);
  const values = (maxLength: number): fc.Arbitrary<number[]> =>
    fc.oneof(
      fc.array(value, { minLength: 1, maxLength }),
      fc.array(smooth, { minLength: 1, maxLength }),
      fc.array(grid, { minLength: 1, maxLength }),
    );

  for (const isa of isas) {
    it(`equals the brute-force argmin on ${isa} (property)`, () => {
      fc.assert(
        fc.property(values(80), values(300), (c, v) => {
          const [centroids, w] = [Float32Array.from(c), Float32Array.from(v)];
          expectSame(assign(w, centroids, 0, isa), bruteForce(w, centroids, 0), 'indices');
        }),
        { numRuns: 400 },
      );
    });

    it(`equals the brute-force argmin per channel on ${isa} (property)`, () => {
      const sizes = fc.record({
        channels: fc.integer({ min: 1, max: 40 }),
        k: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constant(70)),
        rows: fc.integer({ min: 1, max: 5 }),
      });
      const block = sizes.chain(({ channels, k, rows }) =>
        fc.tuple(
          fc.constant(channels),
          fc.array(value, { minLength: channels * k, maxLength: channels * k }),
          fc.array(value, { minLength: channels * rows, maxLength: channels * rows }),
        ),
      );
      fc.assert(
        fc.property(block, ([channels, c, v]) => {
          const [centroids, w] = [Float32Array.from(c), Float32Array.from(v)];
          expectSame(assign(w, centroids, channels, isa), bruteForce(w, centroids, channels), 'indices');
        }),
        { numRuns: 100 },
      );
    });

    it(`finds every threshold to the ulp on ${isa}`, () => {
      const bits = new Int32Array(1);
      const float = new Float32Array(bits.buffer);
      const centroids = Float32Array.of(0.3, -0.7, 0.1, 0.30000001192092896 + 2 ** -24, -1e-5, 0, 12, -3e-9, 0.3);
      const w: number[] = [];
      for (const a of centroids) {
        for (const b of centroids) {
          float[0] = (a + b) / 2;
          const middle = bits[0]!;
          for (let ulps = -20; ulps <= 20; ulps++) {
            bits[0] = middle + ulps;
            if (Number.isFinite(float[0])) w.push(float[0]!);
          }
        }
      }
      const weights = Float32Array.from(w);
      expectSame(assign(weights, centroids, 0, isa), bruteForce(weights, centroids, 0), 'indices');
    });
  }

  it('large codebooks: K = 1000 and 2^16 with duplicates', () => {
    const w = Float32Array.from({ length: 2000 }, (_, i) => Math.sin(i * 1.7) * 3);
    for (const isa of isas) {
      const centroids = Float32Array.from({ length: 1000 }, (_, i) => Math.fround(Math.sin(i * 0.37) * 2));
      expectSame(assign(w, centroids, 0, isa), bruteForce(w, centroids, 0), 'K 1000');
    }
    const huge = Float32Array.from({ length: 65536 }, (_, i) => Math.round(Math.sin(i) * 20000) / 10000);
    const few = w.subarray(0, 50);
    expectSame(assign(few, huge), bruteForce(few, huge, 0), 'K 65536');
  });

  it('the gradient does not depend on block boundaries beyond rounding', () => {
    const size = 40000;
    const indices = Int32Array.from({ length: size }, (_, i) => (i * 7919) % 5);
    const upstream = Float32Array.from({ length: size }, (_, i) => Math.sin(i));
    const exact = new Float64Array(5);
    upstream.forEach((value, i) => (exact[indices[i]!]! += value));
    gradient(indices, upstream, 5, 'sum').forEach((value, j) => expect(value).to.be.closeTo(exact[j]!, 1e-4));
    const perChannel = gradient(indices, upstream, 5, 'sum', 4);
    for (let j = 0; j < 5; j++) {
      const sum = [0, 1, 2, 3].reduce((total, c) => total + perChannel[c * 5 + j]!, 0);
      expect(sum).to.be.closeTo(exact[j]!, 1e-3);
    }
  });

  it('rejects bad input', () => {
    const w = Float32Array.of(1, 2, 3, 4);
    const c = Float32Array.of(0, 1);
    const indices = new Int32Array(4);
    const out = new Float32Array(4);
    expectCode(() => binding.assignCentroids(Float32Array.of(1, NaN, 0, 0), c, 0, indices), 'ERR_NON_FINITE', /w\[1\] is NaN/);
    expectCode(() => binding.assignCentroids(w, Float32Array.of(0, Infinity), 0, indices), 'ERR_NON_FINITE', /centroids\[1\] is infinite/);
    expectCode(() => binding.assignCentroids(w, new Float32Array(0), 0, indices), 'ERR_OPTION', /1 to 1048576 centroids/);
    expectCode(() => binding.assignCentroids(w, c, 3, indices), 'ERR_SHAPE', /4 elements cannot have 3 channels/);
    expectCode(() => binding.assignCentroids(w, Float32Array.of(1, 2, 3), 2, indices), 'ERR_SHAPE', /no multiple/);
    expectCode(() => binding.assignCentroids(w, c, 0, new Int32Array(3)), 'ERR_SHAPE', /indices must have 4/);
    expectCode(() => binding.assignCentroids(w, c, -1, indices), 'ERR_OPTION', /channels/);
    expectCode(() => binding.gatherCentroids(Int32Array.of(0, 2, 0, 0), c, 0, out), 'ERR_OPTION', /indices\[1\] is 2/);
    expectCode(() => binding.gatherCentroids(Int32Array.of(0, 0, -1, 0), c, 0, out), 'ERR_OPTION', /indices\[2\] is -1/);
    const shared = new ArrayBuffer(32);
    const overlapping = new Float32Array(shared, 4, 4);
    expectCode(() => binding.gatherCentroids(new Int32Array(shared, 0, 4), c, 0, overlapping), 'ERR_OPTION', /share memory/);
    binding.gatherCentroids(new Int32Array(shared, 0, 4), c, 0, new Float32Array(shared, 16, 4)); // beside each other is fine
    expectCode(() => binding.centroidGradient(indices, w, 0, 2, 'mean' as 'sum', new Float32Array(2)), 'ERR_OPTION', /'sum' or 'average'/);
    expectCode(() => binding.centroidGradient(indices, w, 0, 0, 'sum', new Float32Array(0)), 'ERR_OPTION', /^k must/);
    expectCode(
      () => binding.centroidGradient(Int32Array.of(0, 9, 0, 0), w, 0, 2, 'sum', new Float32Array(2)),
      'ERR_OPTION',
      /indices\[1\] is 9/,
    );
    expectCode(() => binding.centroidGradient(indices, w, 2, 2, 'sum', new Float32Array(2)), 'ERR_SHAPE', /out must have 4/);
  });
});
