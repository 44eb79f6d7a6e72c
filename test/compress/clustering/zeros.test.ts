import { expect } from 'chai';
import { clusterWeights, type ClusterOptions } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { pruneOnce } from '#lib/compress/sparsity/once.js';
import { sparsityOf } from '#lib/compress/sparsity/metrics.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { channelOf, collect, distinct, smallCnn, valuesOf } from '../../support/models.js';
import { images, rowsOf, train } from '../../support/training.js';

const silent = { onNotice: () => undefined };
const maskOf = (model: Model, weight: string): Uint8Array => Uint8Array.from(model.tensors.get(`${weight}:mask`)?.data ?? []);
const notZero = (data: Float32Array): Uint8Array => Uint8Array.from(data, (value) => (value !== 0 ? 1 : 0));

/** Every second weight is zero, whatever its size was, so that small ones remain beside zeros. */
function halfZero(): Model {
  const model = smallCnn();
  valuesOf(model, 'conv2/kernel').forEach((_, i, kernel) => i % 2 === 0 && (kernel[i] = 0));
  return model;
}
const sparse = (model: Model, options: Partial<ClusterOptions> = {}): Model =>
  clusterWeights(model, { numberOfClusters: 4, preserveSparsity: true, layers: ['conv2'], ...silent, ...options });

