import { expect } from 'chai';
import { describe, it } from 'mocha';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { quantizeAnnotateLayer } from '#lib/compress/quantization/annotate.js';
import { quantizeApply, quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import {
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  type QuantizeScheme,
} from '#lib/compress/quantization/schemes.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { runInt8 } from '#lib/evaluate/int8.js';
import { inspectTflite } from '#lib/formats/tflite/inspect.js';
import type { TfliteModel, TfliteTensor } from '#lib/formats/tflite/types.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { GraphBuilder, Value } from '#lib/graph/builder.js';
import type { Model } from '#lib/graph/model.js';
import type { Shape } from '#lib/graph/types.js';
import { calibrate } from '#lib/train/calibrate.js';
import { randomInt8 } from '../../support/int8-convert.js';
import { newerCases, randomDataset, trainedModel } from '../../support/int8-graphs.js';
import { valuesOf, zeroHalf } from '../../support/models.js';
import { expectOperatorsClose } from '../../support/single-operators.js';

const quiet = { onNotice: () => undefined };
const IMAGE: Shape = [6, 5, 4];
const SEQUENCE: Shape = [15, 4];

const operatorsOf = (model: TfliteModel): string[] => model.operators.map(({ op }) => op);

function tensor(model: TfliteModel, name: string): TfliteTensor {
  const found = model.tensors.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no tensor ${name}`);
  return found;
}

/** Fake-quantized, with the ranges that data show. */
async function qat(model: Model, shape: Shape, scheme?: QuantizeScheme): Promise<Model> {
  const quantized = quantizeModel(model, { ...quiet, ...(scheme === undefined ? {} : { scheme }) });
  await calibrate(quantized, randomDataset(shape, 40, 3));
  return quantized;
}

/** Largest difference between the int8 file and the fake-quantized model, in steps of the output, on inputs that int8 has. */
async function stepsBetween(quantized: Model, shape: Shape): Promise<number> {
  const tflite = await convertToInt8(quantized);
  const { scale, zeroPoint } = tflite.tensors[tflite.inputs[0]!]!;
  const x = randomDataset(shape, 60, 9).x.map((value) => {
    const code = Math.min(Math.max(Math.round(value / scale[0]!) + zeroPoint[0]!, -128), 127);
    return (code - zeroPoint[0]!) * scale[0]!;
  });
  const step = tflite.tensors[tflite.outputs[0]!]!.scale[0]!;
  const [fake, int8] = [await predict(quantized, x), await runInt8(tflite, x)];
  return Math.max(...int8.map((value, i) => Math.abs(value - fake[i]!) / step));
}

/**
 * Nets whose last operator adds its step to that of the one before it. Bilinear upsampling: TFLite rounds the scale of an axis to 1/1024,
 * which is exact for powers of two only; the reference excludes it from Q19 as a mismatch.
 */
const MORE_STEPS: Readonly<Record<string, number>> = {
  'conv, sigmoid': 2,
  'dense, tanh': 2,
  'conv, leaky relu': 2,
  'multiply relu': 2,
  'bilinear upsampling 3x2': 3,
};

describe('int8 files of the newer layers', () => {
  for (const { name, model, shape } of newerCases()) {
    it(`${name}: the file agrees with the fake-quantized model to a step`, async () => {
      expect(await stepsBetween(await qat(model, shape), shape)).to.be.at.most((MORE_STEPS[name] ?? 1) + 1e-4);
    });
  }
});

const SCHEMES = {
  pqat: new Default8BitPrunePreserveQuantizeScheme(),
  cqat: new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false }),
  pcqat: new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true }),
} as const;

const KERNEL_LAYERS: Readonly<Record<string, { shape: Shape; build: (g: GraphBuilder, x: Value) => Value }>> = {
  conv1d: {
    shape: SEQUENCE,
    build: (g, x) => g.relu(g.batchNorm(g.conv1d(x, { name: 'layer', filters: 9, kernelSize: 5, useBias: false }))),
  },
  'depthwise conv1d': {
    shape: [15, 12],
    build: (g, x) => g.relu(g.batchNorm(g.depthwiseConv1d(x, { name: 'layer', kernelSize: 9, useBias: false }))),
  },
  'transposed conv': {
    shape: IMAGE,
    build: (g, x) => g.relu(g.batchNorm(g.conv2dTranspose(x, { name: 'layer', filters: 7, kernelSize: 3, strides: 2, padding: 'same' }))),
  },
};

/** Half zeros and K values, stripped: what (P)CQAT starts from. */
function sparseAndClustered(model: Model, clusters: number): Model {
  zeroHalf(model, 'layer/kernel');
  const options = { numberOfClusters: clusters, preserveSparsity: true, layers: ['layer'], ...quiet };
  return stripClustering(clusterWeights(model, options));
}

describe('codes of the newer layers', () => {
  for (const [name, { shape, build }] of Object.entries(KERNEL_LAYERS)) {
    for (const [technique, scheme] of Object.entries(SCHEMES)) {
      it(`X2, X4, ${name}: ${technique} keeps its zeros and values in the exported file, through batch norm folding`, async () => {
        const model = sparseAndClustered(trainedModel(name, shape, build), 6);
        const quantized = await qat(model, shape, scheme);
        expect(quantized.chains.get('layer/kernel')!.technique).to.equal(technique);
        const used = materializeWeight(quantized, 'layer/kernel');
        const zeros = used.filter((w) => w === 0).length / used.length;
        expect(zeros).to.be.at.least(0.5);
        const [summary] = inspectTflite(encodeTflite(await convertToInt8(quantized))).layers;
        expect(summary).to.include({ name: 'layer', weights: used.length });
        expect(summary!.scales).to.be.above(1); // the batch norm is in the scales of its channels
        expect(summary!.zeros).to.be.at.least(zeros);
        if (technique === 'pqat') return;
        expect(summary!.codes).to.be.within(2, 6);
      });
    }
  }

  it('a transposed convolution is stored [out, h, w, in], its batch norm in the scale of each output channel (W10)', async () => {
    const { shape, build } = KERNEL_LAYERS['transposed conv']!;
    const model = trainedModel('layout', shape, build, true);
    const quantized = await qat(model, shape);
    const kernel = tensor(await convertToInt8(quantized), 'layer/kernel');
    expect(kernel.shape).to.deep.equal([7, 3, 3, 4]);
    expect(kernel.axis).to.equal(0);
    const codes = new Int8Array(kernel.data!);
    const w = valuesOf(model, 'layer/kernel');
    const largest = Math.max(...w.map(Math.abs));
    const [gamma, variance] = ['gamma', 'moving_variance'].map((field) => valuesOf(model, `batchNorm_1/${field}`));
    for (let out = 0; out < 7; out++) {
      const factor = gamma![out]! / Math.sqrt(variance![out]! + 1e-3);
      expect(kernel.scale[out]).to.be.closeTo(Math.abs(factor) * (largest / 127), 1e-6);
      for (let tap = 0; tap < 9; tap++) {
        for (let input = 0; input < 4; input++) {
          const expected = Math.sign(factor) * (w[(tap * 7 + out) * 4 + input]! / (largest / 127));
          expect(codes[(out * 9 + tap) * 4 + input]).to.be.closeTo(expected, 0.51);
        }
      }
    }
  });

  for (const [technique, scheme] of Object.entries(SCHEMES)) {
    it(`W3: a convolution that feeds a concat is preserved in ${technique}, in the state and in the file`, async () => {
      const build = (g: GraphBuilder, x: Value): Value => {
        const a = g.conv2d(x, { name: 'layer', filters: 8, kernelSize: 3, padding: 'same' });
        return g.concat([a, g.relu(g.conv2d(x, { name: 'other', filters: 8, kernelSize: 1 }))]);
      };
      const quantized = await qat(sparseAndClustered(trainedModel('concat', IMAGE, build), 6), IMAGE, scheme);
      expect(quantized.chains.get('layer/kernel')!.technique).to.equal(technique);
      const { layers } = inspectTflite(encodeTflite(await convertToInt8(quantized)));
      const layer = layers.find((summary) => summary.name === 'layer')!;
      expect(layer.zeros).to.be.at.least(0.5);
      if (technique !== 'pqat') expect(layer.codes).to.be.within(2, 6);
    });
  }
});

describe('scales around a concat', () => {
  const build = (g: GraphBuilder, x: Value): Value => {
    const conv = g.conv2d(x, { name: 'conv', filters: 4, kernelSize: 3, padding: 'same' });
    const alone = g.relu(g.conv2d(x, { name: 'alone', filters: 3, kernelSize: 1 }), { name: 'relu' });
    const inner = g.concat([alone, g.conv2d(x, { name: 'deep', filters: 2, kernelSize: 1 })], { name: 'inner' });
    return g.concat([inner, conv, g.maxPool2d(conv, { name: 'pool', poolSize: 3, strides: 1, padding: 'same' }), x], { name: 'outer' });
  };

  for (const [way, convert] of Object.entries({
    'after QAT': async (model: Model) => convertToInt8(await qat(model, IMAGE)),
    'after training': (model: Model) => convertToInt8(model, { representativeData: randomDataset(IMAGE, 40, 3) }),
  })) {
    it(`${way}: values that only concats read take the last one's; others are requantized, each once`, async () => {
      const tflite = await convert(trainedModel('concats', IMAGE, build));
      const of = (name: string): unknown => [tensor(tflite, name).scale, tensor(tflite, name).zeroPoint];
      for (const name of ['relu', 'deep', 'inner']) expect(of(name), name).to.deep.equal(of('outer'));
      for (const name of ['conv', 'pool', 'input']) expect(of(name), name).to.not.deep.equal(of('outer'));
      expect(of('pool')).to.deep.equal(of('conv'));
      expect(operatorsOf(tflite).filter((op) => op === 'QUANTIZE')).to.have.length(3);
      for (const { op, inputs, outputs } of tflite.operators) {
        if (op !== 'CONCATENATION') continue;
        for (const index of inputs) expect(tflite.tensors[index]!.scale).to.deep.equal(tflite.tensors[outputs[0]!]!.scale);
      }
    });
  }

  it('one value read twice by a concat is requantized once', async () => {
    const model = trainedModel('twice', IMAGE, (g, x) => g.concat([g.conv2d(x, { filters: 4, kernelSize: 1 }), x, x]));
    const tflite = await convertToInt8(await qat(model, IMAGE));
    expect(operatorsOf(tflite)).to.deep.equal(['CONV_2D', 'QUANTIZE', 'CONCATENATION']);
  });
});

