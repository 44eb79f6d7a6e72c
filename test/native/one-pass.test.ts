import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { OptimizerSpec, SessionOptions, WeightChainSpec } from '../../binding.js';
import { adam, Net, sgd, snapshot, uniform } from './support.js';

/** Clips nothing, but needs the norm before the update: the backward pass of the chains is then a pass of its own. */
const TWO_PASSES: Partial<SessionOptions> = { clipNorm: 1e30 };

interface Chained {
  readonly clustered?: boolean;
  readonly perChannel?: boolean;
  readonly maskGradient?: boolean;
  /** Of the kernel and its centroids. */
  readonly scale?: number;
}

function chain(net: Net, weight: number, name: string, { clustered, perChannel = false, maskGradient = false, scale = 1 }: Chained): void {
  const { shape } = net.tensors[weight];
  const [channels] = shape.slice(-1);
  const count = net.data[weight].length;
  const ranges = perChannel ? channels : 1;
  const mask = Uint8Array.from({ length: count }, (_, i) => (i % 5 < 2 ? 0 : 1));
  const spec: WeightChainSpec = {
    weight,
    mask: { tensor: net.state(`${name}/mask`, shape, mask), writeBack: true, maskGradient },
    fakeQuant: {
      min: net.state(`${name}/min`, [ranges], new Float32Array(ranges)),
      max: net.state(`${name}/max`, [ranges], new Float32Array(ranges)),
      perChannel,
    },
  };
  const centroids = uniform(6 * (perChannel ? channels : 1), 9, scale);
  net.chains.push({
    ...spec,
    ...(clustered && {
      codebook: {
        centroids: net.parameter(`${name}/centroids`, perChannel ? [channels, 6] : [6], centroids),
        indices: net.state(`${name}/indices`, shape, new Int32Array(count)),
        perChannel,
        zeroIndex: net.state(`${name}/zero`, [ranges], new Int32Array(ranges).fill(2)),
        zeroPin: 'index',
        aggregation: 'sum',
      },
    }),
  });
}

/** A gathered, a pointwise and a dense layer with chains, and a dense one without. */
function layers(chained: Chained): Net {
  const net = new Net([4, 4, 3]);
  const conv = (input: number, size: number, shape: readonly number[], kernel: number): number =>
    net.add(input, [size, size, shape[3]], { op: 'conv2d', kernel, strides: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] });
  const kernel = (name: string, shape: readonly number[]): number => {
    const id = net.parameter(
      name,
      shape,
      uniform(
        shape.reduce((a, b) => a * b),
        shape.length + shape[0],
        0.3,
      ),
      true,
    );
    chain(net, id, name, chained);
    return id;
  };
  const first = conv(0, 2, [3, 3, 3, 40], kernel('gathered', [3, 3, 3, 40]));
  const second = conv(first, 2, [1, 1, 40, 70], kernel('pointwise', [1, 1, 40, 70]));
  const third = net.add(net.reshape(second, [280]), [9], { op: 'dense', kernel: kernel('dense', [280, 9]) });
  return net.crossEntropy(net.dense(third, 4, 5));
}

const optimizers: [string, OptimizerSpec][] = [
  ['adam', adam],
  ['adamw', { ...adam, kind: 'adamw', weightDecay: 0.05 } as OptimizerSpec],
  ['sgd', { ...sgd, momentum: 0.9, nesterov: true, weightDecay: 0.05 } as OptimizerSpec],
];

describe('Backward and update of a chain in one pass', () => {
  for (const clustered of [false, true]) {
    for (const perChannel of [false, true]) {
      for (const maskGradient of [false, true]) {
        const chained = { clustered, perChannel, maskGradient };
        it(`gives what two passes give: ${JSON.stringify(chained)}`, async () => {
          for (const [name, optimizer] of optimizers) {
            const net = layers(chained);
            const slots = optimizer.kind === 'sgd' ? 1 : 2;
            const one = net.session({ optimizer, threads: 2, clipValue: 0.02 });
            const two = net.session({ optimizer, clipValue: 0.02, ...TWO_PASSES });
            for (let step = 1; step <= 3; ++step) {
              const x = uniform(5 * 48, step);
              const options = { learningRate: 0.01, step };
              const [a, b] = [
                await one.trainStep(x, Int32Array.of(0, 1, 2, 3, 1), options),
                await two.trainStep(x, Int32Array.of(0, 1, 2, 3, 1), options),
              ];
              expect(a.gradientNorm / b.gradientNorm, name).to.be.closeTo(1, 1e-12);
              expect({ ...a, gradientNorm: 0 }, name).to.deep.equal({ ...b, gradientNorm: 0 });
              expect(snapshot(net, one, slots), name).to.deep.equal(snapshot(net, two, slots));
              // A mask that is set afterwards does not belong to that step.
              const mask = net.tensor('dense/mask');
              one.setTensor(mask, new Uint8Array(2520).fill(1));
              net.tensors.forEach(({ trainable }, id) => {
                if (trainable) expect([...one.getGradient(id)], `${name}, gradient`).to.deep.equal([...two.getGradient(id)]);
              });
              one.setTensor(mask, two.getTensor(mask));
            }
          }
        });
      }
    }
  }
});

describe('A step whose update would have been one pass', () => {
  /** Two dense layers, the first with a chain; returns what a step from there reports, and whether anything changed. */
  async function attempt(scale: number, second: number, x: number, y: number, options: Partial<SessionOptions> = {}): Promise<unknown[]> {
    const net = new Net([4]);
    const kernel = net.parameter('first', [4, 6], uniform(24, 1, scale));
    chain(net, kernel, 'first', { clustered: true, scale });
    const hidden = net.add(0, [6], { op: 'dense', kernel });
    net.meanSquaredError(net.add(hidden, [2], { op: 'dense', kernel: net.parameter('second', [6, 2], uniform(12, 2, second)) }));
    const session = net.session({ optimizer: adam, ...options });
    const before = snapshot(net, session, 2);
    const result = await session.trainStep(uniform(12, 3, x), new Float32Array(6).fill(y), { learningRate: 0.01, step: 1 });
    expect(result.loss).to.be.finite;
    const after = snapshot(net, session, 2);
    return [result.nonFinite, JSON.stringify(after) === JSON.stringify(before), after];
  }

  it('leaves everything as it was where the gradient of another layer overflows', async () => {
    expect((await attempt(1e30, 1e-35, 1, 1e10)).slice(0, 2)).to.deep.equal(['second', true]);
  });

  it('leaves everything as it was where its own gradient overflows', async () => {
    expect((await attempt(3e-36, 1, 3e37, 100)).slice(0, 2)).to.deep.equal(['first', true]);
  });

  it('takes two where its gradient is finite but huge', async () => {
    const [nonFinite, same, after] = await attempt(1e-9, 1, 1e9, 1e9);
    expect([nonFinite, same]).to.deep.equal([undefined, false]);
    expect((await attempt(1e-9, 1, 1e9, 1e9, TWO_PASSES))[2]).to.deep.equal(after);
  });
});
