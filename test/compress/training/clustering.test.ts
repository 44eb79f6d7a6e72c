import { expect } from 'chai';
import { assertCertificate, certifyWeights } from '#lib/compress/certificate.js';
import { clusterWeights, type ClusterOptions } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { pruneOnce } from '#lib/compress/sparsity/once.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { evaluate, predict } from '#lib/evaluate/evaluate.js';
import { runInt8 } from '#lib/evaluate/int8.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import { adam, adamw } from '#lib/train/optimizers.js';
import { channelOf, distinct, smallCnn, twoDense, valuesOf } from '../../support/models.js';
import { fingerprint, imageNet, images, reload, rowsOf, sequenceNet, train, transposedNet, twoBranches } from '../../support/training.js';

const silent = { onNotice: () => undefined };
const kernels = (model: Model): string[] => [...model.chains.keys()];

describe('clustering: values', () => {
  const cases: [string, () => Model, ReturnType<typeof rowsOf>][] = [
    ['a chain of layers', () => twoDense(16, 8, 4), rowsOf([16])],
    ['branches that meet', () => twoBranches(), rowsOf([16])],
    ['convolutions of every kind', () => imageNet(), images],
  ];
  for (const [what, make, data] of cases) {
    it(`C11 (held differently): at most K values after training and stripping: ${what}; int8 instead of a float file`, async () => {
      const clustered = clusterWeights(make(), { numberOfClusters: 6, layers: () => true });
      await train(clustered, data);
      const stripped = stripClustering(clustered);
      for (const weight of kernels(clustered)) expect(distinct(valuesOf(stripped, weight)), weight).to.be.within(2, 6);
      const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false });
      const quantized = quantizeModel(stripped, { scheme, ...silent });
      await train(quantized, data);
      const logits = await runInt8(await convertToInt8(quantized), data.x.slice(0, data.x.length / data.size));
      expect(logits).to.have.length(4);
    });
  }

  it('C11, W18: decay of the kernels moves no weight off its cluster', async () => {
    const clustered = clusterWeights(smallCnn(), { numberOfClusters: 6, ...silent });
    await train(clustered, images, { epochs: 3, optimizer: adamw({ learningRate: 0.01, weightDecay: 0.3 }) });
    const plain = clusterWeights(smallCnn(), { numberOfClusters: 6, ...silent });
    await train(plain, images, { epochs: 3, optimizer: adam({ learningRate: 0.01 }) });
    for (const weight of kernels(clustered)) {
      const used = valuesOf(stripClustering(clustered), weight);
      const codebook = new Set(valuesOf(clustered, `${weight}:centroids`));
      expect(
        [...used].every((value) => codebook.has(value)),
        weight,
      ).to.equal(true);
      expect(valuesOf(clustered, weight), 'decay does act on the weights').to.not.deep.equal(valuesOf(plain, weight));
    }
  });

  it('C12: clustered and stripped without training: at most K values, for every initialiser and kept zeros', () => {
    const model = smallCnn();
    for (const centroidInit of ['linear', 'random', 'density-based', 'kmeans++'] as const) {
      for (const numberOfClusters of [2, 6, 10, 14]) {
        const stripped = stripClustering(clusterWeights(model, { numberOfClusters, centroidInit, ...silent }));
        for (const weight of ['conv1/kernel', 'conv2/kernel'])
          expect(distinct(valuesOf(stripped, weight))).to.be.within(1, numberOfClusters);
      }
    }
  });

  it('C13: K = 6, five units: rows that are zero are exactly zero after 100 steps; values do not grow in number', async () => {
    const model = twoDense(16, 5, 4);
    valuesOf(model, 'dense1/kernel').fill(0, 0, 10);
    const clustered = clusterWeights(model, { numberOfClusters: 6, preserveSparsity: true, layers: ['dense1'] });
    const before = distinct(materializeWeight(clustered, 'dense1/kernel'));
    await train(clustered, rowsOf([16]), { epochs: 25 });
    const kernel = valuesOf(stripClustering(clustered), 'dense1/kernel');
    expect([...kernel.slice(0, 10)].every((value) => Object.is(value, 0))).to.equal(true);
    expect(distinct(kernel)).to.be.at.most(Math.min(before, 6));
  });

  it('C14 (held differently): kernels of sequences and a transposed convolution end with at most eight values; it is 2-D here', async () => {
    for (const [model, data] of [
      [sequenceNet(), rowsOf([16, 3])],
      [transposedNet(), rowsOf([4, 4, 2])],
    ] as const) {
      // prettier-ignore
      const clustered = clusterWeights(model, { numberOfClusters: 8, layers: () => true });
      await train(clustered, data, { epochs: 2 });
      const stripped = stripClustering(clustered);
      for (const weight of kernels(clustered)) expect(distinct(valuesOf(stripped, weight)), weight).to.be.within(2, 8);
      expect(await predict(stripped, data.x)).to.deep.equal(await predict(clustered, data.x));
    }
  });

  it('C16: weights, centroids and bias all change with every step', async () => {
    const clustered = clusterWeights(smallCnn(), { numberOfClusters: 6, layers: ['conv2'] });
    const names = ['conv2/kernel', 'conv2/kernel:centroids', 'conv2/bias'];
    const values = (): Float32Array[] => names.map((name) => valuesOf(clustered, name).slice());
    let last = values();
    let steps = 0;
    const onSummary = (): void => {
      const now = values();
      names.forEach((name, i) => expect(now[i], `${name} after step ${steps + 1}`).to.not.deep.equal(last[i]));
      last = now;
      steps++;
    };
    await train(clustered, images, { epochs: 2, summaryFrequency: 1, callbacks: { onSummary } });
    expect(steps).to.equal(8);
  });

  it('C18: 12 filters of 3×3, K = 4 per channel, two epochs: exactly 48 values, four in each channel', async () => {
    const g = new GraphBuilder('filters');
    const x = g.conv2d(g.input([8, 8, 3]), { name: 'conv', filters: 12, kernelSize: 3, activation: 'relu' });
    const model = createModel(g.build(g.dense(g.globalAveragePool2d(x), { name: 'logits', units: 4 })), { seed: 3 });
    const clustered = clusterWeights(model, { numberOfClusters: 4, clusterPerChannel: true, layers: ['conv'] });
    await train(clustered, images, { epochs: 2 });
    const kernel = valuesOf(stripClustering(clustered), 'conv/kernel');
    expect(distinct(kernel)).to.equal(48);
    for (let channel = 0; channel < 12; channel++) expect(distinct(channelOf(kernel, 12, channel))).to.equal(4);
  });

  it('C19: weights are assigned anew in every step: a centroid that is moved to them takes them all', async () => {
    const clustered = clusterWeights(twoDense(16, 8, 4), { numberOfClusters: 4, layers: ['dense1'] });
    valuesOf(clustered, 'dense1/kernel:centroids').set([100, 0.25, 200, 300]);
    await train(clustered, rowsOf([16], 16));
    const indices = clustered.tensors.get('dense1/kernel:indices')?.data;
    expect(indices).to.deep.equal(new Int32Array(128).fill(1));
  });

  it('C20, C6: saving and loading reproduces every variable, trained or not, and training goes on the same', async () => {
    for (const clusterPerChannel of [false, true]) {
      const model = stripPruning(pruneOnce(smallCnn(), { targetSparsity: 0.5, ...silent }));
      const clustered = clusterWeights(model, { numberOfClusters: 6, preserveSparsity: true, clusterPerChannel, ...silent });
      await train(clustered, images);
      const loaded = reload(clustered);
      expect(loaded.tensors).to.deep.equal(clustered.tensors);
      expect(loaded.chains).to.deep.equal(clustered.chains);
      expect([...loaded.tensors.keys()].filter((name) => name.startsWith('conv2/kernel'))).to.deep.equal([
        'conv2/kernel',
        'conv2/kernel:centroids',
        'conv2/kernel:indices',
        'conv2/kernel:mask',
        'conv2/kernel:zero_index',
      ]);
      await train(clustered, images);
      await train(loaded, images);
      expect(fingerprint(loaded)).to.equal(fingerprint(clustered));
    }
  });

  it('C52 (held differently): 1, 2 and 4 threads instead of replicas: at most K values and the same bytes, indices included', async () => {
    const prints = new Set<string>();
    for (const threads of [1, 2, 4]) {
      const clustered = clusterWeights(smallCnn(), { numberOfClusters: 6, ...silent });
      const before = clustered.tensors.get('conv2/kernel:indices')?.data.slice();
      await train(clustered, images, { epochs: 2, threads });
      expect(clustered.tensors.get('conv2/kernel:indices')?.data).to.not.deep.equal(before);
      for (const weight of kernels(clustered)) expect(distinct(valuesOf(stripClustering(clustered), weight))).to.be.at.most(6);
      prints.add(fingerprint(clustered));
    }
    expect(prints.size).to.equal(1);
  });
});

