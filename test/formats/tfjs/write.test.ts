import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { pruneOnce } from '#lib/compress/sparsity/once.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { importModel } from '#lib/formats/import/index.js';
import { UnsupportedNodesError } from '#lib/formats/import/unsupported.js';
import { encodeTfjs, writeTfjs } from '#lib/formats/tfjs/write.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { listParameters, type Model } from '#lib/graph/model.js';
import { Random } from '#lib/graph/random.js';
import * as zoo from '#lib/graph/zoo/index.js';
import { expectRejection } from '../../support/errors.js';
import { smallCnn, valuesOf } from '../../support/models.js';
import { loadInTfjs, relativeError, runTfjs } from '../../support/layers-model.js';

/** Every parameter random, also those that start as 0 or 1; variances above 0. */
function randomized(model: Model, seed: number): Model {
  const random = new Random(seed, 'weights');
  for (const { name } of listParameters(model.graph)) {
    const data = valuesOf(model, name);
    const isPositive = /gamma|variance/.test(name);
    if (!name.endsWith('kernel')) data.forEach((_, i) => (data[i] = isPositive ? 0.5 + random.uniform() : random.uniform() - 0.5));
  }
  return model;
}

function build(name: string, shape: readonly number[], layers: (g: GraphBuilder, x: Value) => Value): Model {
  const g = new GraphBuilder(name);
  return randomized(createModel(g.build(layers(g, g.input(shape))), { seed: 3 }), 4);
}

const IMAGES = build('images', [9, 8, 3], (g, input) => {
  let x = g.conv2d(input, { filters: 6, kernelSize: [3, 2], strides: 2, padding: 'same', activation: 'relu6' });
  x = g.batchNorm(x, { epsilon: 0.01 });
  x = g.leakyRelu(g.depthwiseConv2d(x, { kernelSize: 3, padding: 'same', depthMultiplier: 2, useBias: false }), { alpha: 0.2 });
  x = g.separableConv2d(x, { filters: 8, kernelSize: 2, padding: 'same', activation: 'tanh' });
  const shortcut = x;
  x = g.add(g.conv2d(x, { filters: 8, kernelSize: 1 }), shortcut);
  const gate = g.dense(g.globalAveragePool2d(x), { units: 8, activation: 'sigmoid' });
  x = g.multiply(x, gate);
  x = g.concat([
    x,
    g.maxPool2d(
      g.zeroPad2d(x, {
        padding: [
          [1, 0],
          [2, 0],
        ],
      }),
      { poolSize: [2, 3], strides: 1 },
    ),
  ]);
  x = g.conv2dTranspose(x, { filters: 3, kernelSize: 3, strides: 2, padding: 'valid', activation: 'relu' });
  x = g.upSampling2d(x, { size: [1, 2] });
  x = g.averagePool2d(x, { poolSize: 3, strides: 2, padding: 'same' });
  x = g.dropout(g.flatten(x), { rate: 0.3 });
  x = g.dense(g.reshape(x, [x.shape[0]!]), { units: 5 });
  return g.concat([x, g.softmax(x)]);
});

const SEQUENCES = build('sequences', [20, 4], (g, input) => {
  let x = g.conv1d(input, { filters: 6, kernelSize: 3, padding: 'same', activation: 'relu' });
  x = g.conv1d(x, { filters: 6, kernelSize: 3, padding: 'causal', dilation: 2 });
  x = g.depthwiseConv1d(x, { kernelSize: 3, strides: 2, padding: 'same', depthMultiplier: 2 });
  x = g.depthwiseConv1d(x, { kernelSize: 3, padding: 'causal', useBias: false });
  x = g.maxPool1d(g.averagePool1d(x, { poolSize: 2, strides: 1, padding: 'same' }));
  return g.dense(g.globalAveragePool1d(g.batchNorm(x)), { units: 3 });
});

const sine = (model: Model, rows = 2): Float32Array => {
  const input = model.graph.nodes[0]!;
  const size = input.op === 'input' ? input.shape.reduce((a, b) => a * b, 1) : 0;
  return Float32Array.from({ length: rows * size }, (_, i) => Math.sin(i));
};

