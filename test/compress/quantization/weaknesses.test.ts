import { expect } from 'chai';
import { describe, it } from 'mocha';
import { certifyWeights } from '#lib/compress/certificate.js';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { stripClusteringCqat } from '#lib/compress/quantization/cqat.js';
import {
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  type ClusterPreserveOptions,
} from '#lib/compress/quantization/schemes.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { sparsityOf } from '#lib/compress/sparsity/metrics.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { inspectTflite } from '#lib/formats/tflite/inspect.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import { calibrate } from '#lib/train/calibrate.js';
import { fit } from '#lib/train/fit.js';
import { adam, adamw, sgd, type Optimizer } from '#lib/train/optimizers.js';
import { channelOf, distinct, valuesOf, zeroHalf } from '../../support/models.js';
import { toyData, toyModel } from '../../train/toy.js';

const quiet = { onNotice: () => undefined };
const train = toyData(48);
const learn = (model: Model, epochs = 1, optimizer: Optimizer = adam({ learningRate: 0.01 })) =>
  fit(model, { train, epochs, batchSize: 16, optimizer, threads: 1 });

/** A model on the toy images that ends in three logits. */
function modelOf(build: (g: GraphBuilder, x: Value) => Value): Model {
  const g = new GraphBuilder('net');
  const x = build(g, g.input([6, 6, 1]));
  return createModel(g.build(g.dense(x.shape.length === 3 ? g.flatten(x) : x, { name: 'logits', units: 3 })), { seed: 2 });
}

/** Half of the named kernels is zero, and all of them clustered with the zeros kept. */
function sparseClustered(model: Model, layers: readonly string[], numberOfClusters = 6): Model {
  for (const layer of layers) zeroHalf(model, `${layer}/kernel`);
  return stripClustering(clusterWeights(model, { numberOfClusters, preserveSparsity: true, layers, ...quiet }));
}

const pcqat = (model: Model, options: ClusterPreserveOptions = {}): Model =>
  quantizeModel(model, { scheme: new Default8BitClusterPreserveQuantizeScheme(options), ...quiet });
const layersOf = async (model: Model) =>
  new Map(inspectTflite(encodeTflite(await convertToInt8(model))).layers.map((layer) => [layer.name, layer]));

