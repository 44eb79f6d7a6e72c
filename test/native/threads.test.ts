import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { SessionOptions } from '../../binding.js';
import { adam, Net, sgd, snapshot, uniform } from './support.js';

const K = 8;

/** Layers with chains of very different sizes: those with few weights run at the same time, some of them without a gradient of their centroids. */
function chainedNet(): Net {
  const net = new Net([48]);
  const widths = [16, 12, 200, 130, 24, 10, 6];
  const outputs = widths.map((units, i) => net.dense(i === 0 ? 0 : net.output, units, 10 * i, { activation: 'relu' }));
  net.crossEntropy(outputs.at(-1)!);
  widths.forEach((units, i) => {
    const weight = net.tensor(`dense${i}/kernel`);
    const { length } = net.data[weight]!;
    const shape = [length / units, units];
    const centroids = Float32Array.from({ length: K }, (_, k) => (k - K / 2) / K);
    const isLearned = i % 3 !== 1;
    net.chains.push({
      weight,
      mask: {
        tensor: net.state(
          `mask${i}`,
          shape,
          Uint8Array.from({ length }, (_, at) => (at % 3 === 0 ? 0 : 1)),
        ),
        writeBack: true,
        maskGradient: i % 2 === 0,
      },
      codebook: {
        centroids: isLearned ? net.parameter(`centroids${i}`, [K], centroids) : net.state(`centroids${i}`, [K], centroids),
        indices: net.state(`indices${i}`, shape, new Int32Array(length)),
        perChannel: false,
        zeroIndex: net.state(`zero${i}`, [1], Int32Array.of(K / 2)),
        zeroPin: 'index',
        aggregation: 'sum',
      },
      fakeQuant: {
        min: net.state(`min${i}`, [1], new Float32Array(1)),
        max: net.state(`max${i}`, [1], new Float32Array(1)),
        perChannel: false,
      },
    });
  });
  return net;
}

async function train(options: Partial<SessionOptions>): Promise<unknown> {
  const net = chainedNet();
  const session = net.session({ maxBatch: 5, ...options });
  const results = [];
  for (let step = 1; step <= 3; step++) {
    const x = uniform(5 * 48, step);
    results.push(await session.trainStep(x, Int32Array.of(0, 1, 2, 3, 4), { learningRate: 0.01, step }));
  }
  const used = net.chains.map((_, chain) => [...session.getUsedWeight(chain)]);
  const state = snapshot(net, session, options.optimizer === sgd ? 1 : 2);
  session.dispose();
  return { results, used, state };
}

describe('Training with any number of threads', () => {
  for (const [name, options] of Object.entries({
    Adam: { optimizer: adam },
    'SGD with clipping': { optimizer: sgd, clipNorm: 0.1 },
  })) {
    it(`gives the same bytes: ${name}`, async () => {
      const expected = await train({ ...options, threads: 1 });
      for (const threads of [2, 3, 8]) expect(await train({ ...options, threads }), `${threads} threads`).to.deep.equal(expected);
    });
  }
});
