import type { Dataset } from '#lib/data/types.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import type { Shape } from '#lib/graph/types.js';
import { randomNumbers } from './random.js';

/** Inputs in [−1, 1.5), labels 0. */
export function randomDataset(inputShape: Shape, size: number, seed: number): Dataset {
  const random = randomNumbers(seed);
  const length = size * inputShape.reduce((product, dimension) => product * dimension, 1);
  return { name: 'random', size, inputShape, x: Float32Array.from({ length }, () => random() * 2.5 - 1), y: new Int32Array(size) };
}

/** A model with random biases and batch norms (γ of both signs if asked for), as if it had been trained. */
export function trainedModel(name: string, shape: Shape, build: (g: GraphBuilder, x: Value) => Value, negativeGamma = false): Model {
  const builder = new GraphBuilder(name);
  const model = createModel(builder.build(build(builder, builder.input(shape))), { seed: 7 });
  const random = randomNumbers(11);
  for (const [tensor, { data }] of model.tensors) {
    for (let i = 0; i < data.length; i++) {
      if (/\/(bias|beta|moving_mean)$/.test(tensor)) data[i] = random() - 0.5;
      if (/\/moving_variance$/.test(tensor)) data[i] = random() + 0.2;
      if (/\/gamma$/.test(tensor)) data[i] = (random() + 0.2) * (negativeGamma && random() < 0.4 ? -1 : 1);
    }
  }
  return model;
}

export interface Int8Case {
  readonly name: string;
  readonly model: Model;
  readonly shape: Shape;
}

const IMAGE: Shape = [9, 7, 5];

/** Small graphs that together have every operator, padding, stride, dilation and fusion that classical nets are converted to. */
export function int8Cases(): Int8Case[] {
  const cases: Int8Case[] = [];
  const add = (name: string, shape: Shape, build: (g: GraphBuilder, x: Value) => Value, negativeGamma = false): void => {
    cases.push({ name, shape, model: trainedModel(name, shape, build, negativeGamma) });
  };
  for (const padding of ['same', 'valid'] as const) {
    for (const strides of [1, 2, [2, 1]] as const) {
      const stride = typeof strides === 'number' ? strides : strides.join('x');
      add(`conv 3x3 ${padding} stride ${stride}`, IMAGE, (g, x) => g.conv2d(x, { filters: 6, kernelSize: 3, strides, padding }));
      add(`depthwise 3x3 ${padding} stride ${stride}`, IMAGE, (g, x) => g.depthwiseConv2d(x, { kernelSize: 3, strides, padding }));
    }
    add(`conv 3x2 ${padding} dilation 2`, IMAGE, (g, x) => g.conv2d(x, { filters: 4, kernelSize: [3, 2], dilation: 2, padding }));
    add(`depthwise 3x3 ${padding} dilation 2`, IMAGE, (g, x) => g.depthwiseConv2d(x, { kernelSize: 3, dilation: 2, padding }));
    add(`depthwise multiplier 2 ${padding}`, IMAGE, (g, x) => g.depthwiseConv2d(x, { kernelSize: 3, depthMultiplier: 2, padding }));
    add(`average pool 2x2 ${padding}`, IMAGE, (g, x) => g.averagePool2d(x, { poolSize: 2, padding }));
    add(`average pool 3x3 stride 2 ${padding}`, IMAGE, (g, x) => g.averagePool2d(x, { poolSize: 3, strides: 2, padding }));
    add(`max pool 2x2 ${padding}`, IMAGE, (g, x) => g.maxPool2d(x, { poolSize: 2, padding }));
    add(`max pool 3x3 stride 2 ${padding}`, IMAGE, (g, x) => g.maxPool2d(x, { poolSize: 3, strides: 2, padding }));
  }
  add('conv 1x1', IMAGE, (g, x) => g.conv2d(x, { filters: 40, kernelSize: 1 }));
  add('conv 1x1 stride 2', IMAGE, (g, x) => g.conv2d(x, { filters: 3, kernelSize: 1, strides: 2 }));
  add('conv relu', IMAGE, (g, x) => g.conv2d(x, { filters: 8, kernelSize: 3, activation: 'relu' }));
  add('conv relu6', IMAGE, (g, x) => g.conv2d(x, { filters: 8, kernelSize: 3, activation: 'relu6' }));
  add('conv batch norm relu', IMAGE, (g, x) => g.relu(g.batchNorm(g.conv2d(x, { filters: 8, kernelSize: 3, useBias: false }))), true);
  add('depthwise batch norm relu6', IMAGE, (g, x) => g.relu6(g.batchNorm(g.depthwiseConv2d(x, { kernelSize: 3, padding: 'same' }))), true);
  add('dense', [20], (g, x) => g.dense(x, { units: 12 }));
  add('dense relu', [33], (g, x) => g.dense(x, { units: 40, activation: 'relu' }));
  add('dense batch norm relu', [20], (g, x) => g.relu(g.batchNorm(g.dense(x, { units: 12 }))), true);
  add('batch norm of an image', IMAGE, (g, x) => g.batchNorm(x), true);
  add('batch norm of a vector', [10], (g, x) => g.relu(g.batchNorm(x)), true);
  add('residual add', IMAGE, (g, x) => g.add(g.conv2d(x, { filters: 5, kernelSize: 3, padding: 'same' }), x));
  add('residual add relu', IMAGE, (g, x) => g.relu(g.add(x, g.depthwiseConv2d(x, { kernelSize: 3, padding: 'same' }))));
  add('global average pool', IMAGE, (g, x) => g.globalAveragePool2d(x));
  add('pad, conv', IMAGE, (g, x) => g.conv2d(g.zeroPad2d(x, { padding: [[1, 2], [0, 3]] }), { filters: 4, kernelSize: 3 })); // prettier-ignore
  add('relu alone', IMAGE, (g, x) => g.relu(g.maxPool2d(x)));
  add('relu6 alone', IMAGE, (g, x) => g.relu6(g.maxPool2d(x)));
  add('flatten, dense', [4, 3, 2], (g, x) => g.dense(g.flatten(x), { units: 6 }));
  add('reshape, conv', [24], (g, x) => g.conv2d(g.reshape(x, [4, 3, 2]), { filters: 3, kernelSize: 2 }));
  add('dropout, dense', [16], (g, x) => g.dense(g.dropout(x, { rate: 0.5 }), { units: 3 }));
  add('dense, softmax', [20], (g, x) => g.softmax(g.dense(x, { units: 12 })));
  return cases;
}

