import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { expectCode } from '../support/errors.js';
import { expectSame, loadGolden, type GoldenArray } from '../support/golden.js';
import { binding } from './support.js';

interface Case {
  readonly kind: string;
  readonly w: GoldenArray;
  readonly mask: GoldenArray<Uint8Array>;
  readonly threshold: GoldenArray;
}
interface Masks {
  readonly unstructured: readonly (Case & { readonly sparsity: number })[];
  readonly block: readonly (Case & {
    readonly sparsity: number;
    readonly block: readonly [number, number];
    readonly pooling: 'AVG' | 'MAX';
    readonly error?: string;
  })[];
  readonly mByN: readonly (Omit<Case, 'threshold'> & { readonly zeros: number; readonly of: number })[];
}

const isas = binding.buildInfo().availableIsas;
const smallestNormal = 2 ** -126;
const kept = (mask: Uint8Array): number => mask.reduce((sum, bit) => sum + bit, 0);
const ramp = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => i + 1);
const flat = (rows: readonly (readonly number[])[]): Float32Array => Float32Array.from(rows.flat());

/** The rule of spec 1.5 by a full sort. */
function sortedMask(w: Float32Array, sparsity: number): { mask: Uint8Array; threshold: number } {
  const exact = Math.fround(Math.fround(w.length) * Math.fround(1 - Math.fround(sparsity)));
  const floor = Math.floor(exact);
  const rounded = exact - floor === 0.5 ? floor + (floor % 2) : Math.round(exact);
  const magnitudes = Float32Array.from(w, Math.abs).sort();
  const threshold = magnitudes[w.length - Math.max(rounded, 1)]!;
  return { mask: Uint8Array.from(w, (value) => (Math.abs(value) >= threshold ? 1 : 0)), threshold };
}

