import { expect } from 'chai';
import { isPrunedMByN, sparsityOf } from '#lib/compress/sparsity/metrics.js';
import { expectCode } from '../../support/errors.js';

/** A column: in `[in, out]` layout its values are consecutive inputs of one output. */
const column = (values: readonly number[]) => ({ shape: [values.length, 1], data: Float32Array.from(values) });
/** Rows of input values, stored transposed as `[in, out]`. */
const rows = (...values: readonly (readonly number[])[]) => {
  const width = values[0].length;
  return {
    shape: [width, values.length],
    data: Float32Array.from({ length: width * values.length }, (_, i) => values[i % values.length][Math.floor(i / values.length)]),
  };
};

describe('sparsity metrics', () => {
  it('sparsityOf counts zeros of both signs', () => {
    expect(sparsityOf([0, -0, 1, 2])).to.equal(0.5);
    expect(sparsityOf([])).to.equal(0);
  });

  it('P18: recognises m-by-n patterns', () => {
    const twoByFour = { m: 2, n: 4 };
    const oneByTwo = { m: 1, n: 2 };
    expect(isPrunedMByN(column([1, 2, 0, 0]), twoByFour)).to.equal(true);
    expect(isPrunedMByN(column([1, 2, 0, 0]), oneByTwo)).to.equal(false);
    expect(isPrunedMByN(column([1, 0, 2, 0]), oneByTwo)).to.equal(true);
    expect(isPrunedMByN(column([1, 2, 3, 4]), twoByFour)).to.equal(false);
    expect(isPrunedMByN(column([0, 0, 0, 0]), twoByFour)).to.equal(true);
    expect(isPrunedMByN(rows([1, 2, 0, 4], [0, 0, 1, 2]), twoByFour)).to.equal(false);
    expect(isPrunedMByN(column([1, 2, 3, 4, 5, 6]), twoByFour)).to.equal(false);
    expect(isPrunedMByN(column([1, 2, 0, 0, 5, 6]), twoByFour)).to.equal(true);
    expect(isPrunedMByN(column([1, 2, 0, 0, 5, 6, 7]), twoByFour)).to.equal(false);
    expect(isPrunedMByN(column([1, 2, 0, 0, 5, 6, 0]), twoByFour)).to.equal(true);
  });

  it('P18: C_IN looks along the last axis as stored', () => {
    const weight = { shape: [3, 4], data: Float32Array.of(1, 2, 0, 0, 0, 3, 0, 4, 0, 0, 5, 6) };
    expect(isPrunedMByN(weight, { m: 2, n: 4, lastChannel: 'C_IN' })).to.equal(true);
    expect(isPrunedMByN(weight, { m: 2, n: 3, lastChannel: 'C_OUT' })).to.equal(false);
  });

  it('P19: a rank-4 kernel is looked at input by input for every tap and filter', () => {
    // [1, 1, 4, 2]: filter 0 has inputs 1,2,0,0; filter 1 has 0,0,3,4.
    const weight = { shape: [1, 1, 4, 2], data: Float32Array.of(1, 0, 2, 0, 0, 3, 0, 4) };
    expect(isPrunedMByN(weight, { m: 2, n: 4 })).to.equal(true);
    const dense = { shape: [2, 1, 4, 1], data: Float32Array.of(1, 0, 2, 0, 1, 2, 3, 0) };
    expect(isPrunedMByN(dense, { m: 2, n: 4 })).to.equal(false);
  });

  it('rejects other ranks, m > n and unknown layouts', () => {
    const rank = (shape: number[]) => ({ shape, data: new Float32Array(4) });
    expectCode(() => isPrunedMByN(rank([4]), { m: 2, n: 4 }), 'ERR_SHAPE', /rank 1/);
    expectCode(() => isPrunedMByN(rank([1, 2, 2]), { m: 2, n: 4 }), 'ERR_SHAPE', /rank 3/);
    expectCode(() => isPrunedMByN(rank([2, 2]), { m: 5, n: 4 }), 'ERR_OPTION');
    expectCode(() => isPrunedMByN(rank([2, 2]), { m: 1, n: 2, lastChannel: 'C' as 'C_IN' }), 'ERR_OPTION', /lastChannel/);
  });
});
