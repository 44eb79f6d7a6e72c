import { expect } from 'chai';
import { initialCentroids } from '#lib/compress/clustering/centroids.js';
import { expectSame } from '../../support/golden.js';
import { randomNumbers } from '../../support/random.js';

const f32 = Math.fround;

/** Slope and intercept of the line through two points, with the reference's least distance (spec 2.4), in f32. */
function line(x1: number, y1: number, x2: number, y2: number): [slope: number, intercept: number] {
  const slope = f32(f32(y2 - y1) / Math.max(f32(x2 - x1), f32(0.001)));
  return [slope, f32(y1 - f32(x1 * slope))];
}

/** Fraction of weights that are at most x. */
const distribution = (weights: Float32Array, x: number): number => f32(weights.filter((weight) => weight <= x).length / weights.length);

/** `n` points from `low` to `high`, the last one exact. */
const points = (low: number, high: number, n: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => (i === n - 1 ? high : f32(low + f32(i * f32(f32(high - low) / (n - 1))))));

/** The bit-exact form of spec 2.4. */
function densityBased(weights: Float32Array, k: number): Float32Array {
  const gap = f32(0.01);
  const grid = points(f32(Math.min(...weights) - gap), f32(Math.max(...weights) + gap), 30);
  const cdf = grid.map((x) => distribution(weights, x));
  return points(f32(0.01), 1, k).map((probability) => {
    const i = Math.min(cdf.filter((fraction) => fraction <= probability).length, 29);
    const j = Math.max(0, i - 1);
    if (cdf[i] === cdf[j]) return grid[i];
    const slope = f32(f32(cdf[j] - cdf[i]) / Math.max(f32(grid[j] - grid[i]), f32(0.001)));
    return f32(f32(cdf[i] - f32(cdf[i] - f32(grid[i] * slope))) / slope);
  });
}

describe('density-based centroids', () => {
  it('C49: lines and distributions of the statement, and centroids that follow from them to the bit', () => {
    expect(line(0, 0, 5, 5)).to.deep.equal([1, 0]);
    expect(line(-5, 4, 7, 10)).to.deep.equal([0.5, 6.5]);
    expect(line(0, 0, 0, 1)[0], 'the least distance').to.equal(f32(1 / f32(0.001)));
    const four = Float32Array.of(1, 2, 6, 7);
    expect([distribution(four, 4), distribution(four, 1)]).to.deep.equal([0.5, 0.25]);
    const nine = Float32Array.from({ length: 9 }, (_, i) => i + 1);
    expect([distribution(nine, 99), distribution(nine, -20)]).to.deep.equal([1, 0]);
    const next = randomNumbers(5);
    for (const [size, k] of [
      [40, 4],
      [500, 8],
      [3000, 16],
      [9, 5],
    ]) {
      // prettier-ignore
      const weights = Float32Array.from({ length: size }, () => (next() - 0.5) * next() * 4);
      expectSame(initialCentroids(weights, 'density-based', k, false, 0), densityBased(weights, k), `${size} weights, K ${k}`);
    }
  });

  it('C50, W29: the last centroid lies 0.01 beyond the largest weight, kept for equality with the recorded centroids', () => {
    const weights = Float32Array.from({ length: 100 }, (_, i) => i / 100);
    expect(initialCentroids(weights, 'density-based', 4, false, 0).at(-1)).to.be.closeTo(1, 1e-6);
  });
});
