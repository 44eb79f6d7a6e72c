import { expect } from 'chai';
import { describe, it } from 'mocha';
import { createModel, GraphBuilder, type Model, sgd, softmaxCrossEntropy, type Value } from '#lib/index.js';
import { Random } from '#lib/graph/random.js';
import { cloneModel } from '#lib/graph/model.js';
import { elementCount } from '#lib/graph/shapes.js';
import { TfjsEngine } from '#lib/tfjs/engine.js';
import { lower } from '#lib/train/lower.js';
import { ModelSession } from '#lib/train/model-session.js';
import { tf } from './support.js';

const CLASSES = 3;
const ROWS = 4;

type Maker = (g: GraphBuilder, x: Value, random: Random) => Value;
const pick = <T>(random: Random, choices: readonly T[]): T => choices[random.integer(choices.length)];
const pair = (random: Random, limit: number): [number, number] => [1 + random.integer(limit), 1 + random.integer(limit)];

/** Strides and dilation are not both above 1. */
function window(
  random: Random,
  padding: 'same' | 'valid',
): { padding: 'same' | 'valid'; strides: [number, number]; dilation: [number, number] } {
  const strided = random.integer(2) === 0;
  return { padding, strides: strided ? pair(random, 3) : [1, 1], dilation: strided ? [1, 1] : pair(random, 2) };
}

const onImages: readonly Maker[] = [
  (g, x, r) =>
    g.conv2d(x, {
      filters: 1 + r.integer(4),
      kernelSize: pair(r, 3),
      useBias: r.integer(2) === 0,
      ...window(r, pick(r, ['same', 'valid'])),
    }),
  (g, x, r) =>
    g.depthwiseConv2d(x, { kernelSize: pair(r, 3), depthMultiplier: 1 + r.integer(2), ...window(r, pick(r, ['same', 'valid'])) }),
  (g, x, r) =>
    g.conv2dTranspose(x, { filters: 1 + r.integer(3), kernelSize: pair(r, 3), strides: pair(r, 2), padding: pick(r, ['same', 'valid']) }),
  (g, x, r) => g.averagePool2d(x, { poolSize: pair(r, 3), strides: pair(r, 2), padding: pick(r, ['same', 'valid']) }),
  (g, x, r) => g.maxPool2d(x, { poolSize: pair(r, 3), strides: pair(r, 2), padding: pick(r, ['same', 'valid']) }),
  (g, x, r) => g.upSampling2d(x, { size: pair(r, 2), interpolation: pick(r, ['nearest', 'bilinear']) }),
  (g, x, r) => g.zeroPad2d(x, { padding: [[r.integer(3), r.integer(3)], [r.integer(2), r.integer(2)]] }), // prettier-ignore
  (g, x) => g.multiply(x, g.dense(g.globalAveragePool2d(x), { units: x.shape[2], activation: 'sigmoid' })),
  (g, x) => g.reshape(x, [x.shape[0] * x.shape[1], x.shape[2]]),
];
const onSequences: readonly Maker[] = [
  (g, x, r) =>
    g.conv1d(x, {
      filters: 1 + r.integer(4),
      kernelSize: 1 + r.integer(3),
      strides: 1 + r.integer(2),
      padding: pick(r, ['same', 'valid', 'causal']),
    }),
  (g, x, r) => g.depthwiseConv1d(x, { kernelSize: 1 + r.integer(3), dilation: 1 + r.integer(2), padding: pick(r, ['same', 'causal']) }),
  (g, x, r) => g.averagePool1d(x, { poolSize: 1 + r.integer(3), strides: 1 + r.integer(2), padding: pick(r, ['same', 'valid']) }),
  (g, x, r) => g.maxPool1d(x, { poolSize: 1 + r.integer(3), strides: 1 + r.integer(2), padding: pick(r, ['same', 'valid']) }),
];
const onAnything: readonly Maker[] = [
  (g, x, r) => g.batchNorm(x, { momentum: 0.9, epsilon: pick(r, [1e-3, 0.1]) }),
  (g, x, r) => g[pick(r, ['relu', 'relu6', 'sigmoid', 'tanh', 'hardSwish', 'leakyRelu'] as const)](x),
  (g, x, r) => g.dropout(x, { rate: r.uniform() * 0.6 }),
  (g, x) => g.add(x, g.tanh(x)),
  (g, x) => g.multiply(x, g.sigmoid(x)),
  (g, x) => g.concat([x, g.relu(x)]),
];

/** Up to eight operators, chosen at random; an operator that does not fit is left out. */
function randomNet(seed: number): Model {
  const random = new Random(seed, 'graph');
  const g = new GraphBuilder(`random ${seed}`);
  let x = g.input([3 + random.integer(5), 3 + random.integer(5), 1 + random.integer(3)]);
  for (let i = 0; i < 8; i++) {
    const makers = [...onAnything, ...(x.shape.length === 3 ? [...onImages, ...onImages] : [...onSequences, ...onSequences])];
    try {
      const y = pick(random, makers)(g, x, random);
      if (elementCount(y.shape) <= 400) x = y;
    } catch {
      // A window larger than its input.
    }
  }
  return createModel(g.build(g.dense(g.flatten(x), { units: CLASSES })), { seed });
}

describe('random graphs on tfjs and in the native core', () => {
  const count = Number(process.env.GRAPHS ?? 150);
  it(`${count} of them take the same step: within 1e-5 of the largest gradient`, async () => {
    for (let seed = 0; seed < count; seed++) {
      const model = randomNet(seed);
      const lowered = lower(model, { loss: softmaxCrossEntropy() });
      const random = new Random(seed, 'data');
      const x = Float32Array.from({ length: ROWS * elementCount(lowered.inputShape) }, () => 2 * random.uniform() - 1);
      const y = Int32Array.from({ length: ROWS }, () => random.integer(CLASSES));
      const [native, mine] = [cloneModel(model), cloneModel(model)];
      const options = { maxBatch: ROWS, optimizer: sgd().spec, seed };
      const one = new ModelSession(native, lowered, { ...options, threads: 1 });
      const other = new TfjsEngine(tf, mine, lowered, options);
      const [expected, actual] = [await one.train(x, y, { learningRate: 1 }), await other.train(x, y, { learningRate: 1 })];
      const where = `${seed}: ${model.graph.nodes.map(({ op }) => op).join(' ')}`;
      expect(actual.loss, where).to.be.closeTo(expected.loss, 1e-5 * Math.max(1, expected.loss));
      expect(actual.gradientNorm / expected.gradientNorm, where).to.be.closeTo(1, 1e-5);
      one.pullAll();
      other.pullAll();
      for (const [name, [velocity]] of native.optimizer!.slots) {
        const distances = velocity.map((value, i) => Math.abs(value - mine.optimizer!.slots.get(name)![0][i]));
        expect(Math.max(...distances), `${where}, gradient of ${name}`).to.be.at.most(1e-5 * expected.gradientNorm);
      }
      for (const [name, { data }] of native.tensors) {
        if (!name.includes('moving')) continue;
        data.forEach((value, i) =>
          expect(mine.tensors.get(name)!.data[i], `${where}, ${name}`).to.be.closeTo(value, 1e-5 * Math.max(1, Math.abs(value))),
        );
      }
      one.dispose();
      other.dispose();
    }
  });
});