describe('writeTfjs and encodeTfjs', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), 'pcqat-tfjs-'))));
  afterEach(() => rmSync(folder, { recursive: true }));

  for (const model of [
    IMAGES,
    SEQUENCES,
    build('dilated', [12, 9, 3], (g, x) => g.conv2d(x, { filters: 4, kernelSize: 3, dilation: [2, 1], padding: 'same' })),
    randomized(zoo.resnet8(), 1),
    randomized(zoo.dsCnn({ size: 'S', classes: 12 }), 2),
    zoo.lenet5(),
  ]) {
    it(`${model.graph.name}: tfjs-layers predicts what pcqat does`, async () => {
      const x = sine(model);
      const ours = await predict(model, x);
      const input = model.graph.nodes[0]!;
      const theirs = runTfjs(await loadInTfjs(encodeTfjs(model)), x, input.op === 'input' ? input.shape : []);
      expect(relativeError(theirs, ours)).to.be.below(1e-5);
    });

    it(`${model.graph.name}: reads back with the same function`, async () => {
      await writeTfjs(model, folder);
      const { model: back } = await importModel(folder);
      const x = sine(model);
      expect(await predict(back, x)).to.deep.equal(await predict(model, x));
    });
  }

  it('reads back with the same graph and weights, where tfjs has every layer', async () => {
    await writeTfjs(IMAGES, folder);
    const { model: back, format } = await importModel(folder);
    expect(format).to.equal('tfjs');
    expect(back.graph).to.deep.equal(IMAGES.graph);
    expect(back.tensors).to.deep.equal(IMAGES.tensors);
  });

  it('cuts weights into files of at most 4 MB', async () => {
    const model = build('wide', [1200], (g, x) => g.dense(x, { units: 2000 }));
    await writeTfjs(model, folder);
    const shards = readdirSync(folder).filter((name) => name.endsWith('.bin'));
    expect(shards.sort()).to.deep.equal(['group1-shard1of3.bin', 'group1-shard2of3.bin', 'group1-shard3of3.bin']);
    for (const shard of shards) expect(statSync(path.join(folder, shard)).size).to.be.at.most(4 * 2 ** 20);
    expect((await importModel(folder)).model.tensors).to.deep.equal(model.tensors);
  });

  it('replaces a model, and leaves none when it is interrupted', async () => {
    await writeTfjs(zoo.lenet5(), folder);
    await writeTfjs(IMAGES, folder);
    expect((await importModel(folder)).model.graph.name).to.equal('images');
    // A folder in place of a weight file stops it.
    rmSync(path.join(folder, 'group1-shard1of1.bin'));
    mkdirSync(path.join(folder, 'group1-shard1of1.bin', 'x'), { recursive: true });
    await expectRejection(writeTfjs(IMAGES, folder), 'ERR_IO', /group1-shard1of1/);
    expect(readdirSync(folder)).to.deep.equal(['group1-shard1of1.bin']);
  });

  it('says ERR_IO for a folder that cannot be', async () => {
    writeFileSync(path.join(folder, 'file'), '');
    await expectRejection(writeTfjs(IMAGES, path.join(folder, 'file', 'x')), 'ERR_IO');
  });

  it('computes pruned and clustered weights', async () => {
    const pruned = pruneOnce(smallCnn(), { targetSparsity: 0.5 });
    const clustered = clusterWeights(stripPruning(pruned), { numberOfClusters: 4 });
    const { weightSpecs, weightData } = encodeTfjs(clustered);
    let offset = 0;
    for (const { name, shape } of weightSpecs) {
      const size = shape.reduce((a, b) => a * b, 1);
      const parameter = name.replace('depthwise_kernel', 'kernel');
      expect(new Float32Array(weightData, offset, size), name).to.deep.equal(materializeWeight(clustered, parameter));
      offset += 4 * size;
    }
    const kernel = materializeWeight(clustered, 'conv2/kernel');
    expect(new Set(kernel).size).to.be.at.most(4);
  });

  it('refuses fake quantization, and lists layers that tfjs does not have', async () => {
    await expectRejection(writeTfjs(quantizeModel(smallCnn()), folder), 'ERR_UNSUPPORTED', /fake quantization.*exportInt8/);
    const model = build('odd', [4, 4, 2], (g, x) => {
      const dilated = g.depthwiseConv2d(x, { kernelSize: 2, dilation: 2, name: 'dw' });
      return g.hardSwish(g.upSampling2d(dilated, { interpolation: 'bilinear', name: 'up' }), { name: 'swish' });
    });
    const error: unknown = await writeTfjs(model, folder).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(UnsupportedNodesError);
    expect((error as UnsupportedNodesError).nodes.map(({ name }) => name)).to.deep.equal(['dw', 'up', 'swish']);
    expect(readdirSync(folder)).to.deep.equal([]);
  });

  it('gives the same bytes for the same model', async () => {
    await writeTfjs(IMAGES, folder);
    const first = readFileSync(path.join(folder, 'model.json'));
    await writeTfjs(IMAGES, folder);
    expect(readFileSync(path.join(folder, 'model.json')).equals(first)).to.equal(true);
  });
});