describe('parts of the newer layers without a trained range', () => {
  it('take it from representativeData, the others keep theirs', async () => {
    const model = trainedModel('partly', IMAGE, (g, x) => {
      const up = g.conv2dTranspose(x, { name: 'up', filters: 4, kernelSize: 2, strides: 2 });
      const swish = g.hardSwish(up, { name: 'swish' });
      return g.concat([g.leakyRelu(swish, { name: 'leaky' }), g.multiply(swish, g.sigmoid(up), { name: 'product' })], { name: 'cat' });
    });
    const partly = quantizeApply(quantizeAnnotateLayer(model, ['up', 'swish']), quiet);
    const data = randomDataset(IMAGE, 40, 3);
    await calibrate(partly, data);
    expect([...partly.quantizers.keys()]).to.deep.equal(['input', 'up', 'swish']);
    const tflite = await convertToInt8(partly, { representativeData: data });
    const whole = await convertToInt8(await qat(model, IMAGE));
    for (const name of ['input', 'up', 'swish']) expect(tensor(tflite, name).scale, name).to.deep.equal(tensor(whole, name).scale);
    for (const name of ['leaky', 'product']) expect(tensor(tflite, name).scale, name).to.deep.equal(tensor(tflite, 'cat').scale);
    const { x } = randomDataset(IMAGE, 20, 8);
    const [float, int8] = [await predict(model, x), await runInt8(tflite, x)];
    const range = Math.max(...float) - Math.min(...float);
    expect(Math.max(...int8.map((value, i) => Math.abs(value - float[i]!))) / range).to.be.below(0.03);
  });

  it('a hard-swish of values below −3 only keeps a scale that TFLite takes', async () => {
    const model = trainedModel('low', [4], (g, x) => g.hardSwish(g.dense(x, { name: 'd', units: 3 }), { name: 'swish' }));
    valuesOf(model, 'd/bias').fill(-90);
    const tflite = await convertToInt8(model, { representativeData: randomDataset([4], 20, 1) });
    expect(tensor(tflite, 'swish').scale[0]! * 128).to.be.above(tensor(tflite, 'd').scale[0]!);
    expect([...(await runInt8(tflite, new Float32Array(4)))].map(Math.abs)).to.deep.equal([0, 0, 0]);
  });
});

