import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import {
  adam,
  clusterWeights,
  constantSparsity,
  createModel,
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  fit,
  GraphBuilder,
  materializeWeight,
  type Model,
  normalizeBatchNormSigns,
  predict,
  pruneLowMagnitude,
  quantizeAnnotateModel,
  quantizeApply,
  quantizeModel,
  sparsityOf,
  stripClustering,
  stripPruning,
} from '#lib/index.js';
import { outputChannelOf, weightedNodes } from '#lib/compress/registry.js';
import { expectCode } from '../support/errors.js';
import { channelOf, collect, distinct, valuesOf } from '../support/models.js';
import { uniform } from '../native/support.js';
import { toyData } from '../train/toy.js';

const kernels = ['c1/kernel', 'up/kernel'];
const options = { train: toyData(64), batchSize: 16, optimizer: adam({ learningRate: 0.01 }) } as const;
const onNotice = (): void => undefined;

/** conv1d → BN → ReLU, depthwise over the sequence, transposed convolution → BN → ReLU, dense. */
function net(seed = 1): Model {
  const g = new GraphBuilder('net');
  let x = g.conv1d(g.reshape(g.input([6, 6, 1]), [36, 1]), { name: 'c1', filters: 8, kernelSize: 5, padding: 'same', useBias: false });
  x = g.relu(g.batchNorm(x, { name: 'c1_bn', momentum: 0.8 }));
  x = g.depthwiseConv1d(x, { name: 'dw', kernelSize: 3, padding: 'same', activation: 'relu' });
  x = g.maxPool2d(g.reshape(x, [6, 6, 8]));
  x = g.conv2dTranspose(x, { name: 'up', filters: 6, kernelSize: 3, strides: 2, padding: 'same' });
  x = g.relu(g.batchNorm(x, { name: 'up_bn', momentum: 0.8 }));
  return createModel(g.build(g.dense(g.flatten(x), { name: 'logits', units: 3 })), { seed });
}

async function trained(model: Model, epochs = 2): Promise<Model> {
  const { epochs: records } = await fit(model, { ...options, epochs });
  expect(records.at(-1)!.accuracy).to.be.greaterThan(0.8);
  return model;
}

const zerosOf = (model: Model): number[] => kernels.map((kernel) => sparsityOf(materializeWeight(model, kernel)));
const valuesUsed = (model: Model, kernel: string): number => distinct(materializeWeight(model, kernel));