describe('zeros and clusters that the reference loses', () => {
  for (const relu of ['relu', 'relu6'] as const) {
    it(`W1: a layer before a ${relu} layer is quantized and keeps zeros and clusters while training, to the file`, async () => {
      const source = sparseClustered(
        modelOf((g, x) => {
          x = g[relu](g.conv2d(x, { name: 'conv', filters: 6, kernelSize: 3 }));
          return g[relu](g.dense(g.flatten(x), { name: 'hidden', units: 8 }));
        }),
        ['conv', 'hidden', 'logits'],
      );
      const model = pcqat(source);
      await learn(model, 4);
      for (const { layer, technique, clusters, distinctValues, zeros, weights } of certifyWeights(model)) {
        expect(technique, layer).to.equal('pcqat');
        expect(clusters).to.equal(6);
        expect(distinctValues, layer).to.be.within(2, 6);
        expect(zeros / weights, layer).to.be.at.least(0.5);
      }
      for (const { name, codes, zeros } of (await layersOf(model)).values()) {
        expect(codes, name).to.be.within(2, 6);
        expect(zeros, name).to.be.at.least(0.5);
      }
    });
  }

  it('W3: layers before a concat are quantized and keep zeros and clusters while training, to the file', async () => {
    const source = sparseClustered(
      modelOf((g, x) => {
        const conv = (name: string): Value => g.conv2d(x, { name, filters: 6, kernelSize: 3, activation: 'relu' });
        return g.concat([conv('left'), conv('right')]);
      }),
      ['left', 'right'],
    );
    const model = pcqat(source);
    await learn(model, 4);
    for (const layer of ['left', 'right']) {
      const certificate = certifyWeights(model).find((entry) => entry.layer === layer)!;
      expect(certificate).to.include({ technique: 'pcqat', clusters: 6, zerosKept: true, clustersKept: true });
      expect(certificate.zeros / certificate.weights).to.be.at.least(0.5);
      expect((await layersOf(model)).get(layer)?.codes).to.be.within(2, 6);
    }
  });

  it('W17: one accidental zero is kept in its own layer and changes no other weight', async () => {
    const source = modelOf((g, x) => g.conv2d(x, { name: 'conv', filters: 4, kernelSize: 3, activation: 'relu' }));
    const clustered = stripClustering(clusterWeights(source, { numberOfClusters: 4, clusterPerChannel: true, ...quiet }));
    const kernel = valuesOf(clustered, 'conv/kernel');
    const accident = kernel[0]; // all of its cluster in channel 0 becomes an exact zero
    kernel.forEach((value, i) => i % 4 === 0 && value === accident && (kernel[i] = 0));
    const zeros = kernel.filter((value) => value === 0).length;
    const model = pcqat(clustered);
    expect(materializeWeight(model, 'conv/kernel'), 'nothing moves when the scheme is applied').to.deep.equal(kernel);
    expect(model.chains.get('logits/kernel')?.technique, 'the layer without a zero').to.equal('cqat');
    await learn(model, 6);
    const used = materializeWeight(model, 'conv/kernel');
    expect(
      used.filter((value, i) => kernel[i] === 0 && value !== 0),
      'zeros that came back',
    ).to.have.length(0);
    for (const channel of [1, 2, 3]) expect(channelOf(used, 4, channel).includes(0), `channel ${channel}`).to.equal(false);
    // The reference's rule zeroes a cluster of every channel at once.
    const like = materializeWeight(pcqat(clustered, { codebook: 'reference' }), 'conv/kernel');
    expect(like.filter((value) => value === 0).length).to.be.above(zeros);
    // And whoever does not want it says so.
    const without = pcqat(clustered, { preserveSparsity: false });
    expect(without.chains.get('conv/kernel')?.technique).to.equal('cqat');
    expect(without.tensors.has('conv/kernel:mask')).to.equal(false);
  });

  for (const [name, optimizer, plain] of [
    ['AdamW', adamw({ learningRate: 0.01, weightDecay: 3 }), adamw({ learningRate: 0.01, weightDecay: 0 })],
    ['SGD', sgd({ learningRate: 0.05, weightDecay: 0.5 }), sgd({ learningRate: 0.05 })],
  ] as const) {
    it(`W18: weight decay of ${name} moves no weight off its cluster`, async () => {
      const source = sparseClustered(toyModel(), ['conv', 'logits']);
      const one = [pcqat(source), pcqat(source)];
      const first = { ...train, size: 16, x: train.x.slice(0, 16 * 36), y: train.y.slice(0, 16) };
      for (const [i, model] of one.entries()) {
        await fit(model, { train: first, epochs: 1, batchSize: 16, optimizer: i === 0 ? optimizer : plain, threads: 1 });
      }
      const centroids = one.map((model) => valuesOf(model, 'logits/kernel:centroids'));
      expect(centroids[0], 'the codebook is not decayed').to.deep.equal(centroids[1]);
      const model = pcqat(source);
      await learn(model, 6, optimizer);
      for (const layer of ['conv', 'logits']) {
        const codebook = new Set([0, ...valuesOf(model, `${layer}/kernel:centroids`)]);
        const used = materializeWeight(stripClusteringCqat(model), `${layer}/kernel`);
        expect(
          used.filter((value) => !codebook.has(value)),
          `${layer}: weights off the codebook`,
        ).to.have.length(0);
        expect((await layersOf(model)).get(layer)?.codes).to.be.at.most(6);
      }
    });
  }

  it('W19: values that share a code in the file are seen: codes are counted beside values', async () => {
    const source = modelOf((_, x) => x);
    const kernel = valuesOf(source, 'logits/kernel');
    const values = [1, 0.5, 0.5001, -0.25]; // a step is 1/127
    kernel.forEach((_, i) => (kernel[i] = values[i % 4]!));
    source.tensors.set('logits/kernel:clustered_as', { shape: [2], data: Int32Array.of(4, 0) });
    const model = pcqat(source);
    await calibrate(model, train);
    expect(certifyWeights(model)[0]?.distinctValues).to.equal(4);
    expect((await layersOf(model)).get('logits')?.codes).to.equal(3);
  });

  it('W33: PQAT and PCQAT mask whenever the weight is used, also at inference', async () => {
    for (const scheme of [new Default8BitPrunePreserveQuantizeScheme(), new Default8BitClusterPreserveQuantizeScheme()]) {
      for (const clustered of [true, false]) {
        const source = toyModel();
        for (const layer of ['conv', 'dw', 'logits']) zeroHalf(source, `${layer}/kernel`);
        const options = { numberOfClusters: 6, preserveSparsity: true, ...quiet };
        const model = quantizeModel(clustered ? stripClustering(clusterWeights(source, options)) : source, { scheme, ...quiet });
        await calibrate(model, train);
        const drifted = cloneModel(model);
        for (const layer of ['conv', 'dw', 'logits']) {
          const mask = model.tensors.get(`${layer}/kernel:mask`)!.data;
          valuesOf(drifted, `${layer}/kernel`).forEach((_, i, kernel) => mask[i] === 0 && (kernel[i] = 5));
        }
        expect(await predict(drifted, train.x)).to.deep.equal(await predict(model, train.x));
        for (const trained of [model, drifted]) await learn(trained);
        expect(await predict(drifted, train.x), 'after training').to.deep.equal(await predict(model, train.x));
      }
    }
  });
});

