import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { projectCodebooks } from '#lib/compress/quantization/project.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import type { Dataset } from '#lib/data/types.js';
import { assertFidelity, measureFidelity } from '#lib/evaluate/fidelity.js';
import { inspectTflite } from '#lib/formats/tflite/inspect.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel, TfliteTensor } from '#lib/formats/tflite/types.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { loadBinding } from '#lib/native.js';
import { dsCnn, lenet5, resnet8 } from '#lib/graph/zoo/index.js';
import { calibrate } from '#lib/train/calibrate.js';
import { adam } from '#lib/train/optimizers.js';
import { compareValues } from '../support/deployed.js';
import { int8Cases, newerCases, randomDataset } from '../support/int8-graphs.js';
import { quarters, rowsOf, train } from '../support/training.js';

const ROWS = 64;
const EPOCHS = 80;
const quiet = { onNotice: () => undefined };

/** Every operator whose rounding is a case of its own, among them layers that the file computes on images or without an own scale. */
function mixed(): Model {
  const g = new GraphBuilder('mixed');
  const sequence = g.relu(g.batchNorm(g.conv1d(g.input([32, 4]), { name: 'conv1d', filters: 8, kernelSize: 3, padding: 'same' })));
  const image = g.reshape(g.averagePool1d(sequence, { name: 'average' }), [4, 4, 8]);
  const up = g.conv2dTranspose(image, { name: 'up', filters: 6, kernelSize: 3, strides: 2, padding: 'same' });
  const smooth = g.upSampling2d(image, { name: 'bilinear', interpolation: 'bilinear' });
  const side = g.relu6(g.conv2d(smooth, { name: 'side', filters: 6, kernelSize: 3, padding: 'same' }));
  const both = g.concat([g.leakyRelu(up, { name: 'leaky', alpha: 0.2 }), side, g.tanh(up, { name: 'tanh' })], { name: 'concat' });
  const gate = g.sigmoid(g.dense(g.globalAveragePool2d(both, { name: 'mean' }), { name: 'gate', units: 18 }));
  const gated = g.multiply(both, gate, { name: 'product' });
  const swish = g.hardSwish(g.depthwiseConv2d(gated, { name: 'depthwise', kernelSize: 3 }), { name: 'swish' });
  const hidden = g.relu(g.batchNorm(g.dense(g.flatten(swish), { name: 'hidden', units: 12 })));
  return createModel(g.build(g.softmax(g.dense(hidden, { name: 'logits', units: 4 }))), { seed: 3 });
}

/** Depthwise-separable blocks with ReLU6, fewer than MobileNet's thirteen, which a few images do not train: its logits would be constants. */
function smallMobileNet(): Model {
  const g = new GraphBuilder('small-mobilenet');
  const block = { useBias: false, padding: 'same' } as const;
  const norm = (x: Value): Value => g.relu6(g.batchNorm(x, { momentum: 0.9 }));
  let x = norm(g.conv2d(g.input([32, 32, 3]), { ...block, filters: 8, kernelSize: 3, strides: 2 }));
  for (const [filters, strides] of [[16, 1], [32, 2], [32, 1], [64, 2]] as const) {
    x = norm(g.depthwiseConv2d(x, { ...block, kernelSize: 3, strides }));
    x = norm(g.conv2d(x, { ...block, filters, kernelSize: 1 }));
  } // prettier-ignore
  return createModel(g.build(g.dense(g.globalAveragePool2d(x), { units: 4 })), { seed: 1 });
}

const nets: readonly { readonly name: string; readonly build: () => Model; readonly data: (size: number) => Dataset }[] = [
  { name: 'LeNet-5', build: () => lenet5({ classes: 4 }), data: (size) => quarters(size, [28, 28, 1]) },
  {
    name: 'DS-CNN-S',
    build: () => dsCnn({ size: 'S', classes: 4, inputShape: [25, 10, 1] }),
    data: (size) => quarters(size, [25, 10, 1]),
  },
  {
    name: 'a small MobileNet',
    build: smallMobileNet,
    data: (size) => quarters(size, [32, 32, 3]),
  },
  { name: 'ResNet-8', build: () => resnet8({ classes: 4 }), data: (size) => quarters(size, [32, 32, 3]) },
  { name: 'a net of every operator', build: mixed, data: (size) => ({ ...quarters(size, [8, 4, 4]), inputShape: [32, 4] }) },
];

/** A stage of compression moves little: its moving statistics would lag behind larger steps. */
async function trained(model: Model, data: Dataset, epochs = 2, learningRate = 3e-4): Promise<Model> {
  await train(model, data, { epochs, optimizer: adam({ learningRate }) });
  return model;
}

