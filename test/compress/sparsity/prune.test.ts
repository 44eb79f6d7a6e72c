import { expect } from 'chai';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { expectCode } from '../../support/errors.js';
import { collect, smallCnn, twoDense, valuesOf, zeroHalf } from '../../support/models.js';

const silent = { onNotice: () => undefined };

describe('pruneLowMagnitude', () => {
  it('P3: prunes every conv2d and dense, and says that depthwise is left alone', () => {
    const { codes, onNotice } = collect();
    const pruned = pruneLowMagnitude(smallCnn(), { onNotice });
    expect([...pruned.chains.keys()]).to.deep.equal(['conv1/kernel', 'conv2/kernel', 'logits/kernel']);
    expect(codes()).to.deep.equal(['dw: depthwise-not-selected']);
    expect(pruned.chains.get('conv1/kernel')).to.deep.include({ technique: 'prune' });
    expect(pruned.chains.get('conv1/kernel')?.mask).to.deep.equal({
      writeBack: true,
      maskGradient: false,
      pruning: { schedule: constantSparsity({ targetSparsity: 0.5 }), blockSize: [1, 1], blockPooling: 'AVG' },
    });
  });

  it('P36: one mask, threshold and step per kernel, in the state of spec 1.3', () => {
    const pruned = pruneLowMagnitude(smallCnn(), silent);
    const mask = pruned.tensors.get('conv1/kernel:mask');
    expect(mask?.shape).to.deep.equal([3, 3, 3, 6]);
    expect(mask?.data).to.deep.equal(new Uint8Array(162).fill(1));
    expect(pruned.tensors.get('conv1/kernel:threshold')?.data).to.deep.equal(Float32Array.of(0));
    expect(pruned.tensors.get('conv1/kernel:pruning_step')?.data).to.deep.equal(Int32Array.of(-1));
  });

  it('W37: selects layers by name and by predicate, depthwise included when asked', () => {
    const byName = pruneLowMagnitude(smallCnn(), { layers: ['dw', 'conv2'] });
    expect([...byName.chains.keys()]).to.deep.equal(['dw/kernel', 'conv2/kernel']);
    const byPredicate = pruneLowMagnitude(smallCnn(), { layers: (node) => node.op === 'dense' });
    expect([...byPredicate.chains.keys()]).to.deep.equal(['logits/kernel']);
  });

  it('names the candidates for an unknown layer', () => {
    expectCode(() => pruneLowMagnitude(smallCnn(), { layers: ['conv9'] }), 'ERR_UNKNOWN_LAYER', /'conv9'.*conv1, dw, conv2, logits/);
    expectCode(() => pruneLowMagnitude(smallCnn(), { layers: ['relu1'] }), 'ERR_UNKNOWN_LAYER');
  });

  it('P23: leaves the source untouched, drops the optimizer, and keeps the values', () => {
    const model = smallCnn();
    model.optimizer = { kind: 'adam', step: 3, slots: new Map() };
    const before = valuesOf(model, 'conv1/kernel').slice();
    const pruned = pruneLowMagnitude(model, silent);
    expect(pruned.optimizer).to.equal(undefined);
    expect(model.chains.size).to.equal(0);
    expect(valuesOf(pruned, 'conv1/kernel')).to.deep.equal(before);
    valuesOf(pruned, 'conv1/kernel').fill(0);
    expect(valuesOf(model, 'conv1/kernel')).to.deep.equal(before);
  });

  it('P3: a layer that is pruned already keeps its mask and schedule', () => {
    const first = pruneLowMagnitude(smallCnn(), { layers: ['conv1'], schedule: constantSparsity({ targetSparsity: 0.25 }) });
    first.tensors.get('conv1/kernel:mask')?.data.fill(0, 0, 5);
    const { codes, onNotice } = collect();
    const second = pruneLowMagnitude(first, { layers: ['conv1', 'conv2'], onNotice });
    expect(codes()).to.deep.equal(['conv1: already-treated']);
    expect(second.chains.get('conv1/kernel')).to.deep.equal(first.chains.get('conv1/kernel'));
    expect(second.tensors.get('conv1/kernel:mask')).to.deep.equal(first.tensors.get('conv1/kernel:mask'));
    expect(second.chains.has('conv2/kernel')).to.equal(true);
  });

  it('W25: existing zeros start masked and set the least sparsity', () => {
    const model = twoDense(8, 8, 4);
    zeroHalf(model, 'dense1/kernel');
    const pruned = pruneLowMagnitude(model);
    expect([...(pruned.tensors.get('dense1/kernel:mask')?.data ?? [])]).to.deep.equal(
      [...valuesOf(model, 'dense1/kernel')].map((value) => (value === 0 ? 0 : 1)),
    );
    expect(pruned.chains.get('dense1/kernel')?.mask?.pruning?.minimumSparsity).to.equal(0.5);
    expect(pruned.chains.get('dense2/kernel')?.mask?.pruning?.minimumSparsity).to.equal(undefined);
  });

  it('W25: with blocks, whole zero blocks count', () => {
    const model = twoDense(4, 4, 2);
    const kernel = valuesOf(model, 'dense1/kernel');
    for (const i of [0, 1, 4, 5, 2]) kernel[i] = 0; // one 2×2 block, and a stray zero
    const pruned = pruneLowMagnitude(model, { layers: ['dense1'], blockSize: [2, 2] });
    expect(pruned.chains.get('dense1/kernel')?.mask?.pruning?.minimumSparsity).to.equal(0.25);
  });

  it('reports an all-zero kernel and leaves its mask open', () => {
    const model = twoDense(4, 4, 2);
    valuesOf(model, 'dense1/kernel').fill(0);
    const { codes, onNotice } = collect();
    const pruned = pruneLowMagnitude(model, { onNotice });
    expect(codes()).to.deep.equal(['dense1: all-zero']);
    expect(pruned.tensors.get('dense1/kernel:mask')?.data).to.deep.equal(new Uint8Array(16).fill(1));
  });

  it('P14: blocks need rank-2 weights', () => {
    expectCode(() => pruneLowMagnitude(smallCnn(), { blockSize: [2, 2], ...silent }), 'ERR_SHAPE', /layer 'conv1'/);
    expect(
      pruneLowMagnitude(smallCnn(), { blockSize: [2, 2], layers: ['logits'] }).chains.get('logits/kernel')?.mask?.pruning?.blockSize,
    ).to.deep.equal([2, 2]);
  });

  it('P35: rejects bad options', () => {
    const model = twoDense(4, 4, 2);
    expectCode(() => pruneLowMagnitude(model, { blockPooling: 'MIN' as 'MAX' }), 'ERR_OPTION', /MIN/);
    expectCode(() => pruneLowMagnitude(model, { blockSize: [0, 1] }), 'ERR_OPTION', /blockSize/);
    expectCode(() => pruneLowMagnitude(model, { blockSize: [2] as unknown as [number, number] }), 'ERR_OPTION', /blockSize/);
    for (const mByN of [
      [4, 4],
      [5, 4],
      [0, 4],
      [1.5, 4],
    ] as [number, number][]) {
      expectCode(() => pruneLowMagnitude(model, { mByN }), 'ERR_OPTION', /mByN/);
    }
    const schedule = { kind: 'constant', targetSparsity: 2, beginStep: 0, endStep: -1, frequency: 1 } as const;
    expectCode(() => pruneLowMagnitude(model, { schedule }), 'ERR_OPTION', /targetSparsity/);
  });

  it('m-by-n overrides block and schedule', () => {
    const pruned = pruneLowMagnitude(twoDense(4, 4, 2), { mByN: [2, 4], blockSize: [2, 2] });
    expect(pruned.chains.get('dense1/kernel')?.mask?.pruning).to.deep.include({ mByN: [2, 4], blockSize: [1, 1] });
  });

  it('refuses clustered and quantized weights, NaN and Inf', () => {
    const model = smallCnn();
    expectCode(
      () => pruneLowMagnitude(clusterWeights(model, { numberOfClusters: 4, ...silent }), silent),
      'ERR_UNSUPPORTED',
      /cluster chain.*layer 'conv1'/,
    );
    expectCode(() => pruneLowMagnitude(quantizeModel(model), silent), 'ERR_UNSUPPORTED', /qat chain/);
    valuesOf(model, 'conv2/kernel')[3] = NaN;
    expectCode(() => pruneLowMagnitude(model, silent), 'ERR_NON_FINITE', /conv2\/kernel/);
    valuesOf(model, 'conv2/kernel')[3] = Infinity;
    expectCode(() => pruneLowMagnitude(model, silent), 'ERR_NON_FINITE', /Infinity/);
  });
});

