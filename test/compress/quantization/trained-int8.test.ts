import { expect } from 'chai';
import { describe, it } from 'mocha';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import type { Dataset } from '#lib/data/types.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { runInt8 } from '#lib/evaluate/int8.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { inferShapes } from '#lib/graph/shapes.js';
import type { Shape } from '#lib/graph/types.js';
import { fit } from '#lib/train/fit.js';
import { meanSquaredError } from '#lib/train/losses.js';
import { sgd } from '#lib/train/optimizers.js';
import { randomDataset } from '../../support/int8-graphs.js';

const IMAGE: Shape = [6, 6, 3];
const SEQUENCE: Shape = [12, 3];
const STEPS = 100;
const BATCH = 16;

type Build = (g: GraphBuilder, x: Value) => Value;

const conv = { filters: 4, kernelSize: 3, padding: 'same' } as const;

/** The nets of the reference's test, and those of the layers that it leaves out. */
const NETS: Readonly<Record<string, readonly [Shape, Build]>> = {
  conv: [IMAGE, (g, x) => g.conv2d(x, conv)],
  dense: [[10], (g, x) => g.dense(x, { units: 6 })],
  'conv, relu': [IMAGE, (g, x) => g.relu(g.conv2d(x, conv))],
  'five stacked convs': [
    IMAGE,
    (g, x) => Array.from({ length: 5 }).reduce<Value>((value) => g.conv2d(value, { ...conv, activation: 'relu' }), x),
  ],
  'conv, batch norm, relu': [IMAGE, (g, x) => g.relu(g.batchNorm(g.conv2d(x, conv)))],
  'depthwise, batch norm, relu': [IMAGE, (g, x) => g.relu(g.batchNorm(g.depthwiseConv2d(x, { kernelSize: 3 })))],
  'separable 2-D': [IMAGE, (g, x) => g.separableConv2d(x, conv)],
  'separable 1-D': [SEQUENCE, (g, x) => g.separableConv1d(x, conv)],
  'separable 1-D, batch norm, relu, twice': [
    SEQUENCE,
    (g, x) => [1, 2].reduce<Value>((value) => g.relu(g.batchNorm(g.separableConv1d(value, { ...conv, useBias: false }))), x),
  ],
  'nearest upsampling': [IMAGE, (g, x) => g.upSampling2d(x)],
  'transposed conv': [IMAGE, (g, x) => g.conv2dTranspose(x, { ...conv, strides: 2 })],
  'transposed conv, batch norm, relu': [IMAGE, (g, x) => g.relu(g.batchNorm(g.conv2dTranspose(x, conv)))],
  'conv1d, leaky relu': [SEQUENCE, (g, x) => g.leakyRelu(g.conv1d(x, conv))],
  'conv, hard-swish': [IMAGE, (g, x) => g.hardSwish(g.conv2d(x, conv))],
  'conv, sigmoid': [IMAGE, (g, x) => g.sigmoid(g.conv2d(x, conv))],
  'conv, tanh': [IMAGE, (g, x) => g.tanh(g.conv2d(x, conv))],
  'squeeze and excitation': [IMAGE, (g, x) => g.multiply(g.conv2d(x, conv), g.sigmoid(g.dense(g.globalAveragePool2d(x), { units: 4 })))],
  'concat of convs': [IMAGE, (g, x) => g.concat([g.relu(g.conv2d(x, conv)), g.conv2d(x, conv), x])],
};

function withTargets(data: Dataset, outputs: number): Dataset {
  return { ...data, y: randomDataset([outputs], data.size, 77).x };
}

describe('trained models in int8', () => {
  for (const [name, [shape, build]] of Object.entries(NETS)) {
    it(`Q19: after ${STEPS} steps of SGD on random data, ${name} and its int8 file agree to 0.1`, async () => {
      const builder = new GraphBuilder(name);
      const graph = builder.build(build(builder, builder.input(shape)));
      const model = quantizeModel(createModel(graph, { seed: 5 }), { onNotice: () => undefined });
      const outputs = inferShapes(graph)
        .get(graph.nodes.at(-1)!.name)!
        .reduce((product, dimension) => product * dimension, 1);
      const train = withTargets(randomDataset(shape, STEPS * BATCH, 6), outputs);
      const { epochs } = await fit(model, {
        train,
        epochs: 1,
        batchSize: BATCH,
        loss: meanSquaredError(),
        optimizer: sgd({ learningRate: 0.05 }),
      });
      expect(epochs[0]!.steps).to.equal(STEPS);
      const { x } = randomDataset(shape, 40, 8);
      const [fake, int8] = [await predict(model, x), await runInt8(await convertToInt8(model), x)];
      const worst = Math.max(...int8.map((value, i) => Math.abs(value - fake[i]!) / Math.max(1, Math.abs(fake[i]!))));
      expect(new Set(int8).size).to.be.above(8); // no dead net
      expect(worst).to.be.below(0.1);
    });
  }
});