async function pcqat(float: Model, data: Dataset): Promise<Model> {
  const schedule = constantSparsity({ targetSparsity: 0.5, beginStep: 0, frequency: 1 });
  const pruned = stripPruning(await trained(pruneLowMagnitude(float, { schedule, ...quiet }), data));
  const clustered = stripClustering(clusterWeights(pruned, { numberOfClusters: 16, preserveSparsity: true, ...quiet }));
  const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true });
  return projectCodebooks(await trained(quantizeModel(clustered, { scheme, ...quiet }), data), quiet);
}

const exported = async (model: Model): Promise<TfliteModel> => readTflite(encodeTflite(await convertToInt8(model)));

/** Half of every kernel that is pruned by default is zero, in at most 16 codes: the kernel is PCQAT's. */
function expectCompressed(file: TfliteModel): void {
  const layers = inspectTflite(encodeTflite(file)).layers.filter(({ op }) => op !== 'DEPTHWISE_CONV_2D');
  expect(layers).not.to.deep.equal([]);
  for (const { name, zeros, codes } of layers) {
    expect(zeros, name).to.be.at.least(0.49);
    expect(codes, name).to.be.at.most(16);
  }
}

describe('a simulation with the rounding of the integer kernels', function () {
  this.timeout(120_000);

  for (const { name, build, data } of nets) {
    it(`${name}, QAT and PCQAT: every value of every layer is the file's, where fake quantization alone is not`, async () => {
      const training = data(ROWS);
      // Until the classes are learned: statistics and ranges that have settled, no layer that says the same for every row.
      const float = await trained(build(), training, EPOCHS, 3e-3);
      for (const kind of ['qat', 'pcqat'] as const) {
        const model = kind === 'qat' ? await trained(quantizeModel(float, quiet), training) : await pcqat(float, training);
        const file = await exported(model);
        if (kind === 'pcqat') expectCompressed(file);
        const exact = await compareValues(model, file, training.x, true);
        const plain = await compareValues(model, file, training.x, false);
        // Logits that do not depend on the input have one code for each of the 4 classes.
        expect([...exact.codes].filter(([, count]) => count <= 4)).to.deep.equal([]);
        expect(exact.classes).to.be.at.least(3);
        expect([...exact.differing].filter(([, count]) => count > 0)).to.deep.equal([]);
        expect(exact.sameClass).to.equal(ROWS);
        expect(exact.differing.size).to.be.at.least(model.quantizers.size);
        expect(plain.total).to.be.above(0);
      }
    });
  }

  const INEXACT = 'bilinear upsampling 3x2'; // TFLite's positions have 10 fractional bits, which thirds of a pixel are not
  for (const { name, model: float, shape } of [...int8Cases(), ...newerCases()].filter((one) => one.name !== INEXACT)) {
    it(`of '${name}' gives the file's values`, async () => {
      const model = quantizeModel(float, quiet);
      const data = randomDataset(shape, ROWS, 5);
      await calibrate(model, data);
      const { differing, sameClass } = await compareValues(model, await exported(model), data.x, true);
      expect([...differing].filter(([, count]) => count > 0)).to.deep.equal([]);
      expect(sameClass).to.equal(ROWS);
    });
  }

  it('finds weights next to half a code in the file with the codes that training gives them', async () => {
    const g = new GraphBuilder('halves');
    const built = g.build(g.conv2d(g.input([1, 1, 128]), { name: 'conv', filters: 2, kernelSize: 1 }));
    const float = createModel(built, { seed: 1 });
    const [kernel, largest] = [float.tensors.get('conv/kernel')!.data as Float32Array, Math.fround(0.11277959495782852)];
    kernel.forEach((_, i) => (kernel[i] = ((i < 2 ? 127 : (i >> 1) - 0.5 - 2e-6) * largest) / 127));
    const model = quantizeModel(float, quiet);
    const data = randomDataset([1, 1, 128], ROWS, 5);
    await calibrate(model, data);
    const trainedKernel = new Float32Array(256);
    loadBinding().fakeQuantize(kernel, Float32Array.of(-largest, -largest), Float32Array.of(largest, largest), 8, true, trainedKernel);
    const training = Array.from(trainedKernel, (value) => Math.round((value * 127) / largest));
    expect(Array.from(kernel, (value) => Math.round((value * 127) / largest))).not.to.deep.equal(training);
    const file = await exported(model);
    const codes = new Int8Array(file.tensors.find(({ name }) => name === 'conv/kernel')!.data!.slice().buffer);
    expect(Array.from(kernel, (_, i) => codes[(i % 2) * 128 + (i >> 1)])).to.deep.equal(training);
    expect((await compareValues(model, file, data.x, true)).total).to.equal(0);
  });

  it('finds them in a depthwise kernel too, whose ranges per channel are one range', async () => {
    const g = new GraphBuilder('depthwise halves');
    const float = createModel(g.build(g.depthwiseConv2d(g.input([4, 4, 2]), { name: 'dw', kernelSize: 3 })), { seed: 1 });
    const kernel = float.tensors.get('dw/kernel')!.data as Float32Array;
    // 3.49999 codes: dividing by the scale gives 3, multiplying by its inverse 4.
    const [largest, near] = [0.18493670225143433, 0.005096668377518654];
    kernel.forEach((_, i) => (kernel[i] = i === 4 ? largest : i % 3 === 0 ? near : -near * i));
    const model = quantizeModel(float, quiet);
    const data = randomDataset([4, 4, 2], ROWS, 5);
    await calibrate(model, data);
    const divided = new Float32Array(kernel.length);
    loadBinding().fakeQuantize(kernel, Float32Array.of(-largest), Float32Array.of(largest), 8, true, divided);
    expect(Math.round((divided[3]! * 127) / largest)).to.equal(3);
    const file = await exported(model);
    const codes = new Int8Array(file.tensors.find(({ name }) => name === 'dw/kernel')!.data!.slice().buffer);
    expect(codes[3]).to.equal(4);
    expect((await compareValues(model, file, data.x, true)).total).to.equal(0);
  });

  it('gives the same bytes for any number of threads', async () => {
    const model = quantizeModel(mixed(), quiet);
    const data = rowsOf([32, 4]);
    await calibrate(model, data);
    const file = await exported(model);
    const { outputs } = await compareValues(model, file, data.x, true);
    for (const threads of [2, 3]) expect((await compareValues(model, file, data.x, true, threads)).outputs).to.deep.equal(outputs);
  });

  describe('shows a file that is not the model: ', () => {
    let model: Model;
    let file: TfliteModel;
    const data = quarters(ROWS, [12, 12, 3]);
    before(async () => {
      const g = new GraphBuilder('small');
      const conv = g.relu(g.batchNorm(g.conv2d(g.input([12, 12, 3]), { name: 'conv1', filters: 6, kernelSize: 3 })), { name: 'relu1' });
      const x = g.conv2d(conv, { name: 'conv2', filters: 8, kernelSize: 3, activation: 'relu' });
      const built = g.build(g.dense(g.globalAveragePool2d(x, { name: 'mean' }), { name: 'logits', units: 4 }));
      const float = await trained(createModel(built, { seed: 2 }), data, 2, 3e-3);
      model = await trained(quantizeModel(float, quiet), data, 2, 3e-3);
      file = await exported(model);
    });

    /** The tensors of an operator, by its layer, changed. */
    const changed = (name: string, change: (tensor: TfliteTensor) => Partial<TfliteTensor>): TfliteModel => ({
      ...file,
      tensors: file.tensors.map((tensor) => (tensor.name === name ? { ...tensor, ...change(tensor) } : tensor)),
    });
    const biasPlus = (added: (scale: number) => number) => (tensor: TfliteTensor) => {
      const values = new Int32Array(tensor.data!.slice().buffer);
      values[2]! += added(tensor.scale[2] ?? tensor.scale[0]!);
      return { data: new Uint8Array(values.buffer) };
    };

    it('nothing differs in the right one', async () => {
      const fidelity = await measureFidelity(model, file, data);
      expect(fidelity.maxSteps).to.be.below(1e-3);
      assertFidelity(fidelity, { agreement: 1, meanSteps: 1e-3 });
    });

    const step = (name: string): number => file.tensors.find((tensor) => tensor.name === name)!.scale[0]!;
    const cases: readonly [string, string, () => TfliteModel][] = [
      [
        'a bias of half a step',
        'relu1',
        () =>
          changed(
            'conv1/bias',
            biasPlus((scale) => Math.round((0.5 * step('relu1')) / scale)),
          ),
      ],
      [
        'a bias of half a step, dense',
        'logits',
        () =>
          changed(
            'logits/bias',
            biasPlus((scale) => Math.round((0.5 * step('logits')) / scale)),
          ),
      ],
      ['a kernel scale', 'relu1', () => changed('conv1/kernel', ({ scale }) => ({ scale: scale.map((s, c) => (c === 1 ? s * 1.02 : s)) }))],
      ['an output scale', 'relu1', () => changed('relu1', ({ scale }) => ({ scale: scale.map((s) => s * 1.02) }))],
      ['the scale of a mean', 'mean', () => changed('mean', ({ scale }) => ({ scale: scale.map((s) => s * 1.02) }))],
      ['a zero point, by what saturates', 'relu1', () => changed('relu1', ({ zeroPoint }) => ({ zeroPoint: zeroPoint.map(() => 127) }))],
      ['a code', 'conv2_relu', () => changed('conv2/kernel', ({ data: codes }) => ({ data: codes!.with(5, codes![5]! ^ 0x10) }))],
    ];
    for (const [what, where, change] of cases) {
      it(`${what} (${where})`, async () => {
        const { layers } = await measureFidelity(model, change(), data);
        expect(layers.find(({ largestDifference }) => largestDifference > 1e-3)?.name).to.equal(where);
      });
    }
  });
});
