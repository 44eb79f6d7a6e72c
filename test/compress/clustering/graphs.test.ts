import { expect } from 'chai';
import type { CentroidInit } from '#lib/compress/clustering/centroids.js';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { expectCode } from '../../support/errors.js';
import { collect, distinct, smallCnn, twoDense, valuesOf, zeroHalf } from '../../support/models.js';
import { imageNet, reload, sequenceNet, transposedNet, twoBranches } from '../../support/training.js';

const silent = { onNotice: () => undefined };
const chainsOf = (model: Model): string[] => [...model.chains.keys()];
type Build = (g: GraphBuilder) => ReturnType<GraphBuilder['input']>;
function modelOf(build: Build): Model {
  const g = new GraphBuilder('net');
  return createModel(g.build(build(g)), { seed: 2 });
}

describe('which layers clustering takes', () => {
  it('C1: dense is clustered; dropout, batch norm and depthwise have nothing to cluster; nodes stay the same objects', () => {
    const model = imageNet();
    const clustered = clusterWeights(model, { numberOfClusters: 4, ...silent });
    expect(clustered.graph).to.equal(model.graph);
    expect(chainsOf(clustered)).to.deep.equal(['conv2d/kernel', 'separable2d/kernel', 'logits/kernel']);
    for (const layer of ['bn', 'relu', 'pool']) {
      expectCode(() => clusterWeights(model, { numberOfClusters: 4, layers: [layer] }), 'ERR_UNKNOWN_LAYER', /Candidates are conv2d/);
    }
  });

  const shapes: [string, Build, number[]][] = [
    ['dense', (g) => g.dense(g.input([1]), { name: 'layer', units: 10 }), [1, 10]],
    ['conv1d', (g) => g.conv1d(g.input([10, 1]), { name: 'layer', filters: 3, kernelSize: 5 }), [5, 1, 3]],
    ['conv2d', (g) => g.conv2d(g.input([8, 8, 1]), { name: 'layer', filters: 3, kernelSize: [4, 5] }), [4, 5, 1, 3]],
    ['conv2dTranspose', (g) => g.conv2dTranspose(g.input([8, 8, 1]), { name: 'layer', filters: 3, kernelSize: [4, 5] }), [4, 5, 3, 1]],
  ];
  for (const [op, build, shape] of shapes) {
    it(`C2: the clusterable weight of ${op} is its kernel [${shape.join(', ')}]`, () => {
      const clustered = clusterWeights(modelOf(build), { numberOfClusters: 4 });
      expect(chainsOf(clustered)).to.deep.equal(['layer/kernel']);
      expect(clustered.tensors.get('layer/kernel:indices')?.shape).to.deep.equal(shape);
      expect(clustered.tensors.get('layer/kernel:centroids')?.shape).to.deep.equal([4]);
    });
  }

  it('C7 (held differently): single layers of a chain and of branches, with and without kept zeros; a layer is never clustered twice', () => {
    for (const preserveSparsity of [false, true]) {
      for (const [model, layer] of [
        [twoDense(8, 8, 4), 'dense2'],
        [twoBranches(), 'right'],
      ] as const) {
        // prettier-ignore
        zeroHalf(model, `${layer}/kernel`);
        const options = { numberOfClusters: 4, preserveSparsity, ...silent };
        const one = clusterWeights(model, { ...options, layers: [layer] });
        expect(chainsOf(one)).to.deep.equal([`${layer}/kernel`]);
        expect(one.chains.get(`${layer}/kernel`)?.mask !== undefined).to.equal(preserveSparsity);
        const both = clusterWeights(one, options);
        expect(both.chains.size).to.equal(2);
        expect(both.chains.get(`${layer}/kernel`)).to.equal(one.chains.get(`${layer}/kernel`));
      }
    }
    // A list keeps graph order; the sum of two branches has no weights, so it is no third chain.
    expect(chainsOf(clusterWeights(twoBranches(), { numberOfClusters: 4, layers: ['right', 'left'] }))).to.deep.equal([
      'left/kernel',
      'right/kernel',
    ]);
  });

  it('C9 (held differently): stripping leaves the graph, a model that saves and new arrays; a network of batch norm only is as it was', () => {
    for (const model of [smallCnn(), twoBranches()]) {
      const clustered = clusterWeights(model, { numberOfClusters: 4, ...silent });
      const stripped = stripClustering(clustered);
      expect(stripped.chains.size).to.equal(0);
      expect(stripped.graph).to.deep.equal(model.graph);
      expect(reload(stripped).tensors).to.deep.equal(stripped.tensors);
      for (const name of model.tensors.keys()) {
        expect(stripped.tensors.get(name)?.shape, name).to.deep.equal(model.tensors.get(name)?.shape);
        expect(stripped.tensors.get(name)?.data, name).to.not.equal(clustered.tensors.get(name)?.data);
      }
    }
    const norm = modelOf((g) => g.batchNorm(g.input([4, 4, 3]), { name: 'bn' }));
    const stripped = stripClustering(clusterWeights(norm, { numberOfClusters: 4 }));
    expect(stripped.tensors).to.deep.equal(norm.tensors);
  });

  it('C14: kernels of sequences have at most eight values, per layer', () => {
    const stripped = stripClustering(clusterWeights(sequenceNet(), { numberOfClusters: 8, layers: () => true }));
    for (const name of ['conv1d', 'separable1d_depthwise', 'separable1d', 'logits']) {
      expect(distinct(valuesOf(stripped, `${name}/kernel`)), name).to.equal(8);
    }
  });

  it('C48: an initialiser that does not exist is refused; kernels have one layout, so there is no data format to get wrong', () => {
    const centroidInit = 'k-medoids' as CentroidInit;
    expectCode(
      () => clusterWeights(twoDense(8, 8, 4), { numberOfClusters: 4, centroidInit }),
      'ERR_OPTION',
      /k-medoids.*linear, random, density-based, kmeans\+\+/,
    );
    expectCode(() => clusterWeights(twoDense(8, 8, 4), { numberOfClusters: 4, zeros: 'some' as 'given' }), 'ERR_OPTION', /zeros/);
  });

  it('W10: a transposed convolution has one codebook, also when asked per channel, and CQAT takes it', () => {
    const clustered = clusterWeights(transposedNet(), { numberOfClusters: 4, clusterPerChannel: true });
    expect(clustered.chains.get('transposed/kernel')?.codebook?.perChannel).to.equal(false);
    expect(clustered.tensors.get('transposed/kernel:centroids')?.shape).to.deep.equal([4]);
    const stripped = stripClustering(clustered);
    expect(distinct(valuesOf(stripped, 'transposed/kernel'))).to.equal(4);
    const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false });
    const quantized = quantizeModel(stripped, { scheme, ...silent });
    expect(quantized.chains.get('transposed/kernel')?.technique).to.equal('cqat');
  });

  it('W11: a depthwise kernel is clustered when asked, and said to be left alone when not', () => {
    const { codes, onNotice } = collect();
    clusterWeights(imageNet(), { numberOfClusters: 4, onNotice });
    expect(codes()).to.deep.equal(['depthwise2d: depthwise-not-selected', 'separable2d_depthwise: depthwise-not-selected']);
    const stripped = stripClustering(clusterWeights(imageNet(), { numberOfClusters: 4, layers: ['depthwise2d'] }));
    expect(distinct(valuesOf(stripped, 'depthwise2d/kernel'))).to.equal(4);
  });

  it('W8: every convolution without a bias is clustered per channel, in front of a batch norm and alone', () => {
    const clustered = clusterWeights(imageNet(), { numberOfClusters: 4, clusterPerChannel: true, ...silent });
    expect(clustered.tensors.get('conv2d/kernel:centroids')?.shape).to.deep.equal([8, 4]);
    expect(clustered.chains.get('conv2d/kernel')?.codebook?.perChannel).to.equal(true);
  });
});
