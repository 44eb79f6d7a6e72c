import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { OptimizerSpec, SessionOptions } from '../../binding.js';
import { distance, Net, uniform } from './support.js';

const f = Math.fround;

interface Weight {
  w: number;
  m: number;
  v: number;
}
interface Hyper {
  readonly lr: number;
  readonly t: number;
  readonly decay: number;
}

/** Spec 0.4, and Keras SGD, on one element in f64, except that TensorFlow takes the powers of beta in f32. */
function updateReference(o: OptimizerSpec, state: Weight, g: number, { lr, t, decay }: Hyper): Weight {
  if (o.kind === 'sgd') {
    const gradient = g + decay * state.w;
    const v = o.momentum * state.m - lr * gradient;
    return { w: state.w + (o.nesterov ? o.momentum * v - lr * gradient : v), m: v, v: 0 };
  }
  const m = state.m + (g - state.m) * (1 - o.beta1);
  const v = state.v + (g * g - state.v) * (1 - o.beta2);
  const correction = (beta: number): number => f(1 - f(f(beta) ** t));
  const alpha = (lr * Math.sqrt(correction(o.beta2))) / correction(o.beta1);
  return { w: state.w - (alpha * m) / (Math.sqrt(v) + o.epsilon) - (o.kind === 'adamw' ? lr * decay * state.w : 0), m, v };
}

const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
const optimizers: [string, OptimizerSpec][] = [
  ['adam', { kind: 'adam', ...adam }],
  ['adam with other moments', { kind: 'adam', beta1: 0.5, beta2: 0.9, epsilon: 1e-3 }],
  ['adamw', { kind: 'adamw', ...adam, weightDecay: 0.05 }],
  ['sgd', { kind: 'sgd', momentum: 0, nesterov: false }],
  ['sgd with momentum', { kind: 'sgd', momentum: 0.9, nesterov: false }],
  ['sgd with Nesterov momentum and L2', { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0.05 }],
];

/** Five steps of a small net; the gradients come from the session, the updates from the reference. */
async function follow(optimizer: OptimizerSpec, options: Partial<SessionOptions> = {}, clip = (g: number[]): number[] => g): Promise<void> {
  const net = new Net([5]);
  const kernel = net.parameter('kernel', [5, 9], uniform(45, 1), true);
  const bias = net.parameter('bias', [9], uniform(9, 2));
  net.crossEntropy(net.add(0, [9], { op: 'dense', kernel, bias }));
  const session = net.session({ optimizer, ...options });
  const states = net.data.map((data) => Array.from(data, (w): Weight => ({ w, m: 0, v: 0 })));
  for (let t = 1; t <= 5; ++t) {
    const lr = f(0.05 / t);
    const before = net.data.map((_, id) => session.getTensor(id));
    const result = await session.trainStep(uniform(20, 10 + t, 2), Int32Array.of(0, 3, 8, t), { learningRate: lr, step: t });
    const gradients = [kernel, bias].map((id) => [...session.getGradient(id)]);
    const all = clip(gradients.flat());
    expect(result.gradientNorm).to.be.closeTo(Math.hypot(...gradients.flat()), 1e-6);
    [kernel, bias].forEach((id) => {
      const decay = id === kernel ? (optimizer.weightDecay ?? 0) : 0;
      const offset = id === kernel ? 0 : 45;
      states[id] = states[id].map((s, i) => updateReference(optimizer, { ...s, w: before[id][i] }, all[offset + i], { lr, t, decay }));
      const after = session.getTensor(id);
      expect(
        distance(
          after,
          states[id].map((s) => s.w),
        ),
        `step ${t}`,
      ).to.be.below(2e-7);
      expect(distance(after, before[id]), `step ${t} moves`).to.be.above(1e-5);
      expect(
        distance(
          session.getSlot(id, 0),
          states[id].map((s) => s.m),
        ),
      ).to.be.below(1e-7);
      if (optimizer.kind !== 'sgd')
        expect(
          distance(
            session.getSlot(id, 1),
            states[id].map((s) => s.v),
          ),
        ).to.be.below(1e-7);
      const stored = [0, 1].slice(0, optimizer.kind === 'sgd' ? 1 : 2).map((slot) => session.getSlot(id, slot));
      states[id] = states[id].map((s, i) => ({ ...s, m: stored[0][i], v: stored[1]?.[i] ?? 0 }));
    });
  }
}

