import { expect } from 'chai';
import fc from 'fast-check';
import { certifyWeights } from '#lib/compress/certificate.js';
import type { CentroidInit } from '#lib/compress/clustering/centroids.js';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { expectCode } from '../../support/errors.js';
import { channelOf, collect, distinct, smallCnn, twoDense, valuesOf, zeroHalf } from '../../support/models.js';

const silent = { onNotice: () => undefined };

function convolution(inputs: number, filters: number, useBias: boolean, kernelSize = 3) {
  const g = new GraphBuilder('conv');
  return createModel(g.build(g.conv2d(g.input([8, 8, inputs]), { name: 'conv', filters, kernelSize, useBias })), { seed: 3 });
}

describe('clusterWeights', () => {
  it('C1: clusters conv2d and dense, not depthwise unless asked', () => {
    const { codes, onNotice } = collect();
    const clustered = clusterWeights(smallCnn(), { numberOfClusters: 4, onNotice });
    expect([...clustered.chains.keys()]).to.deep.equal(['conv1/kernel', 'conv2/kernel', 'logits/kernel']);
    expect(codes()).to.deep.equal(['dw: depthwise-not-selected']);
    const depthwise = clusterWeights(smallCnn(), { numberOfClusters: 4, layers: ['dw'] });
    expect(distinct(valuesOf(stripClustering(depthwise), 'dw/kernel'))).to.be.at.most(4);
  });

  it('C5: rejects bad numbers of clusters, initialisers and seeds', () => {
    const model = twoDense(8, 8, 4);
    for (const numberOfClusters of [0, 1, -32, 13.4, NaN, '13' as unknown as number]) {
      expectCode(() => clusterWeights(model, { numberOfClusters }), 'ERR_OPTION', /numberOfClusters/);
    }
    for (const numberOfClusters of [0, 2, -32]) {
      expectCode(() => clusterWeights(model, { numberOfClusters, preserveSparsity: true }), 'ERR_OPTION', /at least 3/);
    }
    expectCode(() => clusterWeights(model, { numberOfClusters: 4, centroidInit: 'best' as CentroidInit }), 'ERR_OPTION', /linear, random/);
    expectCode(() => clusterWeights(model, { numberOfClusters: 4, gradientAggregation: 'max' as 'sum' }), 'ERR_OPTION', /average/);
    expectCode(() => clusterWeights(model, { numberOfClusters: 4, seed: -1 }), 'ERR_OPTION', /seed/);
    expectCode(() => clusterWeights(model, { numberOfClusters: 4, layers: ['x'] }), 'ERR_UNKNOWN_LAYER', /dense1, dense2/);
  });

  it('C10: the default initialiser is k-means++', () => {
    const model = twoDense(8, 8, 4);
    const byDefault = clusterWeights(model, { numberOfClusters: 4 });
    const named = clusterWeights(model, { numberOfClusters: 4, centroidInit: 'kmeans++' });
    const linear = clusterWeights(model, { numberOfClusters: 4, centroidInit: 'linear' });
    expect(byDefault.tensors).to.deep.equal(named.tensors);
    expect(byDefault.tensors).to.not.deep.equal(linear.tensors);
  });

  it('C12: wrap and strip leaves at most K values, for every initialiser', () => {
    const model = twoDense(20, 16, 4);
    for (const centroidInit of ['linear', 'random', 'density-based', 'kmeans++'] as const) {
      for (const numberOfClusters of [2, 6, 10, 14]) {
        const stripped = stripClustering(clusterWeights(model, { numberOfClusters, centroidInit }));
        for (const name of ['dense1/kernel', 'dense2/kernel']) expect(distinct(valuesOf(stripped, name))).to.be.within(1, numberOfClusters);
      }
    }
  });

  it('W29: random centroids follow the seed', () => {
    const centroids = (seed: number) =>
      valuesOf(clusterWeights(twoDense(8, 8, 4), { numberOfClusters: 4, centroidInit: 'random', seed }), 'dense1/kernel:centroids');
    expect(centroids(1)).to.deep.equal(centroids(1));
    expect(centroids(1)).to.not.deep.equal(centroids(2));
  });

  it('C15: a kernel with too few weights is left alone, with a notice', () => {
    const cases = [
      [false, 16],
      [true, 8],
      [true, 12],
      [false, 12],
    ] as const;
    for (const [clusterPerChannel, numberOfClusters] of cases) {
      const { codes, onNotice } = collect();
      const clustered = clusterWeights(convolution(1, 12, true, 1), { numberOfClusters, clusterPerChannel, onNotice });
      expect(clustered.chains.size).to.equal(0);
      expect(codes()).to.deep.equal(['conv: too-few-weights']);
    }
  });

  it('C18, W8: per channel, with and without a bias', () => {
    for (const useBias of [true, false]) {
      const clustered = clusterWeights(convolution(4, 12, useBias), { numberOfClusters: 4, clusterPerChannel: true });
      expect(clustered.tensors.get('conv/kernel:centroids')?.shape).to.deep.equal([12, 4]);
      const kernel = valuesOf(stripClustering(clustered), 'conv/kernel');
      expect(distinct(kernel)).to.equal(48);
      for (let channel = 0; channel < 12; channel++) expect(distinct(channelOf(kernel, 12, channel))).to.equal(4);
    }
  });

  it('clusterPerChannel keeps one codebook for a dense layer', () => {
    const clustered = clusterWeights(twoDense(8, 8, 4), { numberOfClusters: 4, clusterPerChannel: true });
    expect(clustered.tensors.get('dense1/kernel:centroids')?.shape).to.deep.equal([4]);
    expect(clustered.chains.get('dense1/kernel')?.codebook?.perChannel).to.equal(false);
  });

  it('C19: weights are assigned anew to moved centroids', () => {
    const clustered = clusterWeights(twoDense(8, 8, 4), { numberOfClusters: 4 });
    const centroids = valuesOf(clustered, 'dense1/kernel:centroids');
    centroids.fill(100);
    centroids[2] = 0.25;
    expect(new Set(materializeWeight(clustered, 'dense1/kernel'))).to.deep.equal(new Set([0.25]));
  });

  it('preserveSparsity: a zero centroid, and zeros that stay whatever training does to them', () => {
    const model = twoDense(16, 16, 4);
    zeroHalf(model, 'dense1/kernel');
    const clustered = clusterWeights(model, { numberOfClusters: 6, preserveSparsity: true });
    const centroids = valuesOf(clustered, 'dense1/kernel:centroids');
    const zeroIndex = clustered.tensors.get('dense1/kernel:zero_index')?.data[0] ?? -1;
    expect(centroids[zeroIndex]).to.equal(0);
    const mask = clustered.tensors.get('dense1/kernel:mask')?.data ?? [];
    valuesOf(model, 'dense1/kernel').forEach((value, i) => value === 0 && expect(mask[i]).to.equal(0));
    // As a step would: the zero centroid drifts, masked weights move.
    centroids[zeroIndex] = 0.02;
    valuesOf(clustered, 'dense1/kernel').forEach((_, i, data) => mask[i] === 0 && (data[i] = 3));
    const used = materializeWeight(clustered, 'dense1/kernel');
    mask.forEach((keep, i) => keep === 0 && expect(Object.is(used[i], 0)).to.equal(true));
    expect(certifyWeights(clustered).every((layer) => layer.zerosKept && layer.clustersKept)).to.equal(true);
  });

  it('never has more than K values or loses a zero, whatever the weights', () => {
    const g = new GraphBuilder('net');
    const model = createModel(g.build(g.dense(g.input([12]), { name: 'dense', units: 2 })));
    const weights = fc.array(fc.oneof(fc.constant(0), fc.float({ noNaN: true, min: -4, max: 4 })), { minLength: 24, maxLength: 24 });
    const inits = fc.constantFrom<CentroidInit>('linear', 'random', 'density-based', 'kmeans++');
    fc.assert(
      fc.property(
        weights,
        inits,
        fc.integer({ min: 3, max: 10 }),
        fc.boolean(),
        (values, centroidInit, numberOfClusters, preserveSparsity) => {
          valuesOf(model, 'dense/kernel').set(values);
          const used = materializeWeight(clusterWeights(model, { numberOfClusters, centroidInit, preserveSparsity }), 'dense/kernel');
          expect(distinct(used)).to.be.at.most(numberOfClusters);
          if (preserveSparsity) values.forEach((value, i) => value === 0 && expect(used[i]).to.equal(0));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('W30: fewer weights of one sign than its share of clusters', () => {
    const g = new GraphBuilder('net');
    const model = createModel(g.build(g.dense(g.input([10]), { name: 'dense', units: 1 })));
    const cases: [number[], number[]][] = [
      [
        [-1, 2, 3, 0, 0, 0, 0, 0, 0, 0],
        [-1, 0, 2, 3],
      ],
      [
        [-1, -2, 0, 0, 0, 0, 0, 0, 0, 0],
        [-2, -1, 0],
      ],
    ];
    for (const [weights, values] of cases) {
      valuesOf(model, 'dense/kernel').set(weights);
      const clustered = clusterWeights(model, { numberOfClusters: 8, preserveSparsity: true });
      expect([...new Set(materializeWeight(clustered, 'dense/kernel'))].sort((a, b) => a - b)).to.deep.equal(values);
    }
  });

  it('W30: per channel with an all-zero channel', () => {
    const model = convolution(4, 3, false);
    const kernel = valuesOf(model, 'conv/kernel');
    kernel.forEach((_, i) => i % 3 === 1 && (kernel[i] = 0));
    const clustered = clusterWeights(model, { numberOfClusters: 4, preserveSparsity: true, clusterPerChannel: true });
    expect(clustered.tensors.get('conv/kernel:centroids')?.shape).to.deep.equal([3, 4]);
    const used = materializeWeight(clustered, 'conv/kernel');
    expect(channelOf(used, 3, 1)).to.deep.equal(new Float32Array(36));
    expect(distinct(channelOf(used, 3, 0))).to.be.within(2, 4);
    expect([...valuesOf(clustered, 'conv/kernel:centroids').slice(4, 8)]).to.deep.equal([0, 0, 0, 0]);
  });

  it('a clustered layer keeps its codebook; pruned weights must be stripped first', () => {
    const first = clusterWeights(smallCnn(), { numberOfClusters: 4, layers: ['conv1'] });
    const { codes, onNotice } = collect();
    const second = clusterWeights(first, { numberOfClusters: 8, layers: ['conv1', 'conv2'], onNotice });
    expect(codes()).to.deep.equal(['conv1: already-treated']);
    expect(second.tensors.get('conv1/kernel:centroids')).to.deep.equal(first.tensors.get('conv1/kernel:centroids'));
    expectCode(
      () => clusterWeights(pruneLowMagnitude(smallCnn(), silent), { numberOfClusters: 4, ...silent }),
      'ERR_UNSUPPORTED',
      /stripPruning/,
    );
  });

  it('refuses NaN weights and leaves the source untouched', () => {
    const model = twoDense(8, 8, 4);
    const before = valuesOf(model, 'dense1/kernel').slice();
    clusterWeights(model, { numberOfClusters: 4 });
    expect(valuesOf(model, 'dense1/kernel')).to.deep.equal(before);
    expect(model.chains.size).to.equal(0);
    valuesOf(model, 'dense2/kernel')[0] = NaN;
    expectCode(() => clusterWeights(model, { numberOfClusters: 4 }), 'ERR_NON_FINITE', /dense2/);
  });

  it('warns of the process only about what was asked for and not done', async () => {
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    clusterWeights(convolution(1, 2, true, 1), { numberOfClusters: 4 });
    const warning = await warned;
    expect(warning.name).to.equal('PcqatWarning');
    expect(warning.message).to.match(/conv: .*too few/);
  });
});

describe('stripClustering', () => {
  it('leaves C[I], drops the state and remembers the codebook', () => {
    const clustered = clusterWeights(smallCnn(), { numberOfClusters: 4, clusterPerChannel: true, ...silent });
    const used = materializeWeight(clustered, 'conv1/kernel');
    const stripped = stripClustering(clustered);
    expect(valuesOf(stripped, 'conv1/kernel')).to.deep.equal(used);
    expect(stripped.chains.size).to.equal(0);
    expect([...stripped.tensors.keys()].filter((name) => name.includes(':'))).to.deep.equal([
      'conv1/kernel:clustered_as',
      'conv2/kernel:clustered_as',
      'logits/kernel:clustered_as',
    ]);
    expect(stripped.tensors.get('conv1/kernel:clustered_as')?.data).to.deep.equal(Int32Array.of(4, 1));
    expect(stripped.tensors.get('logits/kernel:clustered_as')?.data).to.deep.equal(Int32Array.of(4, 0));
  });
});
