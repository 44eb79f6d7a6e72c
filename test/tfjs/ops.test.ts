import { expect } from 'chai';
import { describe, it } from 'mocha';
import { createModel, type Dataset, GraphBuilder, meanSquaredError, type Model, predict, sgd, type Value } from '#lib/index.js';
import { Random } from '#lib/graph/random.js';
import { elementCount } from '#lib/graph/shapes.js';
import { runTfjs } from '#lib/tfjs/index.js';
import { relativeDistance, tf, trainBoth } from './support.js';

const ROWS = 3;

/** Seeded values in [-1, 1). */
function values(count: number, stream: string): Float32Array {
  const random = new Random(1, stream);
  return Float32Array.from({ length: count }, () => 2 * random.uniform() - 1);
}

/** Every parameter different from its neutral start: biases, scales and statistics too. */
function randomized(model: Model, scale: number): Model {
  for (const [name, { data }] of model.tensors) {
    values(data.length, name).forEach((value, i) => {
      data[i] = name.endsWith('gamma') || name.endsWith('variance') ? 1 + value / 2 : value * scale;
    });
  }
  return model;
}

/** dense → reshape to `shape` → the operator → flat: what is before the operator gets its gradient. */
function netOf(shape: readonly number[], op: (g: GraphBuilder, x: Value) => Value, scale = 0.8): Model {
  const g = new GraphBuilder('op');
  const start = g.dense(g.input([5]), { name: 'before', units: elementCount(shape) });
  const y = op(g, shape.length === 1 ? start : g.reshape(start, shape));
  const flat = y.shape.length === 1 ? y : g.flatten(y);
  return randomized(createModel(g.build(flat)), scale);
}

/** Forward in inference mode, and the gradients of every parameter: plain SGD of rate 1 keeps them as its velocity. */
async function check(model: Model): Promise<void> {
  const x = values(ROWS * 5, 'x');
  const expected = await predict(model, x, { threads: 1 });
  expect(relativeDistance(await runTfjs(tf, model, x), expected), 'output').to.be.at.most(1e-6);
  const y = values(expected.length, 'y');
  const train: Dataset = { name: 'op', size: ROWS, inputShape: [5], x, y };
  const options = { train, epochs: 1, batchSize: ROWS, loss: meanSquaredError(), optimizer: sgd({ learningRate: 1 }) };
  const { distances, native } = await trainBoth(model, options);
  for (const [name, [velocity]] of native.optimizer!.slots) expect(Math.max(...velocity.map(Math.abs)), name).to.be.above(1e-5);
  for (const [name, distance] of distances) expect(distance, name).to.be.at.most(1e-5);
}

