import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { expectCode } from '../support/errors.js';
import { expectSame, loadGolden, type GoldenArray } from '../support/golden.js';
import { binding } from './support.js';

type Method = Parameters<typeof binding.initCentroids>[1];
interface Case {
  readonly kind: string;
  readonly method: 'LINEAR' | 'RANDOM' | 'DENSITY_BASED' | 'KMEANS_PLUS_PLUS';
  readonly K: number;
  readonly preserveSparsity: boolean;
  readonly perChannel: boolean;
  readonly w: GoldenArray;
  readonly centroids?: GoldenArray;
  readonly error?: string;
}

const methods: Record<Case['method'], Method> = {
  LINEAR: 'linear',
  RANDOM: 'random',
  DENSITY_BASED: 'density-based',
  KMEANS_PLUS_PLUS: 'kmeans++',
};

function channel(w: GoldenArray, c: number): Float32Array {
  const channels = w.shape.at(-1)!;
  return w.data.filter((_, i) => i % channels === c);
}
const channelCount = (entry: Case): number => (entry.perChannel ? entry.w.shape.at(-1)! : 1);
const slice = (entry: Case, c: number): Float32Array => (entry.perChannel ? channel(entry.w, c) : entry.w.data);
const signs = (w: Float32Array): [number, number] => [w.filter((v) => v < 0).length, w.filter((v) => v > 0).length];

function checkRandom(entry: Case, c: number, actual: Float32Array): void {
  const w = slice(entry, c);
  const [low, high] = [Math.min(...w), Math.max(...w)];
  expect(actual.every((value) => value >= low && value <= high)).to.equal(true);
  expect(actual).to.have.length(entry.K);
  if (entry.preserveSparsity) expect([...actual]).to.include(0); // C50
}

