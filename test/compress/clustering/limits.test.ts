import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { softmaxCrossEntropy } from '#lib/train/losses.js';
import { lower } from '#lib/train/lower.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { expectCode } from '../../support/errors.js';
import { collect, distinct, smallCnn, twoDense, valuesOf } from '../../support/models.js';
import { fingerprint, images, reload, rowsOf, train } from '../../support/training.js';

const scheme = () => new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false });

describe('numbers of clusters', () => {
  it('4.4: more than 1,024 clusters train, are stripped and go on in CQAT, never dropped', async () => {
    const clustered = clusterWeights(twoDense(64, 64, 4), { numberOfClusters: 2000, centroidInit: 'linear', layers: ['dense1'] });
    await train(clustered, rowsOf([64]));
    const stripped = reload(stripClustering(clustered));
    expect(distinct(valuesOf(stripped, 'dense1/kernel'))).to.be.within(1025, 2000);
    const { codes, onNotice } = collect();
    const cqat = quantizeModel(stripped, { scheme: scheme(), onNotice });
    expect(codes().filter((notice) => notice.startsWith('dense1'))).to.deep.equal([]);
    expect(cqat.chains.get('dense1/kernel')?.technique).to.equal('cqat');
    await train(cqat, rowsOf([64]));
    expect(distinct(materializeWeight(cqat, 'dense1/kernel'))).to.be.within(1025, 2000);
  });

  it('more clusters than a codebook can have are refused with the name of the layer', () => {
    const model = twoDense(300, 300, 4);
    expectCode(() => clusterWeights(model, { numberOfClusters: 65_537 }), 'ERR_OPTION', /65537 clusters.*layer 'dense1'/);
    expectCode(() => clusterWeights(model, { numberOfClusters: 1 }), 'ERR_OPTION', /at least 2/);
  });

  it('a kernel of one value is one cluster, and stays one in training and in CQAT', async () => {
    const model = twoDense(16, 8, 4);
    valuesOf(model, 'dense1/kernel').fill(0.25);
    const clustered = clusterWeights(model, { numberOfClusters: 4, layers: ['dense1'] });
    expect(distinct(materializeWeight(clustered, 'dense1/kernel'))).to.equal(1);
    const { codes, onNotice } = collect();
    const cqat = quantizeModel(stripClustering(clustered), { scheme: scheme(), onNotice });
    expect(codes().filter((notice) => notice.startsWith('dense1'))).to.deep.equal([]);
    expect(cqat.tensors.get('dense1/kernel:centroids')?.shape).to.deep.equal([1]);
    await train(cqat, rowsOf([16]));
    const used = materializeWeight(cqat, 'dense1/kernel');
    expect(distinct(used)).to.equal(1);
    expect(used[0]).to.not.equal(0.25);
  });
});

