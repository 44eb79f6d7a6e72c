import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { OptimizerSpec, WeightChainSpec } from '../../binding.js';
import { ChainReference, type ChainCase, type ChainState } from './chain-reference.js';
import { distance, Net, product, uniform } from './support.js';
import { randomNumbers } from '../support/random.js';

const f = Math.fround;
const lr = f(0.05);
const sgd: OptimizerSpec = { kind: 'sgd', momentum: 0, nesterov: false };

interface Setup {
  readonly net: Net;
  readonly plain: Net;
  readonly reference: ChainReference;
  readonly initial: ChainState;
}

/** A layer with the chain, and the same layer with a plain kernel that gives the gradient of the used weight. */
function setUp(c: ChainCase, seed: number): Setup {
  const next = randomNumbers(seed);
  const count = product(c.shape);
  const channels = c.shape[c.shape.length - 1];
  const w = uniform(count, seed + 1);
  const mask = Uint8Array.from({ length: count }, () => (next() < 0.5 ? 0 : 1));
  const k = c.codebook?.k ?? 0;
  const rows = c.codebook?.perChannel ? channels : 1;
  const centroids = uniform(k * rows, seed + 2);
  const zeroIndex = Int32Array.from({ length: rows }, (_, r) => (rows > 1 && r === 0 ? -1 : Math.floor(next() * k)));
  // A codebook without a zero has no place for masked weights.
  if (rows > 1 && c.codebook?.zeroPin) mask.forEach((_, i) => i % channels === 0 && (mask[i] = 1));
  if (c.codebook?.zeroPin === 'equal') centroids[(zeroIndex[0] + 1) % k] = centroids[Math.max(zeroIndex[0], 0)];

  const build = (chained: boolean): Net => {
    const net = new Net(c.shape.length === 2 ? [c.shape[0]] : [5, 5, c.shape[2]]);
    const kernel = net.parameter('w', c.shape, w);
    if (c.shape.length === 2) net.add(0, [channels], { op: 'dense', kernel });
    else {
      const conv = net.add(0, [5 - c.shape[0] + 1, 5 - c.shape[1] + 1, channels], {
        op: 'conv2d',
        kernel,
        strides: [1, 1],
        padding: [0, 0, 0, 0],
        dilation: [1, 1],
      });
      net.add(conv, [channels], { op: 'globalAveragePool' });
    }
    net.meanSquaredError(net.output);
    if (!chained) return net;
    const chain: { -readonly [K in keyof WeightChainSpec]: WeightChainSpec[K] } = { weight: kernel };
    if (c.mask) chain.mask = { tensor: net.state('mask', c.shape, mask), ...c.mask };
    if (c.codebook) {
      const { perChannel, aggregation, zeroPin } = c.codebook;
      chain.codebook = {
        centroids: net.parameter('centroids', perChannel ? [channels, k] : [k], centroids),
        indices: net.state('indices', c.shape, new Int32Array(count)),
        perChannel,
        aggregation,
        ...(zeroPin ? { zeroPin, zeroIndex: net.state('zero', [rows], zeroIndex) } : {}),
      };
    }
    if (c.fakeQuant) {
      const n = c.fakeQuant.perChannel ? channels : 1;
      chain.fakeQuant = {
        min: net.state('min', [n], new Float32Array(n)),
        max: net.state('max', [n], new Float32Array(n)),
        ...c.fakeQuant,
      };
    }
    net.chains.push(chain);
    return net;
  };
  return {
    net: build(true),
    plain: build(false),
    reference: new ChainReference(c, mask, zeroIndex),
    initial: { w: [...w], centroids: [...centroids] },
  };
}