describe('centroid initialisers', () => {
  const { cases } = loadGolden<{ readonly cases: readonly Case[] }>('centroids');

  for (const method of Object.keys(methods) as Case['method'][]) {
    it(`${method}: every recorded case (spec 2.4)${method === 'RANDOM' ? '' : ', bit-exact'}`, () => {
      const selected = cases.filter((entry) => entry.method === method && entry.error === undefined);
      expect(selected.length).to.be.greaterThan(150);
      selected.forEach((entry, i) => {
        const rows = channelCount(entry);
        for (let c = 0; c < rows; c++) {
          const actual = binding.initCentroids(slice(entry, c), methods[method], entry.K, entry.preserveSparsity);
          if (method === 'RANDOM') {
            checkRandom(entry, c, actual);
            continue;
          }
          const k = entry.centroids!.data.length / rows;
          const what = `case ${i} (${entry.kind}, K ${entry.K}, preserve ${entry.preserveSparsity}), channel ${c}`;
          expectSame(actual, entry.centroids!.data.subarray(c * k, (c + 1) * k), what);
        }
      });
    });
  }

  it('where the reference fails for lack of points, we fail clearly or take every point (W30)', () => {
    const failing = cases.filter((entry) => entry.error !== undefined);
    expect(failing).to.have.length(21);
    expect(new Set(failing.map((entry) => entry.method))).to.deep.equal(new Set(['KMEANS_PLUS_PLUS']));
    for (const entry of failing) {
      let shortages = 0;
      for (let c = 0; c < channelCount(entry); c++) {
        const w = slice(entry, c);
        const run = (): Float32Array => binding.initCentroids(w, 'kmeans++', entry.K, entry.preserveSparsity);
        if (!entry.preserveSparsity) {
          if (entry.K <= w.length) continue;
          shortages++;
          expectCode(run, 'ERR_OPTION', /cannot pick \d+ centroids from \d+ weights/);
          continue;
        }
        const [negatives, positives] = signs(w);
        const centroids = run();
        expect([...centroids]).to.include(0);
        const [below, above] = signs(centroids);
        if (below === negatives || above === positives) shortages++;
        expect(below).to.be.at.most(negatives);
        expect(above).to.be.at.most(positives);
        // What one side cannot use, the other gets: fewer than K only when every weight is a centroid.
        expect(centroids).to.have.length(Math.min(entry.K, negatives + positives + 1));
      }
      expect(shortages, `${entry.kind}, K ${entry.K}`).to.be.greaterThan(0);
    }
  });

  const thirteen = [-3, -2, -1, 0, 1.1, 2.2, 3.3, 4.4, 5.5, 6.6, 7.7, 8.8, 9];
  const nine = [0, 1, 2, 3, 3.1, 3.2, 3.3, 3.4, 3.5];
  const ramp = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
  const tables: [Method, boolean, number[], number, number[]][] = [
    ['linear', false, ramp(11), 5, [0, 2.5, 5, 7.5, 10]],
    ['linear', false, nine, 3, [0, 1.75, 3.5]],
    ['linear', false, thirteen, 6, [-3, -0.6, 1.8, 4.2, 6.6, 9]],
    ['linear', true, ramp(11), 5, [0, 1, 4, 7, 10]],
    ['linear', true, nine, 3, [0, 1, 3.5]],
    ['linear', true, thirteen, 6, [-3, 0, 1.1, 3.7333, 6.3667, 9]],
    ['density-based', false, nine, 5, [0.11137931, 2.0534482, 3.145862, 3.3886206, 3.51]],
    ['density-based', false, nine, 3, [0.11137931, 3.145862, 3.51]],
    ['density-based', false, ramp(10), 3, [0.3010345, 5.2775865, 9.01]],
    ['density-based', true, [0, -1, -2, -3, -4, -5, -6], 4, [-5.836897, -2.8941379, -0.98999995, 0]],
    ['density-based', true, [0, 0, ...ramp(10).slice(1)], 5, [0, 1.2665517, 4.032069, 7.0741386, 9.01]],
    ['density-based', true, [-4, -3, -2, -1, 0, 0, 0, ...ramp(8).slice(1)], 6, [-3.9058623, -0.99, 0, 1.1975863, 4.103793, 7.01]],
    ['density-based', true, [0, 1, 2, 3, -3.1, -3.2, -3.3, -0.005, 3.5], 3, [-3.1887069, 0, 1.0768965]],
    ['density-based', true, [0, 0, 0, 0], 2, [0]],
    ['kmeans++', false, nine, 5, [3.1, 0, 2, 1, 3.4]],
    ['kmeans++', false, nine, 3, [3.1, 0, 2]],
    ['kmeans++', false, ramp(10), 3, [6, 1, 8]],
    ['kmeans++', true, nine, 5, [0, 3, 1, 2, 3.3]],
    ['kmeans++', true, nine, 3, [0, 3, 1]],
    ['kmeans++', true, [-4, ...thirteen], 6, [-2, -4, 0, 5.5, 2.2, 8.8]],
  ];
  tables.forEach(([method, preserve, w, k, expected], i) => {
    it(`C50: golden ${i + 1}, ${method}${preserve ? ' + zero' : ''}, K ${k}`, () => {
      const actual = binding.initCentroids(Float32Array.from(w), method, k, preserve);
      expect(actual).to.have.length(expected.length);
      actual.forEach((value, j) => expect(value).to.be.closeTo(expected[j]!, 1e-4 * Math.max(1, Math.abs(expected[j]!))));
    });
  });

  it('C50: per channel, W[2,2,1,2] = 0..7, K = 2', () => {
    const channels = [Float32Array.of(0, 2, 4, 6), Float32Array.of(1, 3, 5, 7)];
    const run = (method: Method): number[][] => channels.map((w) => [...binding.initCentroids(w, method, 2, false)]);
    expect(run('kmeans++')).to.deep.equal([
      [4, 0],
      [5, 1],
    ]);
    expect(run('linear')).to.deep.equal([
      [0, 6],
      [1, 7],
    ]);
    const density = run('density-based').flat();
    [0.197586, 6.01, 1.197586, 7.01].forEach((value, i) => expect(density[i]).to.be.closeTo(value, 1e-5));
  });

  it('C49: the distribution reaches 1 at the maximum and its first step at the minimum', () => {
    // K = 1 asks for the point of probability 0.01, K = 2 also for that of probability 1.
    const [first, last] = binding.initCentroids(Float32Array.of(1, 2, 6, 7), 'density-based', 2, false);
    expect(first).to.be.closeTo(0.99 + 6.02 / 29, 1e-5);
    expect(last).to.be.closeTo(7.01, 1e-5);
  });

  it('k-means++ with more centroids than distinct values emits the last point again and again', () => {
    const w = Float32Array.of(1, 1, 2, 2, 2, 3, 3, 1);
    const centroids = binding.initCentroids(w, 'kmeans++', 6, false);
    expect(new Set(centroids.subarray(0, 3))).to.deep.equal(new Set([1, 2, 3]));
    expect([...centroids.subarray(3)]).to.deep.equal([1, 1, 1]);
  });

  it('preserve sparsity: an exact zero, each sign on its side, [0] for an all-zero weight (property)', () => {
    const weight = fc.oneof(fc.float({ noNaN: true, min: -10, max: 10 }), fc.constant(0));
    fc.assert(
      fc.property(
        fc.array(weight, { minLength: 1, maxLength: 100 }),
        fc.constantFrom<Method>('linear', 'random', 'density-based', 'kmeans++'),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 0, max: 1000 }),
        (values, method, k, seed) => {
          const w = Float32Array.from(values);
          const centroids = binding.initCentroids(w, method, k, true, seed);
          if (w.every((value) => value === 0)) {
            expect([...centroids]).to.deep.equal([0]);
            return;
          }
          expect(centroids.length).to.be.within(1, k);
          expect([...centroids]).to.include(0);
          // The negative side comes first: nothing negative after something positive.
          const firstPositive = centroids.findIndex((value) => value > 0);
          if (firstPositive !== -1) expect(centroids.subarray(firstPositive).every((value) => value >= 0)).to.equal(true);
        },
      ),
    );
  });

  it('RANDOM follows its seed', () => {
    const w = Float32Array.from({ length: 50 }, (_, i) => Math.sin(i));
    const run = (seed: number): number[] => [...binding.initCentroids(w, 'random', 8, false, seed)];
    expect(run(3)).to.deep.equal(run(3));
    expect(run(3)).to.not.deep.equal(run(4));
    expect(new Set(run(3)).size).to.equal(8);
  });

  it('rejects bad input', () => {
    const w = Float32Array.of(1, 2, 3);
    expectCode(() => binding.initCentroids(new Float32Array(0), 'linear', 2, false), 'ERR_EMPTY_DATA');
    expectCode(() => binding.initCentroids(Float32Array.of(1, Infinity), 'linear', 2, false), 'ERR_NON_FINITE', /w\[1\]/);
    expectCode(() => binding.initCentroids(w, 'kmeans' as Method, 2, false), 'ERR_OPTION', /not 'kmeans'/); // C48
    for (const k of [0, -32, 2.5, 2 ** 20 + 1, NaN])
      expectCode(() => binding.initCentroids(w, 'linear', k, false), 'ERR_OPTION', /^k must/);
    expectCode(() => binding.initCentroids(w, 'linear', 2, 1 as unknown as boolean), 'ERR_DTYPE', /preserveSparsity/);
    expectCode(() => binding.initCentroids(w, 'random', 2, false, -1), 'ERR_OPTION', /seed/);
    expectCode(() => binding.initCentroids(w, 'kmeans++', 4, false), 'ERR_OPTION', /cannot pick 4 centroids from 3 weights/);
    expectCode(() => binding.initCentroids(Float32Array.of(3e38, -3e38), 'linear', 3, false), 'ERR_OPTION', /span more/);
    expectCode(() => binding.initCentroids(Float32Array.of(3e38, 1, 2), 'kmeans++', 2, false), 'ERR_OPTION', /overflow/);
    expect([...binding.initCentroids(w, 'linear', 1, false)]).to.deep.equal([1]);
    expectSame(binding.initCentroids(w, 'kmeans++', 3, false).sort(), w, 'all points');
  });
});
