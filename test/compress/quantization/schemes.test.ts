import { expect } from 'chai';
import { clusterWeights, type ClusterOptions } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { isWeighted } from '#lib/compress/registry.js';
import {
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  Default8BitQuantizeScheme,
  type ClusterPreserveOptions,
  type QuantizeScheme,
} from '#lib/compress/quantization/schemes.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { expectCode } from '../../support/errors.js';
import { channelOf, collect, distinct, smallCnn, twoDense, valuesOf, zeroHalf } from '../../support/models.js';

const silent = { onNotice: () => undefined };

/** One 3×3 convolution over 4 channels with `filters` filters, values set by the caller. */
function convolution(filters: number, values?: (i: number) => number): Model {
  const g = new GraphBuilder('conv');
  const model = createModel(g.build(g.conv2d(g.input([8, 8, 4]), { name: 'conv', filters, kernelSize: 3 })), { seed: 5 });
  const kernel = valuesOf(model, 'conv/kernel');
  if (values !== undefined) kernel.forEach((_, i) => (kernel[i] = values(i)));
  return model;
}

function clustered(model: Model, options: ClusterOptions): Model {
  return stripClustering(clusterWeights(model, { ...options, ...silent }));
}

function preserve(model: Model, options: ClusterPreserveOptions = {}) {
  const { codes, onNotice } = collect();
  return { model: quantizeModel(model, { scheme: new Default8BitClusterPreserveQuantizeScheme(options), onNotice }), codes };
}