describe('tfjs operators, output and gradients against the native core', () => {
  const image = [5, 6, 3];
  const kernel = (useBias: boolean) => ({ filters: 4, kernelSize: [3, 2] as const, useBias });

  for (const padding of ['same', 'valid'] as const) {
    for (const [what, options] of [
      ['', {}],
      [', strides 2', { strides: 2 }],
      [', strides 1 and 3', { strides: [1, 3] as const }],
      [', dilation 2', { dilation: 2 }],
      [', dilation 1 and 3', { dilation: [1, 3] as const }],
    ] as const) {
      it(`conv2d ${padding}${what}`, () => check(netOf(image, (g, x) => g.conv2d(x, { ...kernel(true), padding, ...options }))));
      for (const depthMultiplier of [1, 2]) {
        it(`depthwiseConv2d ${padding}, multiplier ${depthMultiplier}${what}`, () =>
          check(netOf(image, (g, x) => g.depthwiseConv2d(x, { kernelSize: [3, 2], padding, depthMultiplier, ...options }))));
      }
    }
    for (const [what, options] of [
      ['', { kernelSize: 3 }],
      [', strides 2', { kernelSize: [3, 2] as const, strides: 2 }],
      [', strides beyond the window', { kernelSize: 2, strides: 3 }],
    ] as const) {
      it(`conv2dTranspose ${padding}${what}`, () =>
        check(netOf([3, 4, 3], (g, x) => g.conv2dTranspose(x, { filters: 2, padding, ...options }))));
    }
    it(`pools ${padding}`, async () => {
      for (const pool of [{ poolSize: 2 }, { poolSize: 3, strides: 2 }, { poolSize: [2, 3] as const, strides: [1, 2] as const }]) {
        await check(netOf(image, (g, x) => g.averagePool2d(x, { ...pool, padding })));
        await check(netOf(image, (g, x) => g.maxPool2d(x, { ...pool, padding })));
      }
      await check(netOf([7, 3], (g, x) => g.averagePool1d(x, { poolSize: 3, strides: 2, padding })));
      await check(netOf([7, 3], (g, x) => g.maxPool1d(x, { poolSize: 3, strides: 2, padding })));
    });
  }

  it('conv2d without bias, and 1×1', async () => {
    await check(netOf(image, (g, x) => g.conv2d(x, { ...kernel(false) })));
    await check(netOf(image, (g, x) => g.conv2d(x, { filters: 4, kernelSize: 1 })));
  });

  for (const padding of ['same', 'valid', 'causal'] as const) {
    it(`conv1d and depthwiseConv1d, ${padding}`, async () => {
      for (const window of [{}, { strides: 2 }, { dilation: 2 }]) {
        await check(netOf([8, 3], (g, x) => g.conv1d(x, { filters: 4, kernelSize: 3, padding, ...window })));
        await check(netOf([8, 3], (g, x) => g.depthwiseConv1d(x, { kernelSize: 3, padding, depthMultiplier: 2, ...window })));
      }
    });
  }

  it('dense, with and without bias', async () => {
    await check(netOf([7], (g, x) => g.dense(x, { units: 4 })));
    await check(netOf([7], (g, x) => g.dense(x, { units: 4, useBias: false })));
  });

  it('batchNorm over images, sequences and rows', async () => {
    await check(netOf(image, (g, x) => g.batchNorm(x, { momentum: 0.9 })));
    await check(netOf([6, 3], (g, x) => g.batchNorm(x, { epsilon: 0.01 })));
    // A bias right before it has no gradient, and few rows that are nearly equal would leave it to rounding.
    await check(netOf([9], (g, x) => g.batchNorm(g.tanh(x), { epsilon: 0.1 })));
  });

  for (const activation of ['relu', 'relu6', 'sigmoid', 'tanh', 'hardSwish'] as const) {
    // Values on both sides of every bend, up to about ±8.
    it(activation, () => check(netOf([60], (g, x) => g[activation](x), 4)));
  }

  it('leakyRelu', async () => {
    await check(netOf([30], (g, x) => g.leakyRelu(x)));
    await check(netOf([30], (g, x) => g.leakyRelu(x, { alpha: 1.5 })));
  });

  it('add and multiply, of one value with itself too', async () => {
    await check(netOf([7], (g, x) => g.add(g.dense(x, { units: 7 }), x)));
    await check(netOf([7], (g, x) => g.add(x, x)));
    await check(netOf([7], (g, x) => g.multiply(g.dense(x, { units: 7 }), x)));
    await check(netOf([7], (g, x) => g.multiply(x, x)));
  });

  for (const [input, gateShape] of [
    [image, [3]],
    [image, [1, 1, 3]],
    [[6, 3], [3]],
    [
      [6, 3],
      [1, 3],
    ],
  ]) {
    it(`multiply of [${input.join(', ')}] by a gate [${gateShape.join(', ')}]`, () =>
      check(
        netOf(input, (g, x) => {
          const mean = input.length === 3 ? g.globalAveragePool2d(x) : g.globalAveragePool1d(x);
          const gate = g.sigmoid(g.dense(mean, { units: 3 }));
          return g.multiply(x, gateShape.length === 1 ? gate : g.reshape(gate, gateShape));
        }),
      ));
  }

  it('concat of images and of rows', async () => {
    await check(netOf(image, (g, x) => g.concat([x, g.conv2d(x, { filters: 2, kernelSize: 1 }), x])));
    await check(netOf([4], (g, x) => g.concat([g.dense(x, { units: 3 }), x])));
  });

  it('globalAveragePool1d and globalAveragePool2d', async () => {
    await check(netOf([6, 3], (g, x) => g.globalAveragePool1d(x)));
    await check(netOf(image, (g, x) => g.globalAveragePool2d(x)));
  });

  for (const interpolation of ['nearest', 'bilinear'] as const) {
    it(`upSampling2d, ${interpolation}`, async () => {
      for (const size of [2, [3, 1], [1, 4]] as const) await check(netOf([3, 4, 2], (g, x) => g.upSampling2d(x, { size, interpolation })));
    });
  }

  it('zeroPad2d, reshape, flatten', () =>
    check(netOf(image, (g, x) => g.reshape(g.zeroPad2d(x, { padding: [[1, 2], [0, 3]] }), [9, 24])))); // prettier-ignore

  it('softmax', () => check(netOf([6], (g, x) => g.softmax(x))));

  it('dropout drops what the native core drops', () =>
    check(netOf([40], (g, x) => g.dropout(g.dropout(x, { rate: 0.3 }), { rate: 0.55 }))));
});
