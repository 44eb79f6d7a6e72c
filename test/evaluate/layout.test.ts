import { expect } from 'chai';
import { describe, it } from 'mocha';
import { inputLayout, toChannelsFirst } from '#lib/evaluate/layout.js';
import { sameOrder } from '#lib/evaluate/rows.js';
import { expectCode } from '../support/errors.js';

describe('layout of an input', () => {
  it('is channels first unless the examples say otherwise', () => {
    expect(inputLayout([3, 4, 5], undefined, 'f')).to.deep.equal({ file: [3, 4, 5], example: [4, 5, 3], transpose: true });
    expect(inputLayout([3, 4, 5], [4, 5, 3], 'f')).to.deep.equal({ file: [3, 4, 5], example: [4, 5, 3], transpose: true });
    expect(inputLayout([4, 5, 3], [4, 5, 3], 'f')).to.deep.equal({ file: [4, 5, 3], example: [4, 5, 3], transpose: false });
    expect(inputLayout([3, 3, 3], [3, 3, 3], 'f').transpose).to.equal(true);
    expect(inputLayout([7], undefined, 'f')).to.deep.equal({ file: [7], example: [7], transpose: false });
  });

  it('takes what holds the same numbers in the same order', () => {
    expect(inputLayout([490], [49, 10, 1], 'f')).to.deep.equal({ file: [490], example: [490], transpose: false });
    expect(inputLayout([49, 10], [49, 10, 1], 'f')).to.deep.equal({ file: [49, 10], example: [49, 10], transpose: false });
  });

  it('fills open dimensions', () => {
    expect(inputLayout([3, 'h', 'w'], [8, 9, 3], 'f').file).to.deep.equal([3, 8, 9]);
    expect(inputLayout([-1, 9, 3], [8, 9, 3], 'f')).to.deep.equal({ file: [8, 9, 3], example: [8, 9, 3], transpose: false });
    expectCode(() => inputLayout([3, 'h', 'w'], undefined, 'f'), 'ERR_SHAPE', /\[3, \?, \?\]/);
  });

  it('refuses other sizes', () => {
    expectCode(() => inputLayout([3, 4, 5], [4, 5, 1], 'f'), 'ERR_SHAPE', /\[4, 5, 1\].*\[3, 4, 5\]/);
    expectCode(() => inputLayout([3, 4], [4, 5, 3], 'f'), 'ERR_SHAPE');
    expectCode(() => inputLayout([61], [4, 5, 3], 'f'), 'ERR_SHAPE');
  });

  it('transposes rows one by one', () => {
    const x = Float32Array.of(1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60);
    expect([...toChannelsFirst(x, [1, 3, 2])]).to.deep.equal([1, 2, 3, 10, 20, 30, 4, 5, 6, 40, 50, 60]);
  });

  it('compares shapes by the order of their numbers', () => {
    expect(sameOrder([1, 49, 10], [49, 10, 1])).to.equal(true);
    expect(sameOrder([490], [49, 10, 1])).to.equal(true);
    expect(sameOrder([10, 49], [49, 10])).to.equal(false);
    expect(sameOrder([4, 9], [6, 6])).to.equal(false);
    expect(sameOrder([1], [1, 1])).to.equal(true);
  });
});
