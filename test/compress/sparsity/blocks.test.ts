import { expect } from 'chai';
import fc from 'fast-check';
import { expandBlocks, poolBlocks } from '#lib/compress/sparsity/blocks.js';
import { updateMask } from '#lib/compress/sparsity/mask.js';
import { isPrunedMByN } from '#lib/compress/sparsity/metrics.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import type { PruningPolicy } from '#lib/compress/sparsity/types.js';
import { loadBinding } from '#lib/native.js';
import { expectCode } from '../../support/errors.js';
import { randomNumbers } from '../../support/random.js';

type Pooling = 'AVG' | 'MAX';
const schedule = constantSparsity({ targetSparsity: 0.5, frequency: 1 });
const policyOf = (blockSize: readonly [number, number], blockPooling: Pooling): PruningPolicy => ({ schedule, blockSize, blockPooling });

function randomMatrix(rows: number, columns: number, seed = 1) {
  const next = randomNumbers(seed);
  return { shape: [rows, columns], data: Float32Array.from({ length: rows * columns }, () => next() * 2 - 1) };
}

/** Direct two-dimensional SAME pooling of |w| as TensorFlow's: windows of stride = size, padding split with the odd element behind. */
function samePooling(w: Float32Array, [rows, columns]: number[], [height, width]: readonly [number, number], pooling: Pooling) {
  const [down, across] = [Math.ceil(rows / height), Math.ceil(columns / width)];
  const [top, left] = [Math.floor((down * height - rows) / 2), Math.floor((across * width - columns) / 2)];
  return Float32Array.from({ length: down * across }, (_, block) => {
    let [sum, count, most] = [0, 0, -Infinity];
    const [firstRow, firstColumn] = [Math.floor(block / across) * height - top, (block % across) * width - left];
    for (let row = Math.max(firstRow, 0); row < Math.min(firstRow + height, rows); row++) {
      for (let column = Math.max(firstColumn, 0); column < Math.min(firstColumn + width, columns); column++) {
        const magnitude = Math.abs(w[row * columns + column]);
        [sum, count, most] = [sum + magnitude, count + 1, Math.max(most, magnitude)];
      }
    }
    return pooling === 'AVG' ? sum / count : most;
  });
}

/** Kronecker product of a block matrix with ones, cut to the matrix. */
const kronecker = (blocks: Uint8Array, [rows, columns]: number[], [height, width]: readonly [number, number]): Uint8Array =>
  Uint8Array.from(
    { length: rows * columns },
    (_, i) => blocks[Math.floor(Math.floor(i / columns) / height) * Math.ceil(columns / width) + Math.floor((i % columns) / width)],
  );