describe('the cost of clusters', () => {
  /** What the state of one clustered weight takes, by name. */
  const bytes = (model: Model, weight: string): Record<string, number> =>
    Object.fromEntries(
      [...model.tensors].filter(([name]) => name.startsWith(`${weight}:`)).map(([name, { data }]) => [name, data.byteLength]),
    );

  it('W43: indices take four bytes a weight and are only a result: training, inference and stripping never read them', async () => {
    const clustered = clusterWeights(smallCnn(), { numberOfClusters: 4, layers: ['conv2'] });
    expect(bytes(clustered, 'conv2/kernel')).to.deep.equal({ 'conv2/kernel:centroids': 16, 'conv2/kernel:indices': 4 * 432 });
    const spoiled = reload(clustered);
    spoiled.tensors.get('conv2/kernel:indices')?.data.fill(3);
    expect(materializeWeight(spoiled, 'conv2/kernel')).to.deep.equal(materializeWeight(clustered, 'conv2/kernel'));
    expect(fingerprint(stripClustering(spoiled))).to.equal(fingerprint(stripClustering(clustered)));
    await train(clustered, images);
    await train(spoiled, images);
    expect(fingerprint(spoiled)).to.equal(fingerprint(clustered));
  });

  it('W41: a codebook per channel is the same program as one for the tensor, whatever the number of channels', () => {
    const program = (filters: number, clusterPerChannel: boolean) => {
      const g = new GraphBuilder('wide');
      const x = g.conv2d(g.input([4, 4, 3]), { name: 'conv', filters, kernelSize: 3 });
      const model = createModel(g.build(g.dense(g.globalAveragePool2d(x), { name: 'logits', units: 4 })));
      const options = { numberOfClusters: 4, centroidInit: 'linear', clusterPerChannel } as const;
      return lower(clusterWeights(model, options), { loss: softmaxCrossEntropy() }).program;
    };
    const one = program(8, false);
    for (const [filters, perChannel] of [
      [8, true],
      [512, true],
    ] as const) {
      // prettier-ignore
      const many = program(filters, perChannel);
      expect(many.instructions.length).to.equal(one.instructions.length);
      expect(many.tensors.length).to.equal(one.tensors.length);
      expect(many.chains?.length).to.equal(one.chains?.length);
    }
  });

  /** Peak memory in MiB that `work` adds in a process of its own, after `setUp`. */
  async function peak(setUp: string, work: string): Promise<number> {
    const script = `
      import { readFileSync } from 'node:fs';
      import * as pcqat from '#lib/index.js';
      const high = () => Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;
      ${setUp}
      const before = high();
      ${work}
      console.log(high() - before);`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    return Number(stdout);
  }

  it('W40: the nearest of 256 centroids for 4 M weights needs no array of weights × centroids, in training or inference', async function () {
    if (process.platform !== 'linux') this.skip();
    // The reference would hold 4 GiB twice. Here: weight, gradient, Adam's two moments, indices and copies of 16 MiB each.
    const setUp = `
      const g = new pcqat.GraphBuilder('large');
      const model = pcqat.createModel(g.build(g.dense(g.input([2048]), { name: 'dense', units: 2048, useBias: false })));
      const x = new Float32Array(2048).fill(0.5);
      const train = pcqat.arrayDataset({ x, y: Int32Array.of(1), inputShape: [2048], classes: 2048 });`;
    const work = `
      const clustered = pcqat.clusterWeights(model, { numberOfClusters: 256, centroidInit: 'linear' });
      await pcqat.fit(clustered, { train, epochs: 1, batchSize: 1, threads: 1 });
      const stripped = pcqat.stripClustering(clustered);
      if (new Set(stripped.tensors.get('dense/kernel').data).size > 256) throw new Error('too many values');`;
    expect(await peak(setUp, work)).to.be.within(16, 640);
  }).timeout(120_000);

  it('W44: a mask of 16 M weights is made from one order statistic, without sorting positions', async function () {
    if (process.platform !== 'linux') this.skip();
    // One copy of the magnitudes (64 MiB) and the mask (16 MiB); sorting values with their positions needs 128 MiB more.
    const setUp = `
      const data = new Float32Array(2 ** 24);
      for (let i = 0, state = 1; i < data.length; i++) data[i] = (state = Math.imul(state, 1664525) + 1013904223 | 0) / 2 ** 31;
      const schedule = pcqat.constantSparsity({ targetSparsity: 0.5 });
      const policy = { schedule, blockSize: [1, 1], blockPooling: 'AVG' };
      pcqat.updateMask({ shape: [4], data: data.subarray(0, 4) }, policy, 0.5);`;
    const work = `
      const { mask } = pcqat.updateMask({ shape: [data.length], data }, policy, 0.5);
      let kept = 0;
      for (const bit of mask) kept += bit;
      if (Math.abs(kept - data.length / 2) > 8) throw new Error('kept ' + kept);`;
    expect(await peak(setUp, work)).to.be.within(16, 112);
  }).timeout(120_000);
});