describe('clustering: a trained network', () => {
  let trained: Model;
  before(async () => {
    trained = smallCnn();
    // Moving statistics that follow within a few epochs, or inference lags behind.
    const graph = {
      ...trained.graph,
      nodes: trained.graph.nodes.map((node) => (node.op === 'batchNorm' ? { ...node, momentum: 0.7 } : node)),
    };
    trained = { ...trained, graph };
    await train(trained, images, { epochs: 60 });
    expect((await evaluate(trained, images)).accuracy).to.be.above(0.95);
  });

  for (const centroidInit of ['density-based', 'kmeans++'] as const) {
    for (const preserveSparsity of [false, true]) {
      for (const clusterPerChannel of [false, true]) {
        const options: ClusterOptions = { numberOfClusters: 8, centroidInit, preserveSparsity, clusterPerChannel, ...silent };
        it(`C51 (held differently): ${centroidInit}, K = 8${preserveSparsity ? ', zeros kept' : ''}${clusterPerChannel ? ', per channel' : ''}: accuracy above 0.8, at most 8 values per codebook, biases free`, async () => {
          const source = preserveSparsity ? stripPruning(pruneOnce(trained, { targetSparsity: 0.3, ...silent })) : cloneModel(trained);
          const clustered = clusterWeights(source, options);
          await train(clustered, images, { epochs: 8, optimizer: adam({ learningRate: 1e-3 }) });
          assertCertificate(certifyWeights(clustered));
          const stripped = stripClustering(clustered);
          expect((await evaluate(stripped, images)).accuracy).to.be.above(0.8);
          expect(await predict(stripped, images.x)).to.deep.equal(await predict(clustered, images.x));
          for (const [layer, channels] of [
            ['conv1', 6],
            ['conv2', 8],
            ['logits', 0],
          ] as const) {
            // prettier-ignore
            const kernel = valuesOf(stripped, `${layer}/kernel`);
            const perChannel = clusterPerChannel && channels > 0;
            for (let channel = 0; channel < (perChannel ? channels : 1); channel++) {
              expect(distinct(perChannel ? channelOf(kernel, channels, channel) : kernel), layer).to.be.within(2, 8);
            }
          }
          for (const bias of ['conv2/bias', 'logits/bias']) {
            expect(distinct(valuesOf(stripped, bias)), bias).to.equal(distinct(valuesOf(trained, bias)));
          }
        });
      }
    }
  }
});