describe('Optimizers against a scalar reference', () => {
  for (const [name, optimizer] of optimizers) it(name, () => follow(optimizer));

  it('clips to a global norm', async () => {
    for (const clipNorm of [0.1, 100]) {
      await follow({ kind: 'sgd', momentum: 0, nesterov: false }, { clipNorm }, (g) => {
        const norm = Math.hypot(...g);
        return norm > clipNorm ? g.map((v) => (v * clipNorm) / norm) : g;
      });
    }
  });

  it('clips each element', () =>
    follow({ kind: 'adam', ...adam }, { clipValue: 0.02 }, (g) => g.map((v) => Math.min(Math.max(v, -f(0.02)), f(0.02)))));

  it('decays only weights that are not masked', async () => {
    for (const optimizer of [
      { kind: 'adamw', ...adam, weightDecay: 0.5 },
      { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0.5 },
    ] as OptimizerSpec[]) {
      const net = new Net([2]);
      const kernel = net.parameter('kernel', [2, 2], Float32Array.of(1, 2, 3, 4), true);
      const mask = net.state('kernel:mask', [2, 2], Uint8Array.of(1, 0, 0, 1));
      net.chains.push({ weight: kernel, mask: { tensor: mask, writeBack: false, maskGradient: true } });
      net.crossEntropy(net.add(0, [2], { op: 'dense', kernel }));
      const session = net.session({ optimizer });
      await session.trainStep(Float32Array.of(0, 0), Int32Array.of(0), { learningRate: 0.1, step: 1 }); // x = 0: no gradient
      expect(distance(session.getTensor(kernel), [0.95, 2, 3, 3.8]), optimizer.kind).to.be.below(1e-6);
    }
  });

  it('takes no element below a tensor’s minimum', async () => {
    const net = new Net([2]);
    const kernel = net.parameter('kernel', [2, 2], Float32Array.of(0.5, 0.5, 0.5, 0.5));
    net.tensors[kernel] = { ...net.tensors[kernel], minimum: 0.25 };
    net.crossEntropy(net.add(0, [2], { op: 'dense', kernel }));
    const session = net.session({ optimizer: { kind: 'adam', ...adam } });
    await session.trainStep(Float32Array.of(1, 1), Int32Array.of(0), { learningRate: 1, step: 1 });
    expect(session.getTensor(kernel)[1]).to.equal(0.25); // Adam's first step is the learning rate
    expect(session.getTensor(kernel)[0]).to.be.closeTo(1.5, 1e-4);
    net.tensors[kernel] = { ...net.tensors[kernel], trainable: false };
    expect(() => net.session({ optimizer: { kind: 'adam', ...adam } })).to.throw(/minimum/);
  });

  it('continues exactly from restored tensors and slots', async () => {
    const net = new Net([5]);
    net.crossEntropy(net.dense(net.dense(0, 8, 1, { activation: 'relu' }), 3, 3));
    const [a, b] = [net.session({ optimizer: optimizers[0][1] }), net.session({ optimizer: optimizers[0][1] })];
    const step = (t: number): Parameters<typeof a.trainStep> => [
      uniform(20, t),
      Int32Array.of(0, 1, 2, 0),
      { learningRate: 0.01, step: t },
    ];
    for (let t = 1; t <= 3; ++t) await a.trainStep(...step(t));
    net.tensors.forEach((_, id) => {
      b.setTensor(id, a.getTensor(id));
      for (const slot of [0, 1]) b.setSlot(id, slot, a.getSlot(id, slot));
    });
    await a.trainStep(...step(4));
    await b.trainStep(...step(4));
    net.tensors.forEach((_, id) => expect([...b.getTensor(id)]).to.deep.equal([...a.getTensor(id)]));
  });
});