describe('operators of the newer layers', () => {
  it('MUL has version 3 where its multiplier is 1 or more, as TFLite counts, and runs there', async () => {
    const model = trainedModel('product', IMAGE, (g, x) => g.multiply(x, g.sigmoid(x), { name: 'product' }));
    const quantized = await qat(model, IMAGE);
    expect((await convertToInt8(quantized)).operators.at(-1)).to.include({ op: 'MUL', version: 2 });
    for (const bound of ['min', 'max']) valuesOf(quantized, `product:${bound}`)[0]! *= 0.003;
    const tflite = await convertToInt8(quantized);
    expect(tflite.operators.at(-1)).to.include({ op: 'MUL', version: 3 });
    const output = await expectOperatorsClose(tflite, randomInt8(tflite, 12, 4), 12);
    expect(new Set(output).size).to.be.above(2);
  });

  it('are those of TFLite; sequences are images of height 1 inside, and keep their rank outside', async () => {
    const expected: Readonly<Record<string, readonly string[]>> = {
      'conv1d 3 same': ['RESHAPE', 'CONV_2D', 'RESHAPE'],
      'conv1d 3 causal': ['RESHAPE', 'PAD', 'CONV_2D', 'RESHAPE'],
      'conv1d batch norm relu, pool, dense': ['RESHAPE', 'CONV_2D', 'MAX_POOL_2D', 'DEPTHWISE_CONV_2D', 'MEAN', 'FULLY_CONNECTED'],
      'residual add of sequences': ['RESHAPE', 'CONV_2D', 'ADD', 'RESHAPE'],
      'reshape to a sequence': ['RESHAPE', 'CONV_2D', 'RESHAPE'],
      'reshape to a sequence at the end': ['RELU', 'RESHAPE'],
      'transposed conv batch norm relu': ['TRANSPOSE_CONV'],
      'transposed conv relu6': ['TRANSPOSE_CONV'],
      'transposed conv relu into a concat': ['TRANSPOSE_CONV', 'RELU', 'TRANSPOSE_CONV', 'CONCATENATION'],
      'multiply relu': ['DEPTHWISE_CONV_2D', 'MUL'],
      'squeeze and excitation': ['MEAN', 'FULLY_CONNECTED', 'LOGISTIC', 'MUL'],
    };
    const cases = newerCases().filter(({ name }) => name in expected);
    expect(cases).to.have.length(Object.keys(expected).length);
    for (const { name, model, shape } of cases) {
      const tflite = await convertToInt8(model, { representativeData: randomDataset(shape, 10, 3) });
      expect(operatorsOf(tflite), name).to.deep.equal(expected[name]);
      expect(tflite.tensors[tflite.inputs[0]!]!.shape, name).to.deep.equal([1, ...shape]);
      expect(tflite.tensors[tflite.outputs[0]!]!.name, name).to.equal(model.graph.nodes.at(-1)!.name);
      expect(new Set(tflite.tensors.map((each) => each.name)).size, name).to.equal(tflite.tensors.length);
    }
  });
});