describe('Compression of one-dimensional and transposed convolutions', () => {
  let float: Model, sparse: Model, clustered: Model;

  before(async () => {
    float = await trained(net(), 4);
    const schedule = constantSparsity({ targetSparsity: 0.5, beginStep: 0, frequency: 1 });
    sparse = stripPruning(await trained(pruneLowMagnitude(float, { schedule, onNotice })));
    clustered = await trained(clusterWeights(sparse, { numberOfClusters: 6, preserveSparsity: true, onNotice }));
  });

  it('pruning zeroes half of each kernel, through fit', () => {
    for (const sparsity of zerosOf(sparse)) expect(sparsity).to.equal(0.5);
  });

  it('clustering keeps the zeros and at most K values, through fit', () => {
    zerosOf(clustered).forEach((sparsity) => expect(sparsity).to.be.at.least(0.5));
    for (const kernel of kernels) expect(valuesUsed(clustered, kernel), kernel).to.be.within(2, 6);
  });

  it('QAT trains both; the transposed kernel has one range, the 1-D kernel one per filter (3.2, W10)', async () => {
    const qat = await trained(quantizeModel(float));
    expect(kernels.map((kernel) => qat.chains.get(kernel)?.fakeQuant?.perChannel)).to.deep.equal([true, false]);
    expect(kernels.map((kernel) => qat.tensors.get(`${kernel}:max`)?.shape)).to.deep.equal([[8], [1]]);
    expect(qat.chains.get('dw/kernel')?.fakeQuant?.perChannel).to.equal(true);
  });

  it('PQAT keeps the zeros, through fit', async () => {
    const scheme = new Default8BitPrunePreserveQuantizeScheme();
    const pqat = await trained(quantizeApply(quantizeAnnotateModel(sparse), { scheme, onNotice }));
    for (const kernel of kernels) {
      expect(pqat.chains.get(kernel)?.technique).to.equal('pqat');
      materializeWeight(sparse, kernel).forEach((w, i) => w === 0 && expect(materializeWeight(pqat, kernel)[i]).to.equal(0));
    }
  });

  it('PCQAT keeps zeros and values, through fit', async () => {
    const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true });
    const start = stripClustering(clustered);
    const pcqat = await trained(quantizeApply(quantizeAnnotateModel(start), { scheme, onNotice }));
    for (const kernel of kernels) {
      expect(pcqat.chains.get(kernel)?.technique).to.equal('pcqat');
      expect(valuesUsed(pcqat, kernel), kernel).to.be.within(2, 6);
      const used = materializeWeight(pcqat, kernel);
      valuesOf(start, kernel).forEach((w, i) => w === 0 && expect(used[i]).to.equal(0));
    }
    expect(valuesOf(pcqat, 'up/kernel')).not.to.deep.equal(valuesOf(start, 'up/kernel'));
  });

  it('CQAT keeps values, through fit', async () => {
    const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false });
    const cqat = await trained(quantizeApply(quantizeAnnotateModel(stripClustering(clustered)), { scheme, onNotice }));
    for (const kernel of kernels) expect(valuesUsed(cqat, kernel), kernel).to.be.within(2, 6);
  });

  it('C14: a Conv1D clustered to 8 has at most 8 values, end to end', async () => {
    const model = stripClustering(await trained(clusterWeights(float, { numberOfClusters: 8, layers: ['c1'] })));
    expect(distinct(valuesOf(model, 'c1/kernel'))).to.be.within(2, 8);
    const qat = quantizeModel(model, { scheme: new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false }), onNotice });
    expect(valuesUsed(await trained(qat), 'c1/kernel')).to.be.within(2, 8);
  });

  it('C2: masks, codebooks and indices have the shapes of the kernels', () => {
    expect(kernels.map((kernel) => clustered.tensors.get(kernel)?.shape)).to.deep.equal([
      [5, 1, 8],
      [3, 3, 6, 8],
    ]);
    for (const kernel of kernels) {
      for (const state of ['mask', 'indices']) {
        expect(clustered.tensors.get(`${kernel}:${state}`)?.shape).to.deep.equal(clustered.tensors.get(kernel)?.shape);
      }
    }
  });

  it('W10: clusterPerChannel gives a transposed convolution one codebook, as a dense layer', async () => {
    const model = clusterWeights(net(), { numberOfClusters: 4, clusterPerChannel: true, onNotice });
    expect(model.tensors.get('c1/kernel:centroids')?.shape).to.deep.equal([8, 4]);
    expect(model.tensors.get('up/kernel:centroids')?.shape).to.deep.equal([4]);
    const stripped = stripClustering(await trained(model));
    for (let c = 0; c < 8; c++) expect(distinct(channelOf(valuesOf(stripped, 'c1/kernel'), 8, c))).to.be.at.most(4);
    expect(distinct(valuesOf(stripped, 'up/kernel'))).to.be.at.most(4);
    const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false });
    const cqat = await trained(quantizeModel(stripped, { scheme, onNotice }));
    expect(cqat.chains.get('up/kernel')?.technique).to.equal('cqat');
    expect(valuesUsed(cqat, 'up/kernel')).to.be.at.most(4);
  });

  it('C1, P26: a depthwise kernel is accepted, and left alone unless it is named', () => {
    const { codes, onNotice: notice } = collect();
    const pruned = pruneLowMagnitude(net(), { onNotice: notice });
    expect([...pruned.chains.keys()]).to.deep.equal(['c1/kernel', 'up/kernel', 'logits/kernel']);
    expect(codes()).to.deep.equal(['dw: depthwise-not-selected']);
    expect([...pruneLowMagnitude(net(), { layers: ['dw'] }).chains.keys()]).to.deep.equal(['dw/kernel']);
  });

  it('1.5: m-by-n refuses kernels of rank 3 by name, before training', () => {
    expectCode(() => pruneLowMagnitude(net(), { mByN: [2, 4], layers: ['c1'] }), 'ERR_SHAPE', /rank 2 or 4.*layer 'c1'/s);
    expect(pruneLowMagnitude(net(), { mByN: [2, 4], layers: ['up'] }).chains.has('up/kernel')).to.equal(true);
  });
});

describe('Output channels of kernels', () => {
  it('are the last axis, in × multiplier for depthwise, the third of four axes for transposed convolutions', () => {
    const channels = new Map(
      weightedNodes(net()).map((node) => {
        const { shape, data } = net().tensors.get(`${node.name}/kernel`)!;
        return [node.name, Array.from(data, (_, i) => outputChannelOf(node, shape)(i))];
      }),
    );
    expect(channels.get('c1')!.slice(0, 10)).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
    expect(channels.get('dw')!.slice(0, 10)).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
    expect(channels.get('up')!.slice(0, 10)).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    expect(channels.get('up')!.slice(46, 50)).to.deep.equal([5, 5, 0, 0]);
  });

  it('change sign with γ without changing a prediction, to the bit', async () => {
    const model = net(4);
    for (const name of ['c1_bn', 'up_bn']) {
      const count = valuesOf(model, `${name}/gamma`).length;
      valuesOf(model, `${name}/gamma`).set(uniform(count, 2));
      valuesOf(model, `${name}/moving_mean`).set(uniform(count, 3));
    }
    const x = uniform(5 * 36, 5);
    const normalized = normalizeBatchNormSigns(model);
    for (const name of ['c1_bn', 'up_bn']) {
      expect(valuesOf(model, `${name}/gamma`).some((v) => v < 0)).to.equal(true);
      expect(valuesOf(normalized, `${name}/gamma`).every((v) => v >= 0)).to.equal(true);
    }
    expect(await predict(normalized, x)).to.deep.equal(await predict(model, x));
  });
});
