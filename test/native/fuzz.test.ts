import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { PcqatError } from '#lib/errors.js';
import type { ProgramSpec, Session, SessionOptions } from '../../binding.js';
import { adam, binding, Net, product, uniform } from './support.js';

/** One of nearly everything, so that a mutation can hit any field. */
function example(): Net {
  const net = new Net([4, 4, 2]);
  const conv = { strides: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] } as const;
  const range = (name: string, value: number, n = 1): number => net.state(name, [n], new Float32Array(n).fill(value));
  const a = net.add(0, [4, 4, 2], { op: 'depthwiseConv2d', kernel: net.parameter('d', [3, 3, 2, 1], uniform(18, 1)), ...conv });
  const b = net.batchNorm(a, 2, {
    activation: 'relu6',
    fakeQuant: { min: range('b:min', -1), max: range('b:max', 2), update: 'movingAverage' },
  });
  const c = net.add(b, [4, 4, 2], { op: 'conv2d', kernel: net.parameter('c', [3, 3, 2, 2], uniform(36, 3)), ...conv });
  const d = net.add(c, [4, 4, 2], { op: 'add', other: b, activation: 'relu' });
  const e = net.add(d, [5, 6, 2], { op: 'pad', padding: [0, 1, 1, 1] });
  const g = net.add(e, [2, 3, 2], { op: 'averagePool', pool: [2, 2], strides: [2, 2], padding: [0, 0, 0, 0] });
  const h = net.add(g, [1, 2, 2], { op: 'maxPool', pool: [2, 2], strides: [1, 1], padding: [0, 0, 0, 0] });
  const up = net.add(h, [2, 4, 2], { op: 'upSample', size: [2, 2], interpolation: 'bilinear' });
  const wide = net.add(up, [3, 5, 3], {
    op: 'conv2dTranspose',
    kernel: net.parameter('t', [2, 2, 3, 2], uniform(24, 6)),
    strides: [1, 1],
    padding: [0, 0, 0, 0],
  });
  const swish = net.add(wide, [3, 5, 3], {
    op: 'unary',
    function: 'leakyRelu',
    alpha: 0.3,
    fakeQuant: { min: range('s:min', -1), max: range('s:max', 2), update: 'movingAverage' },
  });
  const both = net.add(swish, [3, 5, 6], { op: 'concat', others: [wide] });
  const mean = net.add(both, [6], { op: 'globalAveragePool' });
  const gated = net.add(both, [3, 5, 6], { op: 'multiply', other: mean });
  const i = net.add(net.reshape(gated, [90]), [90], { op: 'dropout', rate: 0.25 });
  net.crossEntropy(net.dense(i, 3, 4));
  const weight = net.tensor('c');
  net.chains.push({
    weight,
    mask: { tensor: net.state('mask', [3, 3, 2, 2], new Uint8Array(36).fill(1)), writeBack: true, maskGradient: false },
    codebook: {
      centroids: net.parameter('centroids', [2, 3], uniform(6, 5)),
      indices: net.state('indices', [3, 3, 2, 2], new Int32Array(36)),
      perChannel: true,
      zeroIndex: net.state('zero', [2], Int32Array.of(1, -1)),
      zeroPin: 'index',
      aggregation: 'average',
    },
    fakeQuant: { min: range('w:min', -1, 2), max: range('w:max', 1, 2), perChannel: true },
  });
  return net;
}

const options: SessionOptions = { maxBatch: 3, training: true, threads: 2, optimizer: adam, clipNorm: 1 };

/** Every path of a tree of objects and arrays. */
function paths(node: unknown, prefix: (string | number)[] = []): (string | number)[][] {
  if (typeof node !== 'object' || node === null) return [prefix];
  const own = Object.entries(node).flatMap(([key, child]) => paths(child, [...prefix, Array.isArray(node) ? Number(key) : key]));
  return prefix.length === 0 ? own : [prefix, ...own];
}

type Tree = Record<string | number, unknown>;

function mutate(tree: unknown, path: readonly (string | number)[], kind: string, value: unknown): void {
  let target = tree as Tree;
  for (const key of path.slice(0, -1)) {
    if (typeof target[key] !== 'object' || target[key] === null) return; // an earlier mutation took it away
    target = target[key] as Tree;
  }
  const last = path[path.length - 1];
  if (kind === 'set') target[last] = value;
  else if (kind === 'delete') Array.isArray(target) ? target.splice(Number(last), 1) : delete target[last];
  else if (Array.isArray(target)) target.splice(Number(last), 0, target[Number(last)]); // duplicate
}

const values = fc.oneof(
  fc.integer({ min: -2, max: 20 }),
  fc.constantFrom(
    0.5,
    -0,
    NaN,
    Infinity,
    255,
    1e3,
    65536,
    1e6,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 53,
    'relu',
    'none',
    'u8',
    'i32',
    'f32',
    '',
    null,
    undefined,
    true,
    false,
    [],
    {},
    [1],
    [2, 2],
  ),
);

async function use(session: Session, spec: ProgramSpec, data: Net['data']): Promise<void> {
  spec.tensors.forEach((tensor, id) => {
    const original = data[id];
    if (original !== undefined && original.length === product(tensor.shape)) session.setTensor(id, original);
  });
  const width = product(spec.values[spec.input].shape);
  if (width > 1e6) return;
  await session.forward(uniform(2 * width, 1));
  await session.trainStep(uniform(3 * width, 2), Int32Array.of(0, 1, 2), { learningRate: 0.1, step: 1 });
  await session.forward(uniform(width, 1), { mode: 'observe' });
}

describe('A mutated program', () => {
  const net = example();
  const original = { program: net.spec, options };
  const all = paths(original);

  it('is fine when not mutated', () => use(net.session(options), net.spec, net.data));

  it('works or is refused with a code, and never crashes', async () => {
    let opened = 0;
    const mutation = fc.tuple(fc.constantFrom(...all), fc.constantFrom('set', 'set', 'set', 'delete', 'duplicate'), values);
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
        const copy = structuredClone(original);
        for (const [path, kind, value] of mutations) mutate(copy, path, kind, value);
        try {
          const session = new binding.Session(copy.program, copy.options);
          opened += 1;
          await use(session, copy.program, net.data);
          session.dispose();
        } catch (error) {
          expect(error, JSON.stringify(mutations)).to.be.instanceOf(PcqatError);
          expect((error as PcqatError).code).to.match(/^ERR_/);
          expect((error as PcqatError).code).not.to.equal('ERR_INTERNAL');
        }
      }),
      { numRuns: 3000, seed: 20240501 },
    );
    expect(opened).to.be.above(100);
  });
});