describe('masks', () => {
  const golden = loadGolden<Masks>('masks');

  it('unstructured masks and thresholds equal the reference (spec 1.5, 171 cases)', () => {
    expect(golden.unstructured).to.have.length(171);
    let denormal = 0;
    golden.unstructured.forEach((entry, i) => {
      const what = `case ${i} (${entry.kind}, sparsity ${entry.sparsity})`;
      const { mask, threshold } = binding.magnitudeMask(entry.w.data, entry.sparsity);
      const recorded = entry.threshold.data[0]!;
      if (entry.kind === 'denormals and huge' && recorded < smallestNormal) {
        // TensorFlow computes with denormals flushed to 0, so all of them tie and everything is kept. We order them exactly.
        denormal++;
        expect(kept(entry.mask.data), what).to.equal(entry.w.data.length);
        const exact = sortedMask(entry.w.data, entry.sparsity);
        expect(threshold, what).to.equal(exact.threshold);
        expectSame(mask, exact.mask, what);
        return;
      }
      expect(threshold, what).to.equal(recorded);
      expectSame(mask, entry.mask.data, what);
    });
    expect(denormal, 'cases with a denormal threshold').to.equal(4);
  });

  it('block masks and thresholds equal the reference (spec 1.5, 240 cases)', () => {
    expect(golden.block).to.have.length(240);
    let errors = 0;
    golden.block.forEach((entry, i) => {
      const what = `case ${i} (${entry.kind}, block ${entry.block.join('x')}, ${entry.pooling}, sparsity ${entry.sparsity})`;
      const [rows, columns] = entry.w.shape as [number, number];
      const { mask, threshold } = binding.blockMask(entry.w.data, rows, columns, entry.block, entry.pooling, entry.sparsity);
      if (entry.error === undefined) {
        expect(threshold, what).to.equal(entry.threshold.data[0]);
        expectSame(mask, entry.mask.data, what);
        return;
      }
      // The reference fails when only one block row or column is left; we mask it like any other.
      errors++;
      const [blockRows, blockColumns] = entry.block;
      expect(Math.min(Math.ceil(rows / blockRows), Math.ceil(columns / blockColumns)), what).to.equal(1);
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < columns; c++) {
          const first = Math.floor(r / blockRows) * blockRows * columns + Math.floor(c / blockColumns) * blockColumns;
          expect(mask[r * columns + c], what).to.equal(mask[first]);
        }
      }
      expect(kept(mask), what).to.be.greaterThan(0);
    });
    expect(errors).to.equal(12);
  });

  it('m-by-n masks equal the reference (spec 1.5, 60 cases)', () => {
    expect(golden.mByN).to.have.length(60);
    golden.mByN.forEach((entry, i) => {
      const { mask, threshold } = binding.mByNMask(entry.w.data, entry.w.shape, entry.zeros, entry.of);
      expect(threshold).to.equal(999);
      expectSame(mask, entry.mask.data, `case ${i} (${entry.kind}, ${entry.zeros}:${entry.of}, shape ${entry.w.shape.join('x')})`);
    });
  });

  it('P11: 100 weights 1..100 keep 1 at sparsity 0.9999 and 50 at 0.5', () => {
    expect(kept(binding.magnitudeMask(ramp(100), 0.9999).mask)).to.equal(1);
    expect(kept(binding.magnitudeMask(ramp(100), 0.5).mask)).to.equal(50);
  });

  it('P12: weights 1..10 at sparsity 0.200000018', () => {
    const { mask, threshold } = binding.magnitudeMask(ramp(10), 0.200000018);
    expect(threshold).to.equal(3);
    expect([...mask]).to.deep.equal([0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  });

  it('P13: 2x2 blocks of .1/.2 over .3/.4 keep the lower two, AVG and MAX', () => {
    const w = flat([
      [0.1, 0.1, 0.2, 0.2],
      [0.1, 0.1, 0.2, 0.2],
      [0.3, 0.3, 0.4, 0.4],
      [0.3, 0.3, 0.4, 0.4],
    ]);
    const mixed = flat([
      [0.1, 0, -0.2, 0.2],
      [0, -0.1, 0.2, 0],
      [0.3, 0, 0, -0.4],
      [-0.3, 0.3, 0.4, 0],
    ]);
    const expected = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
    expect([...binding.blockMask(w, 4, 4, [2, 2], 'AVG', 0.5).mask]).to.deep.equal(expected);
    expect([...binding.blockMask(mixed, 4, 4, [2, 2], 'MAX', 0.5).mask]).to.deep.equal(expected);
  });

  it('P15: sparsity 0, .1, .1, .3, .3, .5 on 1..100, masked after each update', () => {
    const w = ramp(100);
    const counts = [0, 0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5].map((sparsity) => {
      const { mask } = binding.magnitudeMask(w, sparsity);
      binding.applyMask(w, mask);
      return w.filter((value) => value !== 0).length;
    });
    expect(counts).to.deep.equal([100, 90, 90, 70, 70, 50, 50, 50, 50, 50]);
  });

  it('P16: m-by-n goldens, ranks and sizes', () => {
    const w = flat([
      [0.74, 0.68],
      [-0.89, -0.45],
      [-1.68, 1.24],
      [0.31, -0.6],
    ]);
    const w4 = flat([
      [-0.36, -0.77],
      [-0.43, -0.18],
      [0.12, 1.36],
      [0.77, 0.96],
    ]);
    expect([...binding.mByNMask(w, [4, 2], 2, 4).mask]).to.deep.equal([0, 1, 1, 0, 1, 1, 0, 0]);
    expect([...binding.mByNMask(w4, [1, 1, 4, 2], 2, 4).mask]).to.deep.equal([0, 0, 1, 0, 0, 1, 1, 1]);
    expect([...binding.mByNMask(w4, [1, 1, 4, 2], 1, 2).mask]).to.deep.equal([0, 1, 1, 0, 0, 1, 1, 0]);
    const padded = flat([
      [1.92, -0.21],
      [-0.19, 0.57],
      [1.1, -0.42],
    ]);
    expect([...binding.mByNMask(padded, [3, 2], 2, 4).mask]).to.deep.equal([1, 0, 0, 1, 1, 1]);
    const padded4 = flat([
      [-0.37, 1.85],
      [0.82, 0.07],
      [1.17, 0.5],
    ]);
    expect([...binding.mByNMask(padded4, [1, 1, 3, 2], 2, 4).mask]).to.deep.equal([0, 1, 1, 0, 1, 1]);
    expectCode(() => binding.mByNMask(ramp(8), [8], 2, 4), 'ERR_SHAPE', /rank 2 or 4, not 1/);
    expectCode(() => binding.mByNMask(ramp(8), [2, 2, 2], 2, 4), 'ERR_SHAPE', /rank 2 or 4, not 3/);
    expectCode(() => binding.mByNMask(ramp(8), [4, 2], 4, 4), 'ERR_OPTION', /^m must/);
    expectCode(() => binding.mByNMask(ramp(8), [4, 2], 5, 4), 'ERR_OPTION', /^m must/);
  });

  it('P17: generated m-by-n masks', () => {
    // The reference's rows are output channels: [out, in]. Ours are [in, out], so transpose.
    const run = (rows: number[][], m: number, n: number): number[][] => {
      const [out, inputs] = [rows.length, rows[0]!.length];
      const w = Float32Array.from({ length: out * inputs }, (_, i) => rows[i % out]![Math.floor(i / out)]!);
      const { mask } = binding.mByNMask(w, [inputs, out], m, n);
      return rows.map((row, o) => row.map((_, i) => mask[i * out + o]!));
    };
    expect(run([[1.24], [1.11]], 2, 4)).to.deep.equal([[1], [1]]);
    const three = [
      [-0.49, -0.66, 0.42],
      [0.31, 0.63, -1.63],
    ];
    expect(run(three, 2, 4)).to.deep.equal([
      [1, 1, 0],
      [0, 1, 1],
    ]);
    expect(run(three, 1, 2)).to.deep.equal([
      [0, 1, 1],
      [0, 1, 1],
    ]);
    const four = [
      [0.25, -1.33, 0.43, -0.11],
      [0.47, 0.92, -0.13, -2.23],
    ];
    expect(run(four, 2, 4)).to.deep.equal([
      [0, 1, 1, 0],
      [0, 1, 0, 1],
    ]);
    const five = [
      [1.71, -0.27, -0.3, -0.61, -0.19],
      [-0.4, 1.12, 0.46, -1.12, 0.17],
    ];
    expect(run(five, 3, 5)).to.deep.equal([
      [1, 0, 0, 1, 0],
      [0, 1, 0, 1, 0],
    ]);
  });

  it('P20: a block mask is the mask of the pooled matrix, expanded', () => {
    const [rows, columns] = [64, 96];
    const next = (i: number): number => Math.sin(i * 12.9898) * 3;
    const w = Float32Array.from({ length: rows * columns }, (_, i) => next(i));
    for (const [blockRows, blockColumns] of [
      [4, 4],
      [1, 4],
      [4, 1],
      [1, 8],
      [8, 1],
    ] as const) {
      const [outRows, outColumns] = [rows / blockRows, columns / blockColumns];
      const pooled = Float32Array.from({ length: outRows * outColumns }, (_, block) => {
        let best = 0;
        for (let r = 0; r < blockRows; r++) {
          for (let c = 0; c < blockColumns; c++) {
            const row = Math.floor(block / outColumns) * blockRows + r;
            best = Math.max(best, Math.abs(w[row * columns + (block % outColumns) * blockColumns + c]!));
          }
        }
        return best;
      });
      const expected = binding.magnitudeMask(pooled, 0.6);
      const actual = binding.blockMask(w, rows, columns, [blockRows, blockColumns], 'MAX', 0.6);
      expect(actual.threshold).to.equal(expected.threshold);
      const expanded = Uint8Array.from(
        w,
        (_, i) => expected.mask[Math.floor(Math.floor(i / columns) / blockRows) * outColumns + Math.floor((i % columns) / blockColumns)]!,
      );
      expectSame(actual.mask, expanded, `block ${blockRows}x${blockColumns}`);
    }
  });

  it('one order statistic gives what a full sort gives, ties included (property)', () => {
    const weight = fc.oneof(fc.float({ noNaN: true, noDefaultInfinity: true }), fc.constantFrom(0, -0, 0.5, -0.5, 1));
    fc.assert(
      fc.property(
        fc.array(weight, { minLength: 1, maxLength: 200 }),
        fc.double({ min: 0, max: 0.9999, noNaN: true }),
        (values, sparsity) => {
          const w = Float32Array.from(values);
          const expected = sortedMask(w, sparsity);
          const actual = binding.magnitudeMask(w, sparsity);
          expect(actual.threshold).to.equal(expected.threshold);
          expectSame(actual.mask, expected.mask, 'mask');
        },
      ),
    );
  });

  it('masked weights become +0, not −0 (W27), on every instruction set', () => {
    for (const isa of isas) {
      for (const length of [1, 7, 16, 33, 1000]) {
        const w = Float32Array.from({ length }, (_, i) => (i % 3 === 0 ? -1 - i : i));
        const mask = Uint8Array.from({ length }, (_, i) => (i % 2 === 0 ? 0 : i % 3 === 0 ? 255 : 1));
        const expected = w.map((value, i) => (mask[i] === 0 ? 0 : value));
        binding.applyMask(w, mask, isa);
        w.forEach((value, i) => expect(Object.is(value, expected[i]), `${isa}, element ${i}`).to.equal(true));
      }
    }
  });

  it('rejects bad input', () => {
    const w = ramp(6);
    expectCode(() => binding.magnitudeMask(new Float32Array(0), 0.5), 'ERR_EMPTY_DATA');
    expectCode(() => binding.magnitudeMask(Float32Array.of(1, NaN), 0.5), 'ERR_NON_FINITE', /w\[1\] is NaN/);
    expectCode(() => binding.magnitudeMask(Float32Array.of(-Infinity, 1), 0.5), 'ERR_NON_FINITE', /w\[0\] is infinite/);
    for (const sparsity of [-0.1, 1, 1.5, NaN, '0.5' as unknown as number]) {
      expectCode(() => binding.magnitudeMask(w, sparsity), 'ERR_OPTION', /sparsity/);
    }
    expectCode(() => binding.magnitudeMask(new Float64Array(4) as unknown as Float32Array, 0.5), 'ERR_DTYPE', /w must be a Float32Array/);
    expectCode(() => binding.blockMask(w, 2, 2, [1, 1], 'AVG', 0.5), 'ERR_SHAPE', /2 x 2/);
    expectCode(() => binding.blockMask(w, 2, 3, [0, 1], 'AVG', 0.5), 'ERR_OPTION', /block\[0\]/);
    expectCode(() => binding.blockMask(w, 2, 3, [1, 1], 'MIN' as 'MAX', 0.5), 'ERR_OPTION', /'AVG' or 'MAX', not 'MIN'/); // P35
    expectCode(() => binding.mByNMask(w, [2, 2], 1, 2), 'ERR_SHAPE', /6 elements/);
    expectCode(() => binding.mByNMask(w, [2 ** 31, 2 ** 31, 2, 2], 1, 2), 'ERR_SHAPE', /6 elements/);
    expectCode(() => binding.applyMask(w, new Uint8Array(5)), 'ERR_SHAPE', /mask must have 6 elements/);
    expectCode(() => binding.applyMask(w, new Uint8Array(6), 'sse9' as 'avx2'), 'ERR_ISA');
  });
});
