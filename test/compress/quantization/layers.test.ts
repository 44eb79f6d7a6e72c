import { expect } from 'chai';
import { describe, it } from 'mocha';
import { quantizeAnnotateLayer } from '#lib/compress/quantization/annotate.js';
import { quantizeApply, quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import type { Dataset } from '#lib/data/types.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { runInt8 } from '#lib/evaluate/int8.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import type { Model } from '#lib/graph/model.js';
import { inferShapes } from '#lib/graph/shapes.js';
import { dsCnn, lenet5, mobilenetV1, resnet8 } from '#lib/graph/zoo/index.js';
import { calibrate } from '#lib/train/calibrate.js';
import { fit } from '#lib/train/fit.js';
import { meanSquaredError } from '#lib/train/losses.js';
import { adam, sgd } from '#lib/train/optimizers.js';
import { int8Cases, randomDataset, trainedModel } from '../../support/int8-graphs.js';
import { smallCnn, valuesOf } from '../../support/models.js';
import { randomNumbers } from '../../support/random.js';

const size = (shape: readonly number[]): number => shape.reduce((product, length) => product * length, 1);

/** Every value that flows is int8; weights and biases are int8 and int32. */
function expectFullInteger({ tensors, inputs, outputs }: TfliteModel): void {
  for (const index of [...inputs, ...outputs]) expect(tensors[index]!.dtype).to.equal('int8');
  for (const { name, dtype, data } of tensors) expect(dtype, name).to.be.oneOf(data === undefined ? ['int8'] : ['int8', 'int32']);
}

/** Largest difference between the fake-quantized model and its file, in steps of the output. */
async function stepsApart(model: Model, tflite: TfliteModel, x: Float32Array): Promise<number> {
  const step = tflite.tensors[tflite.outputs[0]!]!.scale[0]!;
  const [fake, int8] = [await predict(model, x), await runInt8(tflite, x)];
  return Math.max(...int8.map((value, i) => Math.abs(value - fake[i]!))) / step;
}

describe('every layer type', () => {
  for (const { name, model, shape } of int8Cases()) {
    it(`Q17: ${name}: converts after quantization-aware training without a float tensor, and without data`, async () => {
      const quantized = quantizeModel(model);
      const inputs = randomDataset(shape, 40, 3);
      await calibrate(quantized, inputs);
      // A padding or flattening alone has no range of its own: the input's serves.
      expect(quantized.quantizers.size).to.be.above(0);
      expectFullInteger(await convertToInt8(quantized));
    });
  }
});

/** The networks of the reference's test that consist of layers we have. */
const networks: Readonly<Record<string, (g: GraphBuilder, x: Value) => Value>> = {
  convolution: (g, x) => g.conv2d(x, { filters: 5, kernelSize: 3 }),
  dense: (g, x) => g.dense(g.flatten(x), { units: 6 }),
  'convolution, ReLU': (g, x) => g.conv2d(x, { filters: 5, kernelSize: 3, activation: 'relu' }),
  'convolution, ReLU6': (g, x) => g.conv2d(x, { filters: 5, kernelSize: 3, activation: 'relu6' }),
  'five convolutions': (g, x) => {
    for (let i = 0; i < 5; i++) x = g.conv2d(x, { filters: 4, kernelSize: 3, padding: 'same', activation: 'relu' });
    return x;
  },
  'convolution, batch norm, ReLU': (g, x) => g.relu(g.batchNorm(g.conv2d(x, { filters: 5, kernelSize: 3 }))),
  'depthwise, batch norm, ReLU': (g, x) => g.relu(g.batchNorm(g.depthwiseConv2d(x, { kernelSize: 3 }))),
  'depthwise, pointwise, batch norm, ReLU': (g, x) =>
    g.relu(g.batchNorm(g.conv2d(g.depthwiseConv2d(x, { kernelSize: 3, useBias: false }), { filters: 6, kernelSize: 1 }))),
};

describe('trained networks and their int8 files', () => {
  for (const [name, build] of Object.entries(networks)) {
    it(`Q19: ${name}: agree after 100 steps of SGD on random data`, async () => {
      const model = quantizeModel(trainedModel(name, [8, 8, 3], build));
      const inputs = randomDataset([8, 8, 3], 100, 9);
      const width = size(inferShapes(model.graph).get(model.graph.nodes.at(-1)!.name)!);
      const random = randomNumbers(12);
      const train: Dataset = { ...inputs, y: Float32Array.from({ length: 100 * width }, () => random()) };
      await fit(model, { train, epochs: 10, batchSize: 10, optimizer: sgd({ learningRate: 0.01 }), loss: meanSquaredError(), threads: 1 });
      const tflite = await convertToInt8(model);
      const { x } = randomDataset([8, 8, 3], 20, 10);
      const [fake, int8] = [await predict(model, x), await runInt8(tflite, x)];
      // The reference's bound, absolute or relative.
      int8.forEach((value, i) => expect(value).to.be.closeTo(fake[i]!, 0.1 + 0.1 * Math.abs(fake[i]!)));
      // And ours: a step for each layer that rounds.
      expect(await stepsApart(model, tflite, x)).to.be.at.most(name === 'five convolutions' ? 5 : 2);
    });
  }
});

describe('architectures of the zoo', () => {
  const architectures: readonly (readonly [name: string, model: Model])[] = [
    ['MobileNet v1', mobilenetV1({ alpha: 0.25, inputShape: [32, 32, 3], classes: 5, seed: 1 })],
    ['ResNet-8', resnet8({ seed: 1 })],
    ['DS-CNN-S', dsCnn({ size: 'S', classes: 5, seed: 1 })],
    ['LeNet-5', lenet5({ seed: 1 })],
  ];
  for (const [name, { graph, ...state }] of architectures) {
    it(`Q18: ${name} quantizes with its names, trains a step, converts and runs`, async () => {
      // Moving statistics that follow in a few steps; otherwise an untrained network answers a constant.
      const nodes = graph.nodes.map((node) => (node.op === 'batchNorm' ? { ...node, momentum: 0.5 } : node));
      const model: Model = { ...state, graph: { ...graph, nodes } };
      const shapes = inferShapes(model.graph);
      const [input, output] = [model.graph.nodes[0]!, model.graph.nodes.at(-1)!].map(({ name: node }) => shapes.get(node)!);
      const data = { ...randomDataset(input!, 8, 4), y: Int32Array.from({ length: 8 }, (_, i) => i % output![0]!) };
      const train = (source: Model, steps: number) =>
        fit(source, { train: data, epochs: steps, batchSize: 8, optimizer: adam({ learningRate: 1e-3 }), threads: 1 });
      await train(model, 20);
      const quantized = quantizeModel(model);
      expect(quantized.graph, 'names and all').to.equal(model.graph);
      await train(quantized, 1);
      for (const kernel of quantized.chains.keys()) {
        expect(valuesOf(quantized, kernel), kernel).to.not.deep.equal(valuesOf(model, kernel));
      }
      const tflite = await convertToInt8(quantized);
      expectFullInteger(tflite);
      const logits = await runInt8(tflite, data.x);
      expect(logits).to.have.length(8 * size(output!));
      const answers = (values: Float32Array): number[] =>
        Array.from({ length: 8 }, (_, row) => {
          const scores = values.subarray(row * size(output!), (row + 1) * size(output!));
          return scores.indexOf(Math.max(...scores));
        });
      const same = answers(await predict(quantized, data.x)).filter((answer, row) => answer === answers(logits)[row]);
      expect(same.length, 'rows answered as in the simulation').to.be.at.least(7);
      expect(new Set(answers(logits)).size, 'it answers the input').to.be.above(1);
    });
  }
});

describe('models that are quantized in part', () => {
  it('Q7: layers without annotation convert by their content, the others by their training', async () => {
    const model = quantizeApply(quantizeAnnotateLayer(smallCnn(), ['conv1', 'dw']));
    const data = randomDataset([8, 8, 3], 40, 5);
    await calibrate(model, data);
    const trained = valuesOf(model, 'relu1:max')[0]! * 2; // as if training had widened it
    valuesOf(model, 'relu1:max')[0] = trained;
    const tflite = await convertToInt8(model, { representativeData: data });
    expectFullInteger(tflite);
    expect(tflite.tensors.find((tensor) => tensor.name === 'relu1')?.scale[0]).to.equal(Math.fround(trained / 255));
    const [fake, int8] = [await predict(model, data.x), await runInt8(tflite, data.x)];
    const range = Math.max(...fake) - Math.min(...fake);
    expect(Math.max(...int8.map((value, i) => Math.abs(value - fake[i]!))) / range).to.be.below(0.03);
  });
});
