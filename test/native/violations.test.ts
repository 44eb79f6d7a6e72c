import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { Session } from '../../binding.js';
import { expectRejection } from '../support/errors.js';
import { adam, binding, Net, snapshot, uniform } from './support.js';

interface Options {
  readonly perChannel?: boolean;
  readonly range?: 'tensor' | 'channel';
}

/** Dense layer with a mask of five zeros and a codebook whose zero centroid is number 1. */
function masked({ perChannel = false, range }: Options = {}): Net {
  const net = new Net([6]);
  const weight = net.parameter('dense/kernel', [6, 4], uniform(24, 1));
  net.meanSquaredError(net.add(0, [4], { op: 'dense', kernel: weight }));
  const rows = perChannel ? 4 : 1;
  const centroids = uniform(3 * rows, 5);
  const n = range === 'channel' ? 4 : 1;
  net.chains.push({
    weight,
    mask: {
      tensor: net.state(
        'mask',
        [6, 4],
        Uint8Array.from({ length: 24 }, (_, i) => Number(i % 5 > 0)),
      ),
      writeBack: true,
      maskGradient: false,
    },
    codebook: {
      centroids: net.parameter('centroids', perChannel ? [4, 3] : [3], centroids),
      indices: net.state('indices', [6, 4], new Int32Array(24)),
      perChannel,
      zeroIndex: net.state('zero', [rows], new Int32Array(rows).fill(1)),
      zeroPin: 'index',
      aggregation: 'sum',
    },
    ...(range === undefined
      ? {}
      : {
          fakeQuant: {
            min: net.state('min', [n], new Float32Array(n)),
            max: net.state('max', [n], new Float32Array(n)),
            perChannel: range === 'channel',
          },
        }),
  });
  return net;
}

const x = uniform(12, 2);
const y = uniform(8, 3);
const step = (session: Session, n: number): ReturnType<Session['trainStep']> => session.trainStep(x, y, { learningRate: 0.05, step: n });

describe('A chain that breaks its promise', () => {
  const isas = binding.buildInfo().availableIsas;
  for (const perChannel of [false, true]) {
    for (const range of [undefined, 'tensor', 'channel'] as const) {
      it(`undoes the step and names tensor, kind and count: codebook ${perChannel ? 'per channel' : 'per tensor'}, range ${range ?? 'none'}`, async () => {
        for (const isa of isas) {
          const net = masked({ perChannel, ...(range === undefined ? {} : { range }) });
          const session = net.session({ optimizer: adam, isa });
          for (let n = 1; n <= 3; n++) expect(await step(session, n)).not.to.have.property('violation');
          const zero = net.tensor('zero');
          const pinned = session.getTensor(zero);
          // Without a zero to go to, masked weights take the nearest other centroid.
          session.setTensor(zero, new Int32Array(pinned.length).fill(-1));
          session.setTensor(
            net.tensor('centroids'),
            uniform(perChannel ? 12 : 3, 9).map((v) => v + 2),
          );
          const before = snapshot(net, session, 2);
          const result = await step(session, 4);
          expect(result.violation).to.deep.equal({ tensor: 'dense/kernel', kind: 'zeros', count: 5 });
          expect(result.loss).to.be.NaN;
          expect(snapshot(net, session, 2)).to.deep.equal(before);
          for (const mode of ['inference', 'training', 'observe'] as const) {
            await expectRejection(
              session.forward(x, { mode, step: 4 }),
              'ERR_INVARIANT',
              /^5 weights of 'dense\/kernel' are masked but not zero/,
            );
          }
          // The same after a failed call: nothing remembers the broken weights as good.
          await expectRejection(session.forward(x), 'ERR_INVARIANT');
          session.setTensor(zero, pinned);
          expect(await step(session, 4)).not.to.have.property('violation');
          session.dispose();
        }
      });
    }
  }

  it('does not hide that a value is not finite', async () => {
    const net = masked({ range: 'tensor' });
    const session = net.session({ optimizer: adam });
    session.setTensor(net.tensor('zero'), Int32Array.of(-1));
    session.setTensor(net.tensor('centroids'), Float32Array.of(3e38, -3e38, 3.1e38)); // their range overflows
    const result = await step(session, 1);
    expect(result.nonFinite).to.equal('layer0');
    expect(result).not.to.have.property('violation');
  });

  it('is found in a session that cannot train', async () => {
    const net = masked();
    const session = net.session({ training: false });
    await session.forward(x);
    session.setTensor(net.tensor('mask'), new Uint8Array(24));
    await session.forward(x);
    session.setTensor(net.tensor('zero'), Int32Array.of(-1));
    await expectRejection(session.forward(x), 'ERR_INVARIANT', /^24 weights/);
  });
});