async function check(c: ChainCase, seed: number): Promise<void> {
  const { net, plain, reference, initial } = setUp(c, seed);
  const session = net.session({ optimizer: sgd, threads: 2 });
  const float = plain.session();
  let state = initial;
  const width = product(net.values[0].shape);
  const outputs = c.shape[c.shape.length - 1];
  for (let step = 1; step <= 3; ++step) {
    const x = uniform(3 * width, seed + 10 * step, 3);
    const y = uniform(3 * outputs, seed + 10 * step + 1, 3);
    const expected = reference.forward(state);

    await session.forward(x); // inference: the same function of the state, which stays as it is
    expect([...session.getUsedWeight(0)], 'inference').to.deep.equal(expected.used.map((v) => v + 0));
    expect([...session.getTensor(0)]).to.deep.equal(state.w);

    await session.trainStep(x, y, { learningRate: lr, step });
    expect([...session.getUsedWeight(0)], 'training').to.deep.equal(expected.used.map((v) => v + 0));
    if (c.codebook) expect([...session.getTensor(net.tensor('indices'))]).to.deep.equal(expected.indices);
    if (c.fakeQuant) {
      expect([...session.getTensor(net.tensor('min'))].map((v) => v + 0)).to.deep.equal(expected.min.map((v) => v + 0));
      expect([...session.getTensor(net.tensor('max'))]).to.deep.equal(expected.min.map((v) => 0 - v));
    }

    float.setTensor(0, session.getUsedWeight(0));
    await float.trainStep(x, y, { learningRate: 0, step, update: false });
    const gradients = reference.backward(state, float.getGradient(0));
    expect(
      [...session.getGradient(0)].map((v) => v + 0),
      'gradient of w',
    ).to.deep.equal(gradients.w.map((v) => v + 0));
    const written = reference.write(state);
    expect(
      distance(
        session.getTensor(0),
        written.w.map((v, i) => f(v - f(lr * gradients.w[i]))),
      ),
    ).to.be.below(1e-7);
    if (c.codebook) {
      const centroids = net.tensor('centroids');
      expect(distance(session.getGradient(centroids), gradients.centroids), 'gradient of C').to.be.below(2e-6);
      expect(
        distance(
          session.getTensor(centroids),
          written.centroids.map((v, i) => v - lr * gradients.centroids[i]),
        ),
      ).to.be.below(1e-6);
      state = { w: [...session.getTensor(0)], centroids: [...session.getTensor(centroids)] };
    } else {
      state = { w: [...session.getTensor(0)], centroids: [] };
    }
    expect(state.w.some((v, i) => v !== initial.w[i])).to.equal(true);
  }
}

const prune = { writeBack: true, maskGradient: false };
const preserve = { writeBack: false, maskGradient: true };

const cases: ChainCase[] = [];
for (const [layer, shape] of [
  ['dense', [12, 10]],
  ['conv', [3, 3, 4, 6]],
] as const) {
  cases.push({ name: `prune, ${layer}`, shape, mask: prune });
  for (const perChannel of [false, true]) {
    const suffix = `${perChannel ? 'per channel' : 'per tensor'}, ${layer}`;
    cases.push({ name: `QAT ${suffix}`, shape, fakeQuant: { perChannel } });
    cases.push({ name: `QAT with 4 bits ${suffix}`, shape, fakeQuant: { perChannel, bits: 4 } });
    cases.push({ name: `PQAT ${suffix}`, shape, mask: preserve, fakeQuant: { perChannel } });
    for (const aggregation of ['sum', 'average'] as const) {
      const codebook = { k: 5, perChannel, aggregation };
      cases.push({ name: `cluster, ${aggregation}, ${suffix}`, shape, codebook });
      cases.push({
        name: `sparsity-preserving cluster, ${aggregation}, ${suffix}`,
        shape,
        mask: preserve,
        codebook: { ...codebook, zeroPin: 'equal' },
      });
    }
    for (const scale of [false, true]) {
      const codebook = { k: 6, perChannel, aggregation: 'sum' } as const;
      const name = `${suffix}, range per ${scale ? 'channel' : 'tensor'}`;
      cases.push({ name: `CQAT ${name}`, shape, codebook, fakeQuant: { perChannel: scale } });
      cases.push({
        name: `PCQAT ${name}`,
        shape,
        mask: prune,
        codebook: { ...codebook, zeroPin: 'index' },
        fakeQuant: { perChannel: scale },
      });
    }
  }
}

