import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { Isa, Session } from '../../binding.js';
import { adam, binding, distance, Net, product, snapshot, uniform } from './support.js';

/** conv → batchNorm+relu → depthwise → batchNorm+relu6 → add → pools → dropout → dense. */
function convolutionalNet(): Net {
  const net = new Net([8, 8, 3]);
  const same = { strides: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] } as const;
  const conv = net.add(0, [8, 8, 8], { op: 'conv2d', kernel: net.parameter('conv', [3, 3, 3, 8], uniform(216, 1, 0.4)), ...same });
  const a = net.batchNorm(conv, 2, { activation: 'relu' });
  const depthwise = net.add(a, [8, 8, 8], {
    op: 'depthwiseConv2d',
    kernel: net.parameter('depthwise', [3, 3, 8, 1], uniform(72, 3, 0.5)),
    ...same,
  });
  const b = net.batchNorm(depthwise, 4, { activation: 'relu6' });
  const sum = net.add(b, [8, 8, 8], { op: 'add', other: a, activation: 'relu' });
  const small = net.add(sum, [4, 4, 8], { op: 'maxPool', pool: [2, 2], strides: [2, 2], padding: [0, 0, 0, 0] });
  const dropped = net.add(net.reshape(small, [128]), [128], { op: 'dropout', rate: 0.3 });
  return net.crossEntropy(net.dense(dropped, 5, 6, { scale: 0.2 }));
}

/** A gate over upsampled, transposed and joined images, which outlive what is computed between them. */
function gatedNet(): Net {
  const net = new Net([8, 8, 3]);
  const kernel = net.parameter('up', [3, 3, 8, 3], uniform(216, 1, 0.4));
  const bias = net.parameter('up/bias', [8], uniform(8, 2, 0.3));
  const small = net.add(0, [4, 4, 3], { op: 'averagePool', pool: [2, 2], strides: [2, 2], padding: [0, 0, 0, 0] });
  const up = net.add(small, [8, 8, 8], { op: 'conv2dTranspose', kernel, bias, strides: [2, 2], padding: [0, 1, 0, 1], activation: 'relu' });
  const wide = net.add(small, [8, 8, 3], { op: 'upSample', size: [2, 2], interpolation: 'bilinear' });
  const swish = net.add(net.batchNorm(up, 3), [8, 8, 8], { op: 'unary', function: 'hardSwish' });
  const both = net.add(swish, [8, 8, 19], { op: 'concat', others: [wide, up] });
  const mean = net.dense(net.add(both, [19], { op: 'globalAveragePool' }), 19, 5);
  const gated = net.add(both, [8, 8, 19], { op: 'multiply', other: net.add(mean, [19], { op: 'unary', function: 'sigmoid' }) });
  const pooled = net.add(gated, [2, 2, 19], { op: 'maxPool', pool: [4, 4], strides: [4, 4], padding: [0, 0, 0, 0] });
  return net.crossEntropy(net.dense(net.add(net.reshape(pooled, [76]), [76], { op: 'unary', function: 'tanh' }), 5, 7, { scale: 0.2 }));
}

const nets = { convolutional: convolutionalNet, gated: gatedNet };

async function train(session: Session, steps: number, rows = 8): Promise<void> {
  for (let step = 1; step <= steps; ++step) {
    const y = Int32Array.from({ length: rows }, (_, r) => (r + step) % 5);
    const result = await session.trainStep(uniform(rows * 192, 100 + step), y, { learningRate: 0.01, step });
    expect(result.nonFinite).to.equal(undefined);
  }
}