describe('block masks', () => {
  const windows = [[1, 1], [4, 4], [6, 6], [1, 4], [4, 1], [1, 8], [8, 1]] as const; // prettier-ignore
  const large = randomMatrix(1024, 2048);
  for (const blockSize of windows) {
    for (const pooling of ['AVG', 'MAX'] as const) {
      it(`P20: 1024×2048, window ${blockSize.join('×')}, ${pooling}: direct SAME pooling, ranked, times ones`, () => {
        const pooled = samePooling(large.data, large.shape, blockSize, pooling);
        const native = loadBinding();
        const expected = native.magnitudeMask(pooled, 0.5);
        const actual = native.blockMask(large.data, 1024, 2048, blockSize, pooling, 0.5);
        expect(actual.threshold).to.be.closeTo(expected.threshold, 1e-6);
        const expanded = kronecker(expected.mask, large.shape, blockSize);
        expect(Buffer.compare(actual.mask, expanded), 'first difference in the mask').to.equal(0);
      }).timeout(60_000);
    }
  }

  it('P13: 2×2 blocks with zeros and negatives mixed in, through the policy', () => {
    const data = Float32Array.of(0.1, 0, -0.2, 0.2, 0, -0.1, 0.2, 0, 0.3, 0, 0, -0.4, -0.3, 0.3, 0.4, 0);
    for (const pooling of ['AVG', 'MAX'] as const) {
      const { mask } = updateMask({ shape: [4, 4], data }, policyOf([2, 2], pooling), 0.5);
      expect([...mask], pooling).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
    }
  });

  it('W23: where a size does not divide, the windows are the blocks; the reference ranks other weights than it masks', () => {
    // Rows 0–3 hold 1, 1, 1, 9 and row 4 holds 2: with AVG the first block (mean 3) is larger, with MAX too.
    const weight = { shape: [5, 1], data: Float32Array.of(1, 1, 1, 9, 2) };
    for (const pooling of ['AVG', 'MAX'] as const) {
      expect([...updateMask(weight, policyOf([4, 1], pooling), 0.5).mask], pooling).to.deep.equal([1, 1, 1, 1, 0]);
      // The reference's windows are rows 0–2 and 3–4, so it keeps row 4 for the 9 in row 3, which it masks.
      expect([...loadBinding().blockMask(weight.data, 5, 1, [4, 1], pooling, 0.5).mask], 'as the reference').to.deep.equal([0, 0, 0, 0, 1]);
    }
  });

  it('W23: no masked block is larger than a kept one, whatever the sizes (property)', () => {
    const size = fc.integer({ min: 1, max: 13 });
    const block = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }));
    fc.assert(
      fc.property(size, size, block, fc.constantFrom<Pooling>('AVG', 'MAX'), fc.integer(), (rows, columns, blockSize, pooling, seed) => {
        fc.pre(blockSize.some((length) => length > 1));
        const weight = randomMatrix(rows, columns, seed);
        const { mask, threshold } = updateMask(weight, policyOf(blockSize, pooling), 0.5);
        const pooled = poolBlocks(weight, blockSize, pooling);
        const keep = poolBlocks({ shape: weight.shape, data: mask }, blockSize, 'MAX');
        expect(expandBlocks(Uint8Array.from(keep), weight.shape, blockSize), 'whole blocks').to.deep.equal(mask);
        const [kept, gone] = [pooled.filter((_, i) => keep[i] === 1), pooled.filter((_, i) => keep[i] === 0)];
        expect(Math.min(...kept)).to.be.closeTo(threshold, 1e-6);
        if (gone.length > 0) expect(Math.max(...gone)).to.be.below(threshold + 1e-6);
        expect(kept.length).to.equal(Math.max(1, Math.floor(pooled.length / 2) + (pooled.length % 4 === 3 ? 1 : 0)));
      }),
    );
  });
});

describe('m-by-n rows', () => {
  it('P19 (held differently): groups run along the inputs of each tap and output, [4, 3] in 3 rows, [5, 5, 3, 4] in 100', () => {
    const native = loadBinding();
    for (const [shape, rows, inputs] of [
      [[4, 3], 3, 4],
      [[5, 5, 3, 4], 100, 3],
    ] as const) {
      const outputs = shape.at(-1) ?? 1;
      // All equal: ties keep the first of a group, so the mask shows where each group begins.
      const { mask } = native.mByNMask(new Float32Array(rows * inputs).fill(1), shape, inputs - 1, inputs);
      const kept = Array.from({ length: rows * inputs }, (_, i) => Math.floor(i / outputs) % inputs === 0);
      expect([...mask].map(Boolean)).to.deep.equal(kept);
      expect(mask.filter((bit) => bit === 1)).to.have.length(rows);
      expect(isPrunedMByN({ shape, data: mask }, { m: inputs - 1, n: inputs })).to.equal(true);
    }
  });

  it('P19: other ranks, and a shape that does not fit the weights, are errors', () => {
    const native = loadBinding();
    const twelve = new Float32Array(12);
    for (const shape of [[12], [2, 2, 3]]) {
      expectCode(() => native.mByNMask(twelve, shape, 1, 2), 'ERR_SHAPE', /rank 2 or 4/);
      expectCode(() => isPrunedMByN({ shape, data: twelve }, { m: 1, n: 2 }), 'ERR_SHAPE', /rank/);
    }
    expectCode(() => native.mByNMask(twelve, [4, 4], 1, 2), 'ERR_SHAPE', /12 elements/);
    expectCode(() => native.applyMask(twelve, new Uint8Array(11)), 'ERR_SHAPE', /mask must have 12 elements/);
  });
});