describe('exports', () => {
  it('W15: dense with batch norm stays int8, with the codes of the fake-quantized kernel', async () => {
    const model = quantizeModel(
      modelOf((g, x) => g.relu(g.batchNorm(g.dense(g.flatten(x), { name: 'hidden', units: 5 }), { name: 'bn' }))),
    );
    await learn(model, 2);
    const tflite = await convertToInt8(model);
    expect(tflite.operators.map(({ op }) => op)).to.not.include.members(['QUANTIZE']);
    for (const { dtype, name } of tflite.tensors) expect(dtype, name).to.be.oneOf(['int8', 'int32']);
    const used = materializeWeight(model, 'hidden/kernel');
    const largest = Math.max(...used.map(Math.abs));
    const codes = new Int8Array(tflite.tensors.find(({ name }) => name === 'hidden/kernel')!.data!);
    // [in, out] becomes [out, in]; a negative γ would flip signs, and there is none.
    used.forEach((value, i) => expect(codes[(i % 5) * 36 + Math.floor(i / 5)]).to.be.closeTo((value / largest) * 127, 0.5 + 1e-4));
  });

  it('W20: a bias that does not fit rescales its own channel: zeros stay, and no more codes come out', async () => {
    const source = modelOf((g, x) => g.relu(g.batchNorm(g.conv2d(x, { name: 'conv', filters: 4, kernelSize: 3 }), { name: 'bn' })));
    const model = pcqat(sparseClustered(source, ['conv']));
    await calibrate(model, train);
    const file = async () => {
      const tflite = await convertToInt8(model);
      const { data, scale } = tflite.tensors.find(({ name }) => name === 'conv/kernel')!;
      return { codes: new Int8Array(data!), scales: [...scale] };
    };
    const before = await file();
    valuesOf(model, 'bn/gamma')[2] = 1e-9; // channel 2 nearly vanishes but has an offset
    valuesOf(model, 'bn/beta')[2] = 3;
    const after = await file();
    const channel = (codes: Int8Array, c: number): Int8Array => codes.subarray(9 * c, 9 * c + 9);
    for (const c of [0, 1, 3]) {
      expect(channel(after.codes, c)).to.deep.equal(channel(before.codes, c));
      expect(after.scales[c]).to.equal(before.scales[c]);
    }
    const unguarded = before.scales[2]! * 1e-9;
    expect(after.scales[2], 'enlarged').to.be.above(2 * unguarded);
    expect(distinct(channel(after.codes, 2))).to.be.at.most(distinct(channel(before.codes, 2)));
    channel(before.codes, 2).forEach((code, i) => code === 0 && expect(channel(after.codes, 2)[i]).to.equal(0));
  });

  it('W28: scales in the file are those of the kernel in the file, after the last step', async () => {
    const model = quantizeModel(toyModel());
    await learn(model, 2);
    const tflite = await convertToInt8(model);
    const { scale } = tflite.tensors.find(({ name }) => name === 'logits/kernel')!;
    const last = Math.max(...valuesOf(model, 'logits/kernel').map(Math.abs));
    expect(scale[0]).to.equal(Math.fround(last / 127));
    expect(Math.max(...valuesOf(model, 'logits/kernel:max')), 'the range of the last training step is older').to.not.equal(last);
  });
});

describe('state', () => {
  it('W42: PCQAT keeps one copy of a kernel, and optimizer slots for what is trained only', async () => {
    const model = pcqat(sparseClustered(toyModel(), ['conv', 'logits']));
    await learn(model);
    const weights = valuesOf(model, 'logits/kernel').length;
    const big = [...model.tensors].filter(([name, { data }]) => name.startsWith('logits/') && data.length === weights);
    const kinds = Object.fromEntries(big.map(([name, { data }]) => [name, data.constructor.name]));
    expect(kinds).to.deep.equal({
      'logits/kernel': 'Float32Array',
      'logits/kernel:mask': 'Uint8Array',
      'logits/kernel:indices': 'Int32Array',
    });
    const slots = [...model.optimizer!.slots].filter(([name]) => name.startsWith('logits/kernel'));
    expect(slots.map(([name, arrays]) => [name, arrays.map((array) => array.length)])).to.deep.equal([
      ['logits/kernel', [weights, weights]],
      ['logits/kernel:centroids', [6, 6]],
    ]);
  });

  it('W45: there is no unused state, and inference writes no weight', async () => {
    const quantized = quantizeModel(modelOf((_, x) => x));
    const parameters = ['logits/kernel', 'logits/bias'];
    const ranges = ['logits/kernel', 'input', 'logits'].flatMap((name) => [`${name}:min`, `${name}:max`]);
    expect([...quantized.tensors.keys()]).to.have.members([...parameters, ...ranges]);
    const pruned = pruneLowMagnitude(toyModel(), quiet);
    const mask = pruned.tensors.get('logits/kernel:mask')!.data;
    mask.fill(0, 0, mask.length / 2); // as in the middle of an epoch: masked, but not zero in the stored weight
    const stored = cloneModel(pruned);
    await predict(pruned, train.x);
    expect(pruned.tensors).to.deep.equal(stored.tensors);
    expect(sparsityOf(materializeWeight(pruned, 'logits/kernel'))).to.equal(0.5);
  });
});