describe('Session', () => {
  for (const [name, build] of Object.entries(nets)) {
    it(`gives the same bytes for 1, 2 and 4 threads (${name})`, async () => {
      const net = build();
      const results: number[][][] = [];
      for (const threads of [1, 2, 4]) {
        const session = net.session({ threads, optimizer: adam, clipNorm: 1 });
        expect(session.threads).to.equal(threads);
        await train(session, 5);
        results.push([...snapshot(net, session, 2), [...(await session.forward(uniform(3 * 192, 9)))]]);
      }
      expect(results[1]).to.deep.equal(results[0]);
      expect(results[2]).to.deep.equal(results[0]);
    });

    it(`is close to scalar on every instruction set (${name})`, async () => {
      const net = build();
      const run = async (isa: Isa): Promise<Float32Array> => {
        const session = net.session({ isa, optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false } });
        expect(session.isa).to.equal(isa);
        await train(session, 3);
        return session.forward(uniform(3 * 192, 9));
      };
      const scalar = await run('scalar');
      for (const isa of binding.buildInfo().availableIsas) expect(distance(await run(isa), scalar), isa).to.be.below(1e-4);
    });

    it(`learns (${name})`, async () => {
      const net = build();
      const session = net.session({ optimizer: adam });
      const x = uniform(8 * 192, 1);
      const y = Int32Array.of(0, 1, 2, 3, 4, 0, 1, 2);
      let loss = Infinity;
      let correct = 0;
      for (let step = 1; step <= 40; ++step) ({ loss, correct } = await session.trainStep(x, y, { learningRate: 0.01, step }));
      expect(loss).to.be.below(0.2);
      expect(correct).to.equal(8);
    });

    it(`gives each row of a partial batch what it gives alone (${name})`, async () => {
      const net = build();
      const session = net.session({ training: false, maxBatch: 8 });
      const x = uniform(5 * 192, 3);
      const together = await session.forward(x);
      expect(together.length).to.equal(25);
      for (let row = 0; row < 5; ++row) {
        const alone = await session.forward(x.slice(row * 192, (row + 1) * 192));
        expect([...alone]).to.deep.equal([...together.subarray(row * 5, row * 5 + 5)]);
      }
    });

    it(`reuses activation memory in inference with the same result (${name})`, async () => {
      const net = build();
      const lean = net.session({ training: false });
      const keeping = net.session({ training: false, keepValues: true });
      const training = net.session({ training: true });
      const x = uniform(8 * 192, 4);
      const expected = [...(await training.forward(x))];
      expect([...(await lean.forward(x))]).to.deep.equal(expected);
      expect([...(await keeping.forward(x))]).to.deep.equal(expected);
      // At least two of the large activations are not alive together with the others.
      expect(keeping.arenaBytes - lean.arenaBytes).to.be.at.least(2 * 8 * 512 * 4);
      expect(training.arenaBytes).to.be.above(keeping.arenaBytes);
      net.values.forEach((value, id) => expect(keeping.getValue(id).length).to.equal(8 * product(value.shape)));
      expect([...keeping.getValue(net.output)]).to.deep.equal(expected);
    });
  }

  it('moves the statistics by the batch mean and the unbiased batch variance, and uses them in inference', async () => {
    const net = new Net([3, 1, 2]);
    net.batchNorm(0, 1, { momentum: 0.75, epsilon: 0.01 });
    const session = net.session({ keepValues: true });
    const x = uniform(4 * 6, 5, 3);
    await session.forward(x, { mode: 'training' });
    const [gamma, beta, mean, variance] = net.data as Float32Array[];
    const movedMean = session.getTensor(2);
    const movedVariance = session.getTensor(3);
    for (let c = 0; c < 2; ++c) {
      const column = [...x].filter((_, i) => i % 2 === c);
      const m = column.reduce((a, b) => a + b) / 12;
      const unbiased = column.reduce((a, b) => a + (b - m) ** 2, 0) / 11;
      expect(movedMean[c]).to.be.closeTo(0.75 * mean[c] + 0.25 * m, 1e-6);
      expect(movedVariance[c]).to.be.closeTo(0.75 * variance[c] + 0.25 * unbiased, 1e-6);
      const normalized = session.getValue(net.output).filter((_, i) => i % 2 === c);
      column.forEach((v, i) =>
        expect(normalized[i]).to.be.closeTo(((v - m) / Math.sqrt((unbiased * 11) / 12 + 0.01)) * gamma[c] + beta[c], 1e-5),
      );
    }
    const inferred = await session.forward(x);
    inferred.forEach((v, i) => {
      const c = i % 2;
      expect(v).to.be.closeTo(((x[i] - movedMean[c]) / Math.sqrt(movedVariance[c] + 0.01)) * gamma[c] + beta[c], 1e-5);
    });
    expect([...session.getTensor(2)]).to.deep.equal([...movedMean]);
  });

  it('drops out by seed and step, and not in inference', async () => {
    const net = new Net([200]);
    net.add(0, [200], { op: 'dropout', rate: 0.25 });
    const x = uniform(200, 1).map((v) => v + 2);
    const run = async (seed: number, step: number): Promise<number[]> => [
      ...(await net.session({ seed }).forward(x, { mode: 'training', step })),
    ];
    const a = await run(1, 1);
    expect(await run(1, 1)).to.deep.equal(a);
    expect(await run(1, 2)).not.to.deep.equal(a);
    expect(await run(2, 1)).not.to.deep.equal(a);
    expect(a.filter((v) => v === 0).length).to.be.within(25, 75);
    a.forEach((v, i) => v !== 0 && expect(v).to.be.closeTo(x[i] / 0.75, 1e-5));
    expect([...(await net.session().forward(x))]).to.deep.equal([...x]);
    expect([...(await net.session({ training: false }).forward(x))]).to.deep.equal([...x]);
  });

  it('runs several steps at the same time in several sessions', async () => {
    const net = convolutionalNet();
    const sessions = [1, 2, 3].map(() => net.session({ optimizer: adam, threads: 2 }));
    await Promise.all(sessions.map((session) => train(session, 4)));
    const [first, ...others] = sessions.map((session) => snapshot(net, session, 2));
    for (const other of others) expect(other).to.deep.equal(first);
  });

  it('does not grow over 200 steps', async () => {
    const net = convolutionalNet();
    const session = net.session({ optimizer: adam });
    await train(session, 20);
    const before = process.memoryUsage().rss;
    await train(session, 200);
    expect(process.memoryUsage().rss - before).to.be.below(20 << 20);
  });

  it('gives its memory back when disposed', function () {
    if (process.env.ASAN_OPTIONS !== undefined) this.skip(); // the address sanitizer keeps freed memory
    // In a process of its own: the garbage of other tests comes and goes in this one.
    const script = `
      import { adam, Net, uniform } from '${new URL('support.js', import.meta.url).href}';
      const net = new Net([2500]);
      net.crossEntropy(net.dense(0, 2500, 1));
      const session = net.session({ optimizer: adam, maxBatch: 1 });
      await session.trainStep(uniform(2500, 1), Int32Array.of(0), { learningRate: 0.1, step: 1 });
      const before = process.memoryUsage().rss;
      session.dispose();
      session.dispose();
      console.log(before - process.memoryUsage().rss);`;
    const given = Number(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }));
    expect(given).to.be.above(4 * 2500 * 2500 * 4 * 0.9); // weight, gradient, two slots
  });

  it('multiplies matrices', () => {
    for (const isa of binding.buildInfo().availableIsas) {
      for (const [m, n, k] of [
        [1, 1, 1],
        [3, 5, 7],
        [33, 65, 29],
      ]) {
        const a = uniform(m * k, 1);
        const b = uniform(k * n, 2);
        const out = new Float32Array(m * n);
        binding.matmul(a, b, m, n, k, out, isa, 2);
        const expected = out.map((_, i) => {
          let sum = 0;
          for (let l = 0; l < k; ++l) sum += a[Math.floor(i / n) * k + l] * b[l * n + (i % n)];
          return sum;
        });
        expect(distance(out, expected), isa).to.be.below(1e-5);
      }
    }
  });
});
