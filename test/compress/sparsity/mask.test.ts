import { expect } from 'chai';
import fc from 'fast-check';
import { maskDecision, updateMask } from '#lib/compress/sparsity/mask.js';
import { isPrunedMByN, sparsityOf } from '#lib/compress/sparsity/metrics.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import type { PruningPolicy } from '#lib/compress/sparsity/types.js';
import { expectCode } from '../../support/errors.js';

const schedule = constantSparsity({ targetSparsity: 0.5, frequency: 1 });
const policy: PruningPolicy = { schedule, blockSize: [1, 1], blockPooling: 'AVG' };
const vector = (values: Iterable<number>) => {
  const data = Float32Array.from(values);
  return { shape: [data.length, 1], data };
};
const oneTo = (n: number) => vector(Array.from({ length: n }, (_, i) => i + 1));
const kept = (mask: Uint8Array) => mask.reduce((sum, keep) => sum + keep, 0);

describe('updateMask', () => {
  it('P11: keeps at least one weight', () => {
    expect(kept(updateMask(oneTo(100), policy, 0.9999).mask)).to.equal(1);
    expect(kept(updateMask(oneTo(100), policy, 0.5).mask)).to.equal(50);
  });

  it('P12: threshold and mask', () => {
    const { mask, threshold } = updateMask(oneTo(10), policy, 0.200000018);
    expect(threshold).to.equal(3);
    expect([...mask]).to.deep.equal([0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  });

  it('P13: blocks stand or fall together', () => {
    const weight = { shape: [4, 4], data: Float32Array.of(0.1, 0.1, 0.2, 0.2, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.3, 0.3, 0.4, 0.4) };
    for (const blockPooling of ['AVG', 'MAX'] as const) {
      const { mask } = updateMask(weight, { ...policy, blockSize: [2, 2], blockPooling }, 0.5);
      expect([...mask]).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
    }
  });

  it('blocks: one block row or column is enough (the reference throws)', () => {
    const weight = { shape: [4, 2], data: Float32Array.of(1, 4, 2, 3, 1, 5, 2, 6) };
    expect([...updateMask(weight, { ...policy, blockSize: [4, 1] }, 0.5).mask]).to.deep.equal([0, 1, 0, 1, 0, 1, 0, 1]);
  });

  it('P15: a rising sparsity sequence, masking each time', () => {
    const weight = oneTo(100);
    const counts = [0, 0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5].map((sparsity) => {
      const { mask } = updateMask(weight, policy, sparsity);
      mask.forEach((keep, i) => (weight.data[i] *= keep));
      return weight.data.length * (1 - sparsityOf(weight.data));
    });
    expect(counts.map(Math.round)).to.deep.equal([100, 90, 90, 70, 70, 50, 50, 50, 50, 50]);
  });

  it('P22: 99 % of a small dense kernel leaves one weight', () => {
    for (const shape of [
      [10, 8],
      [8, 5],
    ]) {
      const data = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i + 1));
      expect(kept(updateMask({ shape, data }, policy, 0.99).mask)).to.equal(1);
    }
  });

  it('W25: zeros stay masked when more than the target is zero already', () => {
    const weight = vector([0, 0, 0, 0, 0, 0, 0, 1, -2, 3]);
    expect([...updateMask(weight, policy, 0.5).mask]).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
    // One optimizer step later the pruned weights are not zero any more; the sparsity at the start counts.
    const moved = vector([0.01, -0.01, 0.02, 0.01, 0.03, 0.01, 0.02, 1, -2, 3]);
    expect([...updateMask(moved, { ...policy, minimumSparsity: 0.7 }, 0.5).mask]).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
  });

  it('an all-zero weight is not frozen', () => {
    expect([...updateMask(vector([0, 0, 0, 0]), policy, 0.5).mask]).to.deep.equal([1, 1, 1, 1]);
  });

  it('m-by-n masks have the pattern, whatever the weights', () => {
    fc.assert(
      fc.property(fc.array(fc.float({ noNaN: true, min: -10, max: 10 }), { minLength: 12, maxLength: 12 }), (values) => {
        const weight = { shape: [4, 3], data: Float32Array.from(values) };
        const { mask, threshold } = updateMask(weight, { ...policy, mByN: [2, 4] }, 0);
        expect(threshold).to.equal(999);
        expect(isPrunedMByN({ shape: [4, 3], data: mask }, { m: 2, n: 4 })).to.equal(true);
      }),
      { numRuns: 50 },
    );
  });

  it('P16: the m-by-n mask is computed at step 1 only, whatever the schedule', () => {
    const mByN: PruningPolicy = { ...policy, mByN: [2, 4] };
    expect([1, 2, 100].map((step) => maskDecision(mByN, step).shouldPrune)).to.deep.equal([true, false, false]);
    expect(maskDecision(policy, 2)).to.deep.equal({ shouldPrune: true, sparsity: 0.5 });
  });

  it('rejects integer weights', () => {
    expectCode(() => updateMask({ shape: [2, 1], data: Int32Array.of(1, 2) }, policy, 0.5), 'ERR_DTYPE');
  });
});
