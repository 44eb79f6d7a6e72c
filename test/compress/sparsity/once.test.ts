import { expect } from 'chai';
import { pruneOnce } from '#lib/compress/sparsity/once.js';
import { sparsityOf, isPrunedMByN } from '#lib/compress/sparsity/metrics.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { expectCode } from '../../support/errors.js';
import { twoDense, valuesOf } from '../../support/models.js';
import { transposedNet } from '../../support/training.js';

const sparsities = (model: ReturnType<typeof twoDense>): number[] =>
  ['dense1/kernel', 'dense2/kernel'].map((name) => sparsityOf(valuesOf(model, name)));

describe('pruneOnce', () => {
  it('P38: 0.8 at once on dense layers of 10 and 2 units; the block size is kept', () => {
    const model = twoDense(20, 10, 2);
    const pruned = pruneOnce(model, { targetSparsity: 0.8 });
    expect(sparsities(pruned)).to.deep.equal([0.8, 0.8]);
    expect(sparsities(stripPruning(pruned))).to.deep.equal([0.8, 0.8]);
    expect(sparsities(model), 'the source').to.deep.equal([0, 0]);
    const blocks = pruneOnce(twoDense(20, 10, 2), { targetSparsity: 0.8, blockSize: [2, 1] });
    expect(blocks.chains.get('dense1/kernel')?.mask?.pruning?.blockSize).to.deep.equal([2, 1]);
    expect(sparsities(blocks)).to.deep.equal([0.8, 0.8]);
  });

  it('P25, W38: keeps exactly the largest magnitudes, also of a transposed convolution', () => {
    const model = transposedNet();
    const kernel = valuesOf(model, 'transposed/kernel');
    const smallest = [...kernel].map(Math.abs).sort((a, b) => b - a)[kernel.length / 2 - 1];
    const pruned = valuesOf(stripPruning(pruneOnce(model, { targetSparsity: 0.5 })), 'transposed/kernel');
    expect(pruned).to.deep.equal(kernel.map((value) => (Math.abs(value) >= smallest ? value : 0)));
    expect(sparsityOf(pruned)).to.equal(0.5);
  });

  it('takes m-by-n, leaves layers alone that are being pruned, and checks the target', () => {
    const pattern = stripPruning(pruneOnce(twoDense(16, 8, 4), { targetSparsity: 0, mByN: [2, 4] }));
    expect(isPrunedMByN(pattern.tensors.get('dense1/kernel') ?? expect.fail(), { m: 2, n: 4 })).to.equal(true);
    const first = pruneLowMagnitude(twoDense(16, 8, 4), { layers: ['dense1'] });
    const second = pruneOnce(first, { targetSparsity: 0.5, onNotice: () => undefined });
    expect(sparsities(second)).to.deep.equal([0, 0.5]);
    expectCode(() => pruneOnce(twoDense(16, 8, 4), { targetSparsity: 1 }), 'ERR_OPTION', /targetSparsity/);
  });
});
