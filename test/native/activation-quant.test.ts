import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { ActivationFakeQuant } from '../../binding.js';
import { distance, Net, uniform } from './support.js';

const f = Math.fround;

/** Spec 3.5, asymmetric, per tensor, in f32. */
function quantize(x: number, min: number, max: number, bits = 8, narrow = false): { y: number; passes: boolean } {
  if (min === 0 && max === 0) return { y: 0, passes: true };
  const [qmin, qmax] = [narrow ? 1 : 0, 2 ** bits - 1];
  const s = f(f(max - min) / (qmax - qmin));
  const inv = f((qmax - qmin) / f(max - min));
  const z = f(qmin - f(min / s));
  const zq = Math.min(Math.max(Math.floor(z + 0.5), qmin), qmax);
  const [nmin, nmax] = [f((qmin - zq) * s), f((qmax - zq) * s)];
  const q0 = Math.floor(f(f(-nmin * inv) + 0.5));
  const shifted = f(Math.min(Math.max(x, nmin), nmax) - nmin);
  return { y: f(Math.floor(f(f(f(shifted / s) - q0) + 0.5)) * s), passes: nmin <= x && x <= nmax };
}

const extremes = (x: ArrayLike<number>): [number, number] => [Math.min(0, ...Array.from(x)), Math.max(0, ...Array.from(x))];

type Kind = 'fakeQuant' | 'activation' | 'add' | 'batchNorm' | 'hardSwish' | 'leakyRelu';

/** dense → (operator with fake quantization) → loss, beside the same net without fake quantization. */
function pair(
  kind: Kind,
  quant: Partial<ActivationFakeQuant>,
  range: [number, number],
  relu = true,
): { net: Net; plain: Net; min: number; max: number } {
  const activation = relu ? 'relu' : 'none';
  const build = (quantized: boolean): { net: Net; min: number; max: number } => {
    const net = new Net([6]);
    const x = net.dense(0, 9, 1, { scale: 2 });
    const other = kind === 'add' ? net.dense(0, 9, 3, { scale: 2 }) : -1;
    let [min, max] = [-1, -1];
    let fakeQuant: { fakeQuant?: ActivationFakeQuant } = {};
    if (quantized) {
      min = net.state('min', [1], Float32Array.of(range[0]));
      max = net.state('max', [1], Float32Array.of(range[1]));
      fakeQuant = { fakeQuant: { min, max, update: 'movingAverage', ...quant } };
    }
    if (kind === 'add') net.add(x, [9], { op: 'add', other, activation, ...fakeQuant });
    else if (kind === 'batchNorm') net.batchNorm(x, 5, { activation, ...fakeQuant });
    else if (kind === 'hardSwish') net.add(x, [9], { op: 'unary', function: kind, ...fakeQuant });
    else if (kind === 'leakyRelu') net.add(x, [9], { op: 'unary', function: kind, alpha: 0.3, ...fakeQuant });
    else if (kind === 'activation') net.add(x, [9], { op: 'activation', activation, ...fakeQuant });
    else if (fakeQuant.fakeQuant) net.add(x, [9], { op: 'fakeQuant', fakeQuant: fakeQuant.fakeQuant });
    else net.add(x, [9], { op: 'activation', activation: 'none' });
    net.meanSquaredError(net.output);
    return { net, min, max };
  };
  return { ...build(true), plain: build(false).net };
}