const SEQUENCE: Shape = [17, 4];

/** The same for 1-D, transposed, upsampling, concat, multiply and activation layers. */
export function newerCases(): Int8Case[] {
  const cases: Int8Case[] = [];
  const add = (name: string, shape: Shape, build: (g: GraphBuilder, x: Value) => Value, negativeGamma = false): void => {
    cases.push({ name, shape, model: trainedModel(name, shape, build, negativeGamma) });
  };
  for (const padding of ['same', 'valid', 'causal'] as const) {
    add(`conv1d 3 ${padding}`, SEQUENCE, (g, x) => g.conv1d(x, { filters: 6, kernelSize: 3, padding }));
    add(`conv1d 4 ${padding} stride 2`, SEQUENCE, (g, x) => g.conv1d(x, { filters: 6, kernelSize: 4, strides: 2, padding }));
    add(`depthwise conv1d 3 ${padding} dilation 2`, SEQUENCE, (g, x) => g.depthwiseConv1d(x, { kernelSize: 3, dilation: 2, padding }));
  }
  for (const padding of ['same', 'valid'] as const) {
    add(`average pool 1d ${padding}`, SEQUENCE, (g, x) => g.averagePool1d(x, { poolSize: 3, strides: 2, padding }));
    add(`max pool 1d ${padding}`, SEQUENCE, (g, x) => g.maxPool1d(x, { padding }));
    for (const strides of [1, 2, [3, 1]] as const) {
      const stride = typeof strides === 'number' ? strides : strides.join('x');
      add(`transposed conv 3x2 ${padding} stride ${stride}`, IMAGE, (g, x) =>
        g.conv2dTranspose(x, { filters: 6, kernelSize: [3, 2], strides, padding }),
      );
    }
  }
  add('conv1d batch norm relu, pool, dense', SEQUENCE, (g, x) => {
    x = g.maxPool1d(g.relu(g.batchNorm(g.conv1d(x, { filters: 8, kernelSize: 3, useBias: false }))));
    return g.dense(g.globalAveragePool1d(g.depthwiseConv1d(x, { kernelSize: 3, depthMultiplier: 2, activation: 'relu' })), { units: 5 });
  }, true); // prettier-ignore
  add('separable conv1d', SEQUENCE, (g, x) => g.separableConv1d(x, { filters: 5, kernelSize: 3, padding: 'same' }));
  add('sequence in, flatten', SEQUENCE, (g, x) => g.dense(g.flatten(g.relu(x)), { units: 3 }));
  add('reshape to a sequence', [36], (g, x) => g.conv1d(g.reshape(x, [12, 3]), { filters: 4, kernelSize: 3 }));
  add('reshape to a sequence at the end', [36], (g, x) => g.reshape(g.relu(x), [12, 3]));
  add('residual add of sequences', SEQUENCE, (g, x) => g.add(x, g.conv1d(x, { filters: 4, kernelSize: 3, padding: 'same' })));
  add('batch norm of a sequence', SEQUENCE, (g, x) => g.batchNorm(x), true);
  const up = (g: GraphBuilder, x: Value): Value => g.conv2dTranspose(x, { filters: 4, kernelSize: 3, strides: 2, padding: 'same' });
  add('transposed conv batch norm', IMAGE, (g, x) => g.batchNorm(up(g, x)), true);
  add('transposed conv batch norm relu', IMAGE, (g, x) => g.relu(g.batchNorm(up(g, x))), true);
  add('transposed conv relu6', IMAGE, (g, x) => g.relu6(up(g, x)));
  add('transposed conv relu into a concat', IMAGE, (g, x) => g.concat([g.relu(up(g, x)), up(g, x)]));
  for (const size of [2, [3, 2]] as const) {
    const factor = typeof size === 'number' ? size : size.join('x');
    add(`nearest upsampling ${factor}`, IMAGE, (g, x) => g.upSampling2d(x, { size }));
    add(`bilinear upsampling ${factor}`, IMAGE, (g, x) => g.upSampling2d(x, { size, interpolation: 'bilinear' }));
  }
  add('sigmoid', IMAGE, (g, x) => g.sigmoid(x));
  add('tanh', IMAGE, (g, x) => g.tanh(x));
  add('hard-swish', IMAGE, (g, x) => g.hardSwish(x));
  add('leaky relu', IMAGE, (g, x) => g.leakyRelu(x));
  add('conv, sigmoid', IMAGE, (g, x) => g.sigmoid(g.conv2d(x, { filters: 4, kernelSize: 3 })));
  add('dense, tanh', [20], (g, x) => g.tanh(g.dense(x, { units: 12 })));
  add('conv, hard-swish', IMAGE, (g, x) => g.hardSwish(g.conv2d(x, { filters: 4, kernelSize: 3 })));
  add('conv, leaky relu', IMAGE, (g, x) => g.leakyRelu(g.conv2d(x, { filters: 4, kernelSize: 3 }), { alpha: 0.1 }));
  add('multiply', IMAGE, (g, x) => g.multiply(x, g.conv2d(x, { filters: 5, kernelSize: 3, padding: 'same' })));
  add('multiply relu', IMAGE, (g, x) => g.relu(g.multiply(x, g.depthwiseConv2d(x, { kernelSize: 3, padding: 'same' }))));
  const gate = (g: GraphBuilder, x: Value): Value => g.sigmoid(g.dense(g.globalAveragePool2d(x), { units: 5 }));
  add('squeeze and excitation', IMAGE, (g, x) => g.multiply(x, gate(g, x)));
  add('squeeze and excitation with an image of a gate', IMAGE, (g, x) => g.multiply(x, g.reshape(gate(g, x), [1, 1, 5])));
  add('gated sequence', SEQUENCE, (g, x) => g.multiply(x, g.sigmoid(g.globalAveragePool1d(x))));
  add('concat of convolutions', IMAGE, (g, x) =>
    g.concat([g.conv2d(x, { filters: 3, kernelSize: 3, padding: 'same' }), g.relu(g.conv2d(x, { filters: 4, kernelSize: 1 }))]),
  );
  add('concat with what cannot take its scale', IMAGE, (g, x) => {
    const conv = g.conv2d(x, { filters: 4, kernelSize: 3, padding: 'same' });
    const pooled = g.maxPool2d(g.relu(conv), { poolSize: 3, strides: 1, padding: 'same' });
    return g.concat([x, conv, g.tanh(conv), pooled, g.concat([x, g.conv2d(x, { filters: 2, kernelSize: 1 })])]);
  });
  add('concat of sequences and vectors', SEQUENCE, (g, x) => {
    const sequence = g.concat([x, g.conv1d(x, { filters: 3, kernelSize: 3, padding: 'same' })]);
    return g.concat([g.globalAveragePool1d(sequence), g.dense(g.flatten(x), { units: 4 })]);
  });
  return cases;
}