describe('cluster-preserving scheme', () => {
  it('4.4: distinct values in order of first occurrence, the stored weight kept, indices of both', () => {
    const g = new GraphBuilder('net');
    const model = createModel(g.build(g.dense(g.input([2]), { name: 'dense', units: 3 })));
    valuesOf(model, 'dense/kernel').set([-0, 0.5, -0.25, 0.5, 0, 0.75]);
    const { model: pcqat } = preserve(model);
    expect([...valuesOf(pcqat, 'dense/kernel:centroids')]).to.deep.equal([0, 0.5, -0.25, 0.75]);
    expect([...(pcqat.tensors.get('dense/kernel:indices')?.data ?? [])]).to.deep.equal([0, 1, 2, 1, 0, 3]);
    expect([...(pcqat.tensors.get('dense/kernel:mask')?.data ?? [])]).to.deep.equal([0, 1, 1, 1, 0, 1]);
    expect(pcqat.tensors.get('dense/kernel:zero_index')?.data).to.deep.equal(Int32Array.of(0));
    expect(pcqat.chains.get('dense/kernel')).to.deep.equal({
      technique: 'pcqat',
      mask: { writeBack: true, maskGradient: false },
      codebook: { perChannel: false, aggregation: 'sum', zeroPin: 'index' },
      fakeQuant: { bits: 8, perChannel: false },
    });
  });

  it('W4: a tensor-wide codebook stays one, though its channels have equal counts', () => {
    const model = clustered(convolution(8), { numberOfClusters: 4, centroidInit: 'linear' });
    const own = preserve(model, { preserveSparsity: false }).model;
    expect(own.tensors.get('conv/kernel:centroids')?.shape).to.deep.equal([4]);
    const reference = preserve(model, { preserveSparsity: false, codebook: 'reference' }).model;
    expect(reference.tensors.get('conv/kernel:centroids')?.shape).to.deep.equal([8, 4]);
  });

  it('W5, W7: codebooks per channel stay so when their counts differ, padded with a value of the channel', () => {
    const model = clustered(convolution(2), { numberOfClusters: 4, clusterPerChannel: true });
    const kernel = valuesOf(model, 'conv/kernel');
    const [first, second] = new Set(channelOf(kernel, 2, 1));
    kernel.forEach((value, i) => i % 2 === 1 && value !== first && (kernel[i] = second)); // channel 1 lost two clusters
    const own = preserve(model, { preserveSparsity: false }).model;
    expect(own.tensors.get('conv/kernel:centroids')?.shape).to.deep.equal([2, 4]);
    const row = [...valuesOf(own, 'conv/kernel:centroids')].slice(4);
    expect(new Set(row)).to.deep.equal(new Set([first, second]));
    expect(materializeWeight(own, 'conv/kernel')).to.deep.equal(kernel);
    const reference = preserve(model, { preserveSparsity: false, codebook: 'reference' }).model;
    expect(reference.tensors.get('conv/kernel:centroids')?.shape).to.deep.equal([6]);
  });

  it('W6: only a channel that has zeros gets a pinned zero', () => {
    // As stripClustering leaves it: channel 0 holds 0, 0.5, 1, 2 and channel 1 holds 0.1, 0.5, 1, 2.
    const model = convolution(2, (i) => [i % 2 === 0 ? 0 : 0.1, 0.5, 1, 2][(i >> 1) % 4]);
    model.tensors.set('conv/kernel:clustered_as', { shape: [2], data: Int32Array.of(4, 1) });
    expect(channelOf(valuesOf(model, 'conv/kernel'), 2, 1).includes(0)).to.equal(false);
    const own = preserve(model).model;
    const zeroIndex = [...(own.tensors.get('conv/kernel:zero_index')?.data ?? [])];
    expect(zeroIndex[0]).to.be.at.least(0);
    expect(zeroIndex[1]).to.equal(-1);
    expect(materializeWeight(own, 'conv/kernel')).to.deep.equal(valuesOf(model, 'conv/kernel'));
    const reference = preserve(model, { codebook: 'reference' }).model;
    const used = materializeWeight(reference, 'conv/kernel');
    expect(channelOf(used, 2, 1).includes(0), 'the reference zeroes a cluster of channel 1').to.equal(true);
  });

  it('W2, X8: zeros are preserved layer by layer', () => {
    const model = smallCnn();
    zeroHalf(model, 'conv2/kernel');
    const source = clustered(model, { numberOfClusters: 6, layers: ['conv1', 'conv2'] });
    valuesOf(source, 'conv1/kernel').forEach((value, i, data) => value === 0 && (data[i] = 0.5));
    zeroHalf(source, 'conv2/kernel');
    const { model: pcqat, codes } = preserve(source);
    expect(pcqat.chains.get('conv1/kernel')?.technique).to.equal('cqat');
    expect(pcqat.chains.get('conv2/kernel')?.technique).to.equal('pcqat');
    expect(codes()).to.include('conv1: no-zeros');
  });

  it('a kernel that was never clustered gets the chain without a codebook, reported', () => {
    const model = twoDense(8, 8, 4);
    zeroHalf(model, 'dense1/kernel');
    const { model: pcqat, codes } = preserve(model);
    expect([...pcqat.chains.values()].map((chain) => chain.technique)).to.deep.equal(['pqat', 'qat']);
    expect(codes()).to.deep.equal(['dense1: not-clustered', 'dense2: no-zeros', 'dense2: not-clustered']);
  });

  it('4.4: more than 1024 values are no codebook, reported', () => {
    const model = convolution(64, (i) => (i % 1025) + 1); // 2304 weights
    const { model: cqat, codes } = preserve(model);
    expect(cqat.chains.get('conv/kernel')).to.deep.equal({ technique: 'qat', fakeQuant: { bits: 8, perChannel: true } });
    expect(codes()).to.deep.equal(['conv: no-zeros', 'conv: too-many-values']);
    const fits = preserve(convolution(64, (i) => (i % 1024) + 1)).model;
    expect(fits.chains.get('conv/kernel')?.technique).to.equal('cqat');
  });

  it('X7: a 1×1 convolution over one channel, too small to be clustered, is quantized without a codebook', () => {
    const g = new GraphBuilder('tiny');
    const source = createModel(g.build(g.conv2d(g.input([4, 4, 1]), { name: 'conv', filters: 12, kernelSize: 1 })), { seed: 2 });
    const { model, codes } = preserve(clustered(source, { numberOfClusters: 16 }));
    expect(model.chains.get('conv/kernel')?.technique).to.equal('qat');
    expect(codes()).to.include('conv: not-clustered');
    // The reference counts one value per channel there.
    expect(preserve(source, { codebook: 'reference' }).codes()).to.include('conv: too-few-values');
  });

  it('X9: a uniform kernel has no codebook, and does not fail', () => {
    for (const [value, technique] of [
      [0, 'pqat'],
      [2, 'qat'],
    ] as const) {
      const { model, codes } = preserve(convolution(3, () => value));
      expect(model.chains.get('conv/kernel')?.technique).to.equal(technique);
      expect(codes()).to.include('conv: too-few-values');
    }
  });

  it('X5: the default flag on an unpruned model gives CQAT with codebooks per channel', () => {
    const model = clustered(convolution(12), { numberOfClusters: 4, clusterPerChannel: true });
    const { model: cqat } = preserve(model);
    expect(cqat.chains.get('conv/kernel')).to.deep.equal({
      technique: 'cqat',
      codebook: { perChannel: true, aggregation: 'sum' },
      fakeQuant: { bits: 8, perChannel: true },
    });
    for (let channel = 0; channel < 12; channel++) {
      expect(distinct(channelOf(materializeWeight(cqat, 'conv/kernel'), 12, channel))).to.equal(4);
    }
  });

  it('X1: every layer with a kernel is known to all techniques, weightless layers pass, and what is no scheme is refused', () => {
    const layers = ['conv', 'up', 'dw', 'line', 'dwLine', 'logits'];
    const g = new GraphBuilder('all');
    let x = g.conv2d(g.input([6, 6, 3]), { name: 'conv', filters: 6, kernelSize: 3, activation: 'relu' });
    x = g.depthwiseConv2d(g.conv2dTranspose(x, { name: 'up', filters: 4, kernelSize: 2 }), { name: 'dw', kernelSize: 3 });
    x = g.conv1d(g.reshape(g.maxPool2d(x, { poolSize: 1 }), [9, 4]), { name: 'line', filters: 4, kernelSize: 3 });
    x = g.globalAveragePool1d(g.relu(g.depthwiseConv1d(x, { name: 'dwLine', kernelSize: 3 })));
    const sparse = createModel(g.build(g.softmax(g.dense(x, { name: 'logits', units: 4 }))), { seed: 3 });
    expect(new Set(sparse.graph.nodes.filter(isWeighted).map((node) => node.op)).size, 'every type with a kernel').to.equal(layers.length);
    for (const layer of layers) zeroHalf(sparse, `${layer}/kernel`);
    const pruned = pruneLowMagnitude(sparse, { layers, ...silent });
    const clustering = clusterWeights(sparse, { layers, numberOfClusters: 4, preserveSparsity: true, ...silent });
    for (const model of [pruned, clustering]) expect([...model.chains.keys()]).to.deep.equal(layers.map((layer) => `${layer}/kernel`));
    const source = stripClustering(clustering);
    for (const [scheme, technique] of [
      [new Default8BitQuantizeScheme(), 'qat'],
      [new Default8BitPrunePreserveQuantizeScheme(), 'pqat'],
      [new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false }), 'cqat'],
      [new Default8BitClusterPreserveQuantizeScheme(), 'pcqat'],
    ] as const) {
      const { chains, quantizers } = quantizeModel(source, { scheme, ...silent });
      expect([...chains].map(([name, chain]) => [name, chain.technique])).to.deep.equal(
        layers.map((layer) => [`${layer}/kernel`, technique]),
      );
      // Weightless layers, and where activations are quantized, are the same for every scheme.
      expect([...quantizers.keys()]).to.deep.equal([...quantizeModel(source).quantizers.keys()]);
    }
    for (const scheme of [{}, { planWeight: 'yes' }, Default8BitQuantizeScheme]) {
      expectCode(() => quantizeModel(source, { scheme: scheme as unknown as QuantizeScheme }), 'ERR_OPTION', /quantize scheme/);
    }
  });

  it('one scale for a tensor-wide codebook, on request per channel', () => {
    const model = clustered(convolution(4), { numberOfClusters: 4 });
    const scale = (options: ClusterPreserveOptions) => preserve(model, options).model.chains.get('conv/kernel')?.fakeQuant?.perChannel;
    expect(scale({})).to.equal(false);
    expect(scale({ weightScale: 'channel' })).to.equal(true);
    const perChannel = clustered(convolution(4), { numberOfClusters: 4, clusterPerChannel: true });
    expect(preserve(perChannel, { weightScale: 'tensor' }).model.chains.get('conv/kernel')?.fakeQuant?.perChannel).to.equal(false);
  });

  it('W11: a depthwise kernel that was clustered on request is preserved', () => {
    const model = clustered(smallCnn(), { numberOfClusters: 4, layers: ['dw'] });
    expect(preserve(model).model.chains.get('dw/kernel')?.technique).to.equal('cqat');
    expect(preserve(smallCnn()).model.chains.get('dw/kernel')?.technique).to.equal('qat');
  });

  it('a chain without a codebook forgets the record of one', () => {
    const model = clustered(convolution(4), { numberOfClusters: 4 });
    expect(quantizeModel(model).tensors.has('conv/kernel:clustered_as')).to.equal(false);
    expect(preserve(model).model.tensors.has('conv/kernel:clustered_as')).to.equal(true);
  });
});