describe('stripPruning', () => {
  it('W26, W27: applies the mask with +0 and drops chain and state', () => {
    const pruned = pruneLowMagnitude(twoDense(4, 4, 2));
    const kernel = valuesOf(pruned, 'dense1/kernel');
    kernel[0] = -1;
    pruned.tensors.get('dense1/kernel:mask')?.data.fill(0, 0, 2);
    const stripped = stripPruning(pruned);
    const result = valuesOf(stripped, 'dense1/kernel');
    expect(Object.is(result[0], 0)).to.equal(true);
    expect(result[1]).to.equal(0);
    expect(result.slice(2)).to.deep.equal(kernel.slice(2));
    expect(stripped.chains.size).to.equal(0);
    expect([...stripped.tensors.keys()].filter((name) => name.includes(':'))).to.deep.equal([]);
    expect(kernel[0]).to.equal(-1);
  });

  it('P9: an unpruned model comes back equal', () => {
    const model = twoDense(4, 4, 2);
    expect(stripPruning(model)).to.deep.equal(model);
  });

  it('says which state is missing', () => {
    const pruned = pruneLowMagnitude(twoDense(4, 4, 2));
    pruned.tensors.delete('dense1/kernel:mask');
    expectCode(() => stripPruning(pruned), 'ERR_INVARIANT', /dense1\/kernel:mask/);
  });
});