describe('Activation fake quantization', () => {
  const x = uniform(24, 11, 2);
  for (const kind of ['fakeQuant', 'activation', 'add', 'batchNorm', 'hardSwish', 'leakyRelu'] as Kind[]) {
    it(`moves the range, then quantizes with it and masks the gradient (${kind})`, async () => {
      const { net, plain, min, max } = pair(kind, { decay: 0.9 }, [-1, 2]);
      const session = net.session({ keepValues: true });
      const float = plain.session();
      const values = await float.forward(x, { mode: 'training' });
      const moved = [-1, 2].map((v, i) => f(v - f(f(v - extremes(values)[i]) * f(1 - 0.9))));

      const target = uniform(36, 12, 2);
      await session.trainStep(x, target, { learningRate: 0, step: 1, update: false });
      expect(session.getTensor(min)[0]).to.be.closeTo(moved[0], 1e-6);
      expect(session.getTensor(max)[0]).to.be.closeTo(moved[1], 1e-6);
      const [lo, hi] = [session.getTensor(min)[0], session.getTensor(max)[0]];
      const expected = [...values].map((v) => quantize(v, lo, hi));
      const step = (hi - lo) / 255; // a value on a rounding boundary may fall to either side when it differs by an ulp
      const output = session.getValue(net.output);
      expect(
        distance(
          output,
          expected.map((q) => q.y),
        ),
      ).to.be.below(step * 1.01);
      expect([...output].filter((v, i) => v !== expected[i].y).length).to.be.below(2);
      expect(
        expected.some((q) => !q.passes),
        'some values must lie outside',
      ).to.equal(true);

      // The float net with a target that gives the same gradient dy, zero where the value lies outside the range.
      const dyTarget = values.map((v, i) => (expected[i].passes ? v - (output[i] - target[i]) : v));
      await float.trainStep(x, dyTarget, { learningRate: 0, step: 1, update: false });
      plain.tensors.forEach((tensor, id) => {
        if (!tensor.trainable) return;
        expect(distance(session.getGradient(net.tensor(tensor.name)), float.getGradient(id)), tensor.name).to.be.below(1e-5);
      });

      const before = [...(await float.forward(x))];
      const inferred = await session.forward(x);
      if (kind !== 'batchNorm')
        expect(
          distance(
            inferred,
            before.map((v) => quantize(v, lo, hi).y),
          ),
        ).to.be.below(step * 1.01);
      expect([session.getTensor(min)[0], session.getTensor(max)[0]]).to.deep.equal([lo, hi]);
    });

    it(`observes: passes values through and widens the range (${kind})`, async () => {
      const { net, plain, min, max } = pair(kind, {}, [-100, 50]);
      const session = net.session({ training: false });
      const float = plain.session({ training: false });
      const first = await float.forward(x);
      expect([...(await session.forward(x, { mode: 'observe', resetRanges: true }))]).to.deep.equal([...first]);
      expect([session.getTensor(min)[0], session.getTensor(max)[0]].map((v) => v + 0)).to.deep.equal(extremes(first).map((v) => v + 0));
      const wider = x.map((v) => v * 3);
      const second = await float.forward(wider);
      await session.forward(wider, { mode: 'observe' });
      expect([session.getTensor(min)[0], session.getTensor(max)[0]].map((v) => v + 0)).to.deep.equal(
        extremes([...first, ...second]).map((v) => v + 0),
      );
    });
  }

  it('widens a runningMinMax range and leaves a fixed one alone, also when observing', async () => {
    const running = pair('fakeQuant', { update: 'runningMinMax' }, [0, 0.25]);
    const session = running.net.session();
    const values = await running.plain.session().forward(x);
    await session.forward(x, { mode: 'training' });
    expect([session.getTensor(running.min)[0], session.getTensor(running.max)[0]]).to.deep.equal(extremes(values));

    const fixed = pair('fakeQuant', { update: 'none', bits: 4, narrowRange: true }, [-1, 2]);
    const still = fixed.net.session();
    const output = await still.forward(x, { mode: 'training' });
    expect(
      distance(
        output,
        [...values].map((v) => quantize(v, -1, 2, 4, true).y),
      ),
    ).to.be.below(1e-6);
    await still.forward(x, { mode: 'observe', resetRanges: true });
    expect([still.getTensor(fixed.min)[0], still.getTensor(fixed.max)[0]]).to.deep.equal([-1, 2]);
  });
});
