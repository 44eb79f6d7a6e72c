import { expect } from 'chai';
import { describe, it } from 'mocha';
import { expectCode, expectRejection } from '../support/errors.js';
import { exampleNet } from './example-net.js';
import { adam, binding, Net, uniform } from './support.js';

describe('Session rejects', () => {
  it('bad data for tensors', () => {
    const net = exampleNet();
    const session = net.session({ maxBatch: 4, optimizer: adam });
    const id = (name: string): number => net.tensor(name);
    expectCode(
      () => session.setTensor(id('conv'), new Float32Array(53)),
      'ERR_SHAPE',
      /data of tensor 'conv' must have 54 elements, but has 53/,
    );
    expectCode(() => session.setTensor(id('conv'), new Uint8Array(54)), 'ERR_DTYPE', /tensor 'conv' must be a Float32Array/);
    expectCode(() => session.setTensor(id('conv'), new Float64Array(54) as unknown as Float32Array), 'ERR_DTYPE');
    expectCode(() => session.setTensor(id('conv'), [1] as unknown as Float32Array), 'ERR_DTYPE');
    expectCode(() => session.setTensor(id('mask'), new Float32Array(36)), 'ERR_DTYPE', /must be a Uint8Array/);
    expectCode(() => session.setTensor(id('mask'), new Uint8Array(36).fill(2, 7, 8)), 'ERR_OPTION', /Element 7 of the tensor 'mask' is 2/);
    for (const bad of [-1, 4, 256]) {
      const indices = new Int32Array(36).fill(3).fill(bad, 5, 6);
      expectCode(() => session.setTensor(id('indices'), indices), 'ERR_OPTION', new RegExp(`Element 5 of the tensor 'indices' is ${bad}`));
    }
    session.setTensor(id('indices'), new Int32Array(36).fill(3));
    expect([...session.getTensor(id('indices'))]).to.deep.equal(Array.from({ length: 36 }, () => 3));
    expectCode(() => session.setTensor(id('zero'), Int32Array.of(4)), 'ERR_OPTION', /tensor 'zero' is 4/);
    expectCode(() => session.setTensor(id('zero'), Int32Array.of(-2)), 'ERR_OPTION', /is -2/);
    for (const bad of [NaN, Infinity]) {
      expectCode(
        () => session.setTensor(id('conv'), uniform(54, 1).fill(bad, 9, 10)),
        'ERR_NON_FINITE',
        /Element 9 of the tensor 'conv' is NaN or infinite/,
      );
    }
    expectCode(
      () => session.setSlot(id('conv'), 0, uniform(54, 1).fill(NaN, 3, 4)),
      'ERR_NON_FINITE',
      /Element 3 of slot 0 of the tensor 'conv'/,
    );
    expectCode(() => session.setSlot(id('conv'), 2, new Float32Array(54)), 'ERR_OPTION', /slot must be an index below 2/);
    expectCode(() => session.getSlot(id('mask'), 0), 'ERR_OPTION', /tensor 'mask' has no optimizer slots/);
    expectCode(() => session.getTensor(99), 'ERR_OPTION', /tensor must be an index below/);
    expectCode(() => session.getTensor(0.5), 'ERR_OPTION');
    expectCode(() => session.getTensor('conv' as unknown as number), 'ERR_OPTION');
    expectCode(() => session.getGradient(id('mask')), 'ERR_OPTION', /tensor 'mask' has no gradient/);
    expectCode(() => session.getUsedWeight(1), 'ERR_OPTION', /chain must be an index below 1/);
    expectCode(() => session.getValue(-1), 'ERR_OPTION', /value must be an index/);
    expectCode(
      () => exampleNet().session().getValue(0),
      'ERR_OPTION',
      /getValue of anything but the output needs a session with keepValues/,
    );
    expectCode(() => exampleNet().session({ training: false }).getGradient(0), 'ERR_OPTION', /has no gradient/);
  });

  it('bad data for a step, before anything changes', async () => {
    const net = exampleNet();
    const session = net.session({ maxBatch: 4, optimizer: adam });
    const before = net.tensors.map((_, i) => [...session.getTensor(i)]);
    const x = uniform(64, 1);
    const y = Int32Array.of(0, 1);
    const step = { learningRate: 0.1, step: 1 };
    await expectRejection(session.trainStep(new Float32Array(0), y, step), 'ERR_EMPTY_DATA', /x is empty/);
    await expectRejection(
      session.trainStep(x.subarray(1), y, step),
      'ERR_SHAPE',
      /x has 63 elements, which is no multiple of the input size 32/,
    );
    await expectRejection(session.trainStep(uniform(160, 1), y, step), 'ERR_SHAPE', /x has 5 rows, but maxBatch is 4/);
    await expectRejection(
      session.trainStep(new Int32Array(64) as unknown as Float32Array, y, step),
      'ERR_DTYPE',
      /x must be a Float32Array/,
    );
    await expectRejection(session.trainStep(x, Int32Array.of(0), step), 'ERR_SHAPE', /y must have 2 elements, but has 1/);
    await expectRejection(session.trainStep(x, new Float32Array(2), step), 'ERR_DTYPE', /y must be an Int32Array/);
    await expectRejection(
      session.trainStep(x, Int32Array.of(0, 3), step),
      'ERR_LABEL_RANGE',
      /label of row 1 is 3, but there are 3 classes/,
    );
    await expectRejection(session.trainStep(x, Int32Array.of(-1, 3), step), 'ERR_LABEL_RANGE', /label of row 0 is -1/);
    for (const bad of [NaN, Infinity, -Infinity]) {
      await expectRejection(
        session.trainStep(x.slice().fill(bad, 40, 41), y, step),
        'ERR_NON_FINITE',
        /x is NaN or infinite in row 1, element 8/,
      );
      await expectRejection(session.forward(x.slice().fill(bad, 3, 4)), 'ERR_NON_FINITE', /x is NaN or infinite in row 0, element 3/);
    }
    const untyped = (o: unknown): Promise<unknown> => session.trainStep(x, y, o as typeof step);
    await expectRejection(untyped(undefined), 'ERR_DTYPE', /options must be an object/);
    await expectRejection(untyped({ step: 1 }), 'ERR_OPTION', /options\.learningRate is missing/);
    await expectRejection(untyped({ ...step, learningRate: -1 }), 'ERR_OPTION', /options\.learningRate/);
    await expectRejection(untyped({ ...step, learningRate: NaN }), 'ERR_OPTION', /options\.learningRate must be finite/);
    await expectRejection(untyped({ ...step, step: 0 }), 'ERR_OPTION', /options\.step is 0/);
    await expectRejection(untyped({ ...step, lr: 1 }), 'ERR_OPTION', /options\.lr is not a known field/);
    await expectRejection(session.forward(x, { mode: 'dream' as 'training' }), 'ERR_OPTION', /options\.mode is 'dream'/);
    expect(net.tensors.map((_, i) => [...session.getTensor(i)])).to.deep.equal(before);
  });

  it('targets that are not finite', async () => {
    const net = new Net([2]);
    net.meanSquaredError(net.dense(0, 2, 1));
    const session = net.session();
    await expectRejection(
      session.trainStep(uniform(4, 1), Float32Array.of(0, 0, NaN, 0), { learningRate: 0, step: 1, update: false }),
      'ERR_NON_FINITE',
      /y is NaN or infinite in row 1, element 0/,
    );
  });

  it('a step that the session was not made for', async () => {
    const net = exampleNet();
    const x = uniform(32, 1);
    const step = [x, Int32Array.of(0), { learningRate: 0.1, step: 1 }] as const;
    await expectRejection(net.session({ training: false }).trainStep(...step), 'ERR_OPTION', /needs a session with training: true/);
    await expectRejection(net.session({ training: true }).trainStep(...step), 'ERR_OPTION', /needs a session with an optimizer/);
    await expectRejection(net.session({ training: false }).forward(x, { mode: 'training' }), 'ERR_OPTION', /training: true/);
    const { loss: _, ...lossless } = net.spec;
    await expectRejection(
      new binding.Session(lossless, { maxBatch: 4, training: true, optimizer: adam }).trainStep(...step),
      'ERR_OPTION',
      /needs a program with a loss/,
    );
  });

  it('a second call while busy, and any call after dispose', async () => {
    const net = exampleNet();
    const session = net.session({ maxBatch: 4, optimizer: adam });
    const x = uniform(64, 1);
    const running = session.trainStep(x, Int32Array.of(0, 1), { learningRate: 0.1, step: 1 });
    await expectRejection(session.trainStep(x, Int32Array.of(0, 1), { learningRate: 0.1, step: 1 }), 'ERR_SESSION_BUSY', /busy/);
    await expectRejection(session.forward(x), 'ERR_SESSION_BUSY');
    expectCode(() => session.setTensor(0, new Float32Array(54)), 'ERR_SESSION_BUSY');
    expectCode(() => session.getTensor(0), 'ERR_SESSION_BUSY');
    expectCode(() => session.dispose(), 'ERR_SESSION_BUSY', /before dispose/);
    expect((await running).loss).to.be.above(0);
    expect((await session.forward(x)).length).to.equal(6);
    session.dispose();
    await expectRejection(session.forward(x), 'ERR_DISPOSED', /disposed/);
    await expectRejection(session.trainStep(x, Int32Array.of(0, 1), { learningRate: 0.1, step: 1 }), 'ERR_DISPOSED');
    for (const call of [
      () => session.getTensor(0),
      () => session.setTensor(0, new Float32Array(54)),
      () => session.getValue(0),
      () => session.getUsedWeight(0),
      () => session.getSlot(0, 0),
      () => session.getGradient(0),
    ]) {
      expectCode(call, 'ERR_DISPOSED');
    }
    expect(session.arenaBytes).to.be.above(0);
  });

  it('bad sizes for matmul', () => {
    const a = new Float32Array(4);
    expectCode(() => binding.matmul(a, a, 2, 2, 3, a), 'ERR_SHAPE', /a must have 6 elements/);
    expectCode(() => binding.matmul(a, a, 0, 2, 2, a), 'ERR_OPTION', /m must be an integer/);
    expectCode(() => binding.matmul(a, a, 2, 2, 1e9, a), 'ERR_OPTION', /k must be an integer/);
    expectCode(
      () => binding.matmul(a, a, 2, 2, 2, new Int32Array(4) as unknown as Float32Array),
      'ERR_DTYPE',
      /out must be a Float32Array/,
    );
    expectCode(() => binding.matmul(a, a, 2, 2, 2, a, 'mmx' as 'avx2'), 'ERR_ISA');
  });
});
