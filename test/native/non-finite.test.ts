import { expect } from 'chai';
import { describe, it } from 'mocha';
import { expectRejection } from '../support/errors.js';
import { adam, Net, snapshot, uniform } from './support.js';

/** Everything that a forward pass writes: masked weights, pinned centroids, indices, ranges, statistics. */
function stateful(): Net {
  const net = new Net([4, 4, 2]);
  const kernel = net.parameter('conv', [3, 3, 2, 4], uniform(72, 1));
  const conv = net.add(0, [2, 2, 4], { op: 'conv2d', kernel, strides: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] });
  const range = (name: string, n = 1): number => net.state(name, [n], new Float32Array(n));
  const bn = net.batchNorm(conv, 2, {
    activation: 'relu',
    fakeQuant: { min: range('bn:min'), max: range('bn:max'), update: 'movingAverage', decay: 0.9 },
  });
  net.crossEntropy(net.dense(net.reshape(bn, [16]), 3, 4));
  const mask = Uint8Array.from({ length: 72 }, (_, i) => (i % 3 ? 1 : 0));
  net.chains.push({
    weight: kernel,
    mask: { tensor: net.state('mask', [3, 3, 2, 4], mask), writeBack: true, maskGradient: false },
    codebook: {
      centroids: net.parameter('centroids', [5], uniform(5, 5)),
      indices: net.state('indices', [3, 3, 2, 4], new Int32Array(72)),
      perChannel: false,
      zeroIndex: net.state('zero', [1], Int32Array.of(2)),
      zeroPin: 'index',
      aggregation: 'sum',
    },
    fakeQuant: { min: range('w:min', 4), max: range('w:max', 4), perChannel: true },
  });
  return net;
}

const y = Int32Array.of(0, 1, 2);
const x = uniform(96, 3);

describe('A step that is not finite', () => {
  const broken: [string, string, Record<string, Float32Array | Int32Array>][] = [
    ['overflowing centroids', 'layer0', { centroids: Float32Array.of(3e38, -3e38, 1e38, 1e38, 2e38), zero: Int32Array.of(-1) }],
    ['an overflowing gamma', 'layer1', { 'bn1/gamma': Float32Array.of(1, 3e38, 1, 1) }],
    ['an overflowing last layer', 'layer3', { 'dense3/kernel': new Float32Array(48).fill(3e38) }],
  ];
  for (const [what, layer, breakage] of broken) {
    it(`from ${what} names ${layer} and leaves everything as it was`, async () => {
      const net = stateful();
      const session = net.session({ optimizer: adam });
      for (let step = 1; step <= 3; ++step) await session.trainStep(x, y, { learningRate: 0.05, step });
      const good = Object.keys(breakage).map((name) => session.getTensor(net.tensor(name)));
      Object.entries(breakage).forEach(([name, data]) => session.setTensor(net.tensor(name), data));
      const before = snapshot(net, session, 2);
      const result = await session.trainStep(x, y, { learningRate: 0.05, step: 4 });
      expect(result.nonFinite).to.equal(layer);
      expect(snapshot(net, session, 2)).to.deep.equal(before);
      await expectRejection(
        session.forward(x, { mode: 'training', step: 4 }),
        'ERR_NON_FINITE',
        new RegExp(`'${layer}' is NaN or infinite`),
      );
      expect(snapshot(net, session, 2)).to.deep.equal(before);

      // After a repair, training goes on as if nothing had happened.
      Object.keys(breakage).forEach((name, i) => session.setTensor(net.tensor(name), good[i]));
      const next = await session.trainStep(x, y, { learningRate: 0.05, step: 4 });
      const twin = net.session({ optimizer: adam });
      for (let step = 1; step <= 3; ++step) await twin.trainStep(x, y, { learningRate: 0.05, step });
      expect(await twin.trainStep(x, y, { learningRate: 0.05, step: 4 })).to.deep.equal(next);
      expect(snapshot(net, twin, 2)).to.deep.equal(snapshot(net, session, 2));
    });
  }

  it('names the tensor whose gradient overflows', async () => {
    const net = new Net([2]);
    const kernel = net.parameter('kernel', [2, 3], new Float32Array(6).fill(1e-38));
    net.meanSquaredError(net.add(0, [3], { op: 'dense', kernel }));
    const session = net.session({ optimizer: adam });
    const before = snapshot(net, session, 2);
    const huge = new Float32Array(8).fill(3e38);
    const result = await session.trainStep(huge, new Float32Array(12).fill(100), { learningRate: 0.1, step: 1 });
    expect(result.loss).to.be.finite;
    expect(result.nonFinite).to.equal('kernel');
    expect(snapshot(net, session, 2)).to.deep.equal(before);
  });

  it('names transposed convolutions, products and activations', async () => {
    const net = new Net([2, 2, 1]);
    const kernel = net.parameter('kernel', [1, 1, 1, 1], Float32Array.of(1));
    const up = net.add(0, [2, 2, 1], { op: 'conv2dTranspose', kernel, strides: [1, 1], padding: [0, 0, 0, 0] });
    const leaky = net.add(up, [2, 2, 1], { op: 'unary', function: 'leakyRelu', alpha: 1e10 });
    net.meanSquaredError(net.add(leaky, [2, 2, 1], { op: 'multiply', other: leaky }));
    const session = net.session({ optimizer: adam });
    const found = async (weight: number): Promise<string | undefined> => {
      session.setTensor(kernel, Float32Array.of(weight));
      const options = { learningRate: 0.1, step: 1, update: false };
      return (await session.trainStep(new Float32Array(4).fill(-2), new Float32Array(4), options)).nonFinite;
    };
    expect(await found(3e38)).to.equal('layer0');
    expect(await found(1e30)).to.equal('layer1');
    expect(await found(1e12)).to.equal('layer2');
    expect(await found(1e-12)).to.equal(undefined);
  });

  it('is found although relu clamps negative infinities', async () => {
    const net = new Net([2]);
    const kernel = net.parameter('kernel', [2, 2], Float32Array.of(3e38, 1, -3e38, 1)); // inf - inf = NaN
    net.crossEntropy(net.dense(net.add(0, [2], { op: 'dense', kernel, activation: 'relu' }), 3, 1));
    const session = net.session({ optimizer: adam });
    const result = await session.trainStep(Float32Array.of(10, 10), Int32Array.of(0), { learningRate: 0.1, step: 1 });
    expect(result.nonFinite).to.equal('layer0');
  });

  it('is an error in inference and when observing, which then keeps its ranges', async () => {
    for (const training of [false, true]) {
      const net = stateful();
      const session = net.session({ training });
      await session.forward(x);
      session.setTensor(net.tensor('bn1/gamma'), Float32Array.of(1, 3e38, 1, 1));
      session.setTensor(net.tensor('bn:max'), Float32Array.of(2));
      const before = snapshot(net, session, 0);
      await expectRejection(
        session.forward(
          x.map((v) => v * 100),
          { mode: 'observe' },
        ),
        'ERR_NON_FINITE',
        /'layer1' is NaN or infinite/,
      );
      expect(snapshot(net, session, 0)).to.deep.equal(before);
      session.setTensor(net.tensor('dense3/kernel'), new Float32Array(48).fill(3e38));
      await expectRejection(session.forward(x), 'ERR_NON_FINITE', /'layer3' is NaN or infinite/);
    }
  });
});