describe('Weight chains against the straight-through formulas', () => {
  cases.forEach((c, i) => it(c.name, () => check(c, 100 * i)));

  it('follows the worked example of spec 4.5 for three steps', async () => {
    const net = new Net([2]);
    const kernel = net.parameter('O', [2, 3], Float32Array.of(0, 0.5, -0.25, 0.5, 0, 0.75));
    const mask = net.state('mask', [2, 3], Uint8Array.of(0, 1, 1, 1, 0, 1));
    const centroids = net.parameter('C', [4], Float32Array.of(0, 0.5, -0.25, 0.75));
    const indices = net.state('I', [2, 3], new Int32Array(6));
    const zeroIndex = net.state('zero', [1], Int32Array.of(0));
    const [min, max] = [net.state('min', [1], Float32Array.of(-6)), net.state('max', [1], Float32Array.of(6))];
    net.chains.push({
      weight: kernel,
      mask: { tensor: mask, ...prune },
      codebook: { centroids, indices, perChannel: false, zeroIndex, zeroPin: 'index', aggregation: 'sum' },
      fakeQuant: { min, max, perChannel: false },
    });
    net.meanSquaredError(net.add(0, [3], { op: 'dense', kernel }));
    const session = net.session({ optimizer: sgd });
    const dy = [1, -2, 0.5, 1, 3, -1];
    const identity = Float32Array.of(1, 0, 0, 1); // the output is the used weight
    const near = (actual: ArrayLike<number>, expected: number[]): Chai.Assertion => expect(distance(actual, expected)).to.be.below(2e-6);

    const step = async (t: number): Promise<{ codes: number[]; gradient: Float32Array }> => {
      // The gradient of the mean over 6 elements is (ŵ - target) / 3: this target makes it dy.
      const used = await session.forward(identity);
      await session.trainStep(
        identity,
        used.map((v, i) => v - 3 * dy[i]),
        { learningRate: 0.1, step: t },
      );
      const scale = (2 * session.getTensor(max)[0]) / 254;
      return { codes: [...session.getUsedWeight(0)].map((v) => Math.round(v / scale) + 0), gradient: session.getGradient(centroids) };
    };

    const first = await step(1);
    near(session.getTensor(max), [0.75]);
    expect(first.codes).to.deep.equal([0, 85, -42, 85, 0, 127]);
    near(session.getUsedWeight(0), [0, 0.5019685, -0.2480315, 0.5019685, 0, 0.75]);
    near(first.gradient, [4, -1, 0.5, -1]);
    near(session.getGradient(kernel), dy);
    near(session.getTensor(kernel), [-0.1, 0.7, -0.3, 0.4, -0.3, 0.85]);
    near(session.getTensor(centroids), [-0.4, 0.6, -0.3, 0.85]);

    const second = await step(2);
    expect([...session.getTensor(indices)]).to.deep.equal([0, 1, 2, 1, 0, 3]);
    near(session.getTensor(max), [0.85]);
    expect(second.codes).to.deep.equal([0, 90, -45, 90, 0, 127]);
    near(session.getTensor(kernel), [-0.1, 0.9, -0.35, 0.3, -0.3, 0.95]);
    near(session.getTensor(centroids), [-0.4, 0.7, -0.35, 0.95]);

    await step(3);
    expect([...session.getTensor(indices)]).to.deep.equal([0, 3, 2, 0, 0, 3]);
    near(session.getTensor(max), [0.95]);
    expect([...session.getUsedWeight(0)].filter((v) => v === 0).length).to.equal(3);
    expect(new Set([...session.getUsedWeight(0)].map((v) => v + 0)).size).to.equal(3);
  });

  it('adds the gradients of two layers that share a chained kernel', async () => {
    const gradient = async (split: boolean): Promise<Float32Array> => {
      const net = new Net([4]);
      const w = uniform(16, 1);
      const range = (name: string): number => net.state(name, [1], new Float32Array(1));
      const kernels = (split ? ['a', 'b'] : ['a']).map((name) => net.parameter(name, [4, 4], w));
      kernels.forEach((weight, i) =>
        net.chains.push({ weight, fakeQuant: { min: range(`min${i}`), max: range(`max${i}`), perChannel: false } }),
      );
      const first = net.add(0, [4], { op: 'dense', kernel: kernels[0] });
      net.meanSquaredError(net.add(first, [4], { op: 'dense', kernel: kernels[kernels.length - 1] }));
      const session = net.session();
      await session.trainStep(uniform(8, 2), uniform(8, 3), { learningRate: 0, step: 1, update: false });
      const [a, b] = kernels.map((k) => session.getGradient(k));
      return b === undefined ? a : a.map((v, i) => v + b[i]);
    };
    expect(distance(await gradient(false), await gradient(true))).to.be.below(1e-6);
  });

  it('trains the centroids of a frozen weight', async () => {
    const { net } = setUp({ name: '', shape: [12, 10], codebook: { k: 5, perChannel: false, aggregation: 'sum' } }, 7);
    net.tensors[0] = { ...net.tensors[0], trainable: false };
    const session = net.session({ optimizer: sgd });
    await session.trainStep(uniform(24, 1), uniform(20, 2), { learningRate: 0.1, step: 1 });
    expect([...session.getTensor(0)]).to.deep.equal([...net.data[0]]);
    expect(distance(session.getTensor(net.tensor('centroids')), net.data[net.tensor('centroids')])).to.be.above(1e-3);
  });
});