describe('kept zeros', () => {
  it('W31: exactly the zeros that were there are fixed; the reference zeroes more for good', () => {
    const model = halfZero();
    const given = notZero(valuesOf(model, 'conv2/kernel'));
    expect(maskOf(sparse(model), 'conv2/kernel')).to.deep.equal(given);
    const reference = maskOf(sparse(model, { zeros: 'reference' }), 'conv2/kernel');
    expect(sparsityOf(reference)).to.be.above(sparsityOf(given));
    // What the reference masks is what its first clustered weight has as zero.
    expect(reference).to.deep.equal(notZero(materializeWeight(sparse(model, { zeros: 'reference' }), 'conv2/kernel')));
  });

  it('W31: a weight that is zero only for being nearest to the zero centroid leaves it again; a given zero never does', async () => {
    const model = halfZero();
    const given = notZero(valuesOf(model, 'conv2/kernel'));
    const clustered = sparse(model);
    const before = materializeWeight(clustered, 'conv2/kernel');
    const joined = [...before.keys()].filter((i) => before[i] === 0 && given[i] === 1);
    expect(joined).to.not.deep.equal([]);
    await train(clustered, images, { epochs: 8 });
    const after = materializeWeight(clustered, 'conv2/kernel');
    expect(joined.some((i) => after[i] !== 0)).to.equal(true);
    given.forEach((keep, i) => keep === 0 && expect(after[i], `[${i}]`).to.equal(0));
    const reference = sparse(model, { zeros: 'reference' });
    await train(reference, images, { epochs: 8 });
    const stuck = materializeWeight(reference, 'conv2/kernel');
    expect(
      joined.every((i) => stuck[i] === 0),
      'the reference holds them',
    ).to.equal(true);
  });

  it('W31: a kernel without a zero gets no zero centroid and no mask, and says so', () => {
    const { codes, onNotice } = collect();
    const clustered = sparse(smallCnn(), { onNotice });
    expect(codes()).to.deep.equal(['conv2: no-zeros']);
    expect(clustered.chains.get('conv2/kernel')).to.deep.equal({
      technique: 'cluster',
      codebook: { perChannel: false, aggregation: 'sum' },
    });
    expect(valuesOf(clustered, 'conv2/kernel:centroids').includes(0)).to.equal(false);
    expect(materializeWeight(clustered, 'conv2/kernel').includes(0)).to.equal(false);
  });

  it('W31: per channel, only channels that have a zero get one pinned; training keeps it so', async () => {
    const model = smallCnn();
    valuesOf(model, 'conv2/kernel').forEach((_, i, kernel) => i % 8 === 3 && i < 100 && (kernel[i] = 0));
    const clustered = sparse(model, { clusterPerChannel: true });
    const zeroIndex = [...(clustered.tensors.get('conv2/kernel:zero_index')?.data ?? [])];
    expect(zeroIndex.map((index) => index >= 0)).to.deep.equal([false, false, false, true, false, false, false, false]);
    await train(clustered, images, { epochs: 3 });
    const used = valuesOf(stripClustering(clustered), 'conv2/kernel');
    for (let channel = 0; channel < 8; channel++) {
      expect(channelOf(used, 8, channel).includes(0), `channel ${channel}`).to.equal(channel === 3);
      expect(distinct(channelOf(used, 8, channel))).to.be.at.most(4);
    }
    const zeros = channelOf(valuesOf(model, 'conv2/kernel'), 8, 3);
    channelOf(used, 8, 3).forEach((value, i) => zeros[i] === 0 && expect(value).to.equal(0));
  });

  it('an all-zero kernel stays zero, and says so', async () => {
    const model = smallCnn();
    valuesOf(model, 'conv2/kernel').fill(0);
    const { codes, onNotice } = collect();
    const clustered = sparse(model, { onNotice });
    expect(codes()).to.deep.equal(['conv2: all-zero']);
    await train(clustered, images);
    const stripped = stripClustering(clustered);
    expect(valuesOf(stripped, 'conv2/kernel')).to.deep.equal(new Float32Array(432));
    const quantized = quantizeModel(stripped, { scheme: new Default8BitClusterPreserveQuantizeScheme(), ...silent });
    expect(quantized.chains.get('conv2/kernel')?.technique).to.equal('pcqat');
    await train(quantized, images);
    expect(materializeWeight(quantized, 'conv2/kernel')).to.deep.equal(new Float32Array(432));
  });

  it('W39: a pruned 1×1 kernel with few weights is left alone with a notice, and keeps weights and zeros in PCQAT', async () => {
    const g = new GraphBuilder('tiny');
    const x = g.globalAveragePool2d(g.conv2d(g.input([4, 4, 1]), { name: 'pointwise', filters: 12, kernelSize: 1 }));
    const source = createModel(g.build(g.dense(x, { name: 'logits', units: 4 })), { seed: 2 });
    const pruned = stripPruning(pruneOnce(source, { targetSparsity: 0.5 }));
    const kernel = valuesOf(pruned, 'pointwise/kernel');
    expect(sparsityOf(kernel)).to.equal(0.5);
    for (const clusterPerChannel of [false, true]) {
      const { codes, onNotice } = collect();
      const clustered = clusterWeights(pruned, { numberOfClusters: 16, preserveSparsity: true, clusterPerChannel, onNotice });
      expect(codes()).to.include('pointwise: too-few-weights');
      const pcqat = quantizeModel(stripClustering(clustered), { scheme: new Default8BitClusterPreserveQuantizeScheme(), ...silent });
      expect(materializeWeight(pcqat, 'pointwise/kernel')).to.deep.equal(kernel);
      await train(pcqat, rowsOf([4, 4, 1]), { epochs: 3 });
      const used = materializeWeight(pcqat, 'pointwise/kernel');
      expect(notZero(used)).to.deep.equal(notZero(kernel));
    }
  });

  it('W38: a 1×1 kernel that is large enough is clustered: its values are compared with the source, not with themselves', () => {
    const g = new GraphBuilder('pointwise');
    const source = createModel(g.build(g.conv2d(g.input([4, 4, 8]), { name: 'pointwise', filters: 16, kernelSize: 1 })), { seed: 2 });
    const stripped = stripClustering(clusterWeights(source, { numberOfClusters: 8 }));
    const [before, after] = [valuesOf(source, 'pointwise/kernel'), valuesOf(stripped, 'pointwise/kernel')];
    expect([distinct(before), distinct(after)]).to.deep.equal([128, 8]);
    const values = [...new Set(after)];
    after.forEach((value, i) => {
      const nearest = Math.min(...values.map((centroid) => Math.abs(Math.fround(before[i] - centroid))));
      expect(Math.abs(Math.fround(before[i] - value)), `[${i}]`).to.equal(nearest);
    });
  });
});
