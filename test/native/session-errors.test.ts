import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { PcqatErrorCode } from '#lib/errors.js';
import { expectCode, expectRejection } from '../support/errors.js';
import type { ProgramSpec, SessionOptions } from '../../binding.js';
import { adam, binding, Net, uniform } from './support.js';

/** A program that has every kind of field: conv, batchNorm with fake quantization, pool, dense with a chain, loss. */
function example(): Net {
  const net = new Net([4, 4, 2]);
  const kernel = net.parameter('conv', [3, 3, 2, 3], uniform(54, 1));
  const conv = net.add(0, [4, 4, 3], {
    op: 'conv2d',
    kernel,
    strides: [1, 1],
    padding: [1, 1, 1, 1],
    dilation: [1, 1],
    activation: 'relu',
  });
  const range = (name: string, value: number): number => net.state(name, [1], Float32Array.of(value));
  const bn = net.batchNorm(conv, 2, { fakeQuant: { min: range('bn:min', -6), max: range('bn:max', 6), update: 'movingAverage' } });
  const pool = net.add(bn, [2, 2, 3], { op: 'maxPool', pool: [2, 2], strides: [2, 2], padding: [0, 0, 0, 0] });
  const dropped = net.add(net.reshape(pool, [12]), [12], { op: 'dropout', rate: 0.5 });
  net.crossEntropy(net.dense(dropped, 3, 4), { labelSmoothing: 0.1 });
  const weight = net.tensor('dense5/kernel');
  net.chains.push({
    weight,
    mask: { tensor: net.state('mask', [12, 3], new Uint8Array(36).fill(1)), writeBack: true, maskGradient: false },
    codebook: {
      centroids: net.parameter('centroids', [4], uniform(4, 5)),
      indices: net.state('indices', [12, 3], new Int32Array(36)),
      perChannel: false,
      zeroIndex: net.state('zero', [1], Int32Array.of(1)),
      zeroPin: 'index',
      aggregation: 'sum',
    },
    fakeQuant: { min: net.state('w:min', [3], new Float32Array(3)), max: net.state('w:max', [3], new Float32Array(3)), perChannel: true },
  });
  return net;
}

/** A deep copy with `path` (dot separated) set to `value`; `undefined` deletes. */
function changed(spec: unknown, path: string, value: unknown): ProgramSpec {
  const copy = structuredClone(spec) as ProgramSpec;
  const keys = path.split('.');
  const last = keys.pop()!;
  const target = keys.reduce(
    (object, key) => (object as Record<string, Record<string, unknown>>)[key],
    copy as unknown as Record<string, unknown>,
  );
  if (value === undefined) delete target[last];
  else target[last] = value;
  return copy;
}

const options: SessionOptions = { maxBatch: 4, training: true, threads: 1, optimizer: adam };
const base = example();
const program = base.spec;
const t = (name: string): number => base.tensor(name);
const open = (spec: unknown, o: unknown = options): unknown => new binding.Session(spec as ProgramSpec, o as SessionOptions);

describe('Session rejects', () => {
  it('nothing of the valid program', () => {
    expect(() => open(program)).not.to.throw();
  });

  const cases: [string, unknown, PcqatErrorCode, RegExp][] = [
    // the parser: types, missing and unknown fields
    ['tensors', undefined, 'ERR_OPTION', /tensors is missing/],
    ['tensors', 7, 'ERR_DTYPE', /tensors must be an array, but is a number/],
    ['tensors.0', null, 'ERR_DTYPE', /tensors\[0\] must be an object, but is null/],
    ['tensors.0.name', 5, 'ERR_DTYPE', /tensors\[0\]\.name must be a string/],
    ['tensors.0.dtype', 'f64', 'ERR_OPTION', /tensors\[0\]\.dtype is 'f64', but must be one of 'f32', 'u8', 'i32'/],
    ['tensors.0.shape.1', '3', 'ERR_DTYPE', /tensors\[0\]\.shape\[1\] must be a number/],
    ['tensors.0.shape.1', 2.5, 'ERR_OPTION', /tensors\[0\]\.shape\[1\] must be an integer/],
    ['tensors.0.colour', 'red', 'ERR_OPTION', /tensors\[0\]\.colour is not a known field/],
    ['instructions.0.kernel', undefined, 'ERR_OPTION', /instructions\[0\]\.kernel is missing/],
    ['instructions.0.op', 'conv3d', 'ERR_OPTION', /instructions\[0\]\.op is 'conv3d'/],
    ['instructions.0.strides', [1], 'ERR_SHAPE', /instructions\[0\]\.strides must have 2 elements/],
    ['instructions.0.padding', [1, 1, 1, 1, 1], 'ERR_SHAPE', /instructions\[0\]\.padding has more than 4/],
    ['instructions.0.activation', 'tanh', 'ERR_OPTION', /activation is 'tanh'/],
    ['instructions.1.epsilon', NaN, 'ERR_OPTION', /instructions\[1\]\.epsilon must be finite/],
    ['instructions.1.fakeQuant.update', 'sometimes', 'ERR_OPTION', /instructions\[1\]\.fakeQuant\.update/],
    ['instructions.1.fakeQuant.bits', 9, 'ERR_OPTION', /bits is 9, but must be between 2 and 8/],
    ['instructions.1.fakeQuant.bits', 1, 'ERR_OPTION', /bits is 1/],
    ['chains.0.codebook.perChannel', 1, 'ERR_DTYPE', /chains\[0\]\.codebook\.perChannel must be a boolean/],
    ['chains.0.codebook.zeroIndex', undefined, 'ERR_OPTION', /zeroPin needs zeroIndex/],
    ['chains.0.codebook.zeroPin', undefined, 'ERR_OPTION', /zeroIndex needs zeroPin/],
    ['chains.0.mask.tensor', -2, 'ERR_GRAPH', /chains\[0\]\.mask\.tensor is -2/],
    ['loss.kind', 'hinge', 'ERR_OPTION', /loss\.kind/],
    ['loss.labelSmoothing', 1, 'ERR_OPTION', /labelSmoothing must be in \[0, 1\)/],
    // structure
    ['tensors.1.name', 'conv', 'ERR_OPTION', /name of tensor 'conv' \(tensors\[1\]\) is used twice/],
    ['instructions.0.kernel', 99, 'ERR_GRAPH', /kernel of layer 'layer0' \(instructions\[0\]\) is tensor 99/],
    ['instructions.0.input', 3, 'ERR_GRAPH', /layer 'layer0' \(instructions\[0\]\) reads value 'layer2:out' before it is written/],
    ['instructions.0.input', 1, 'ERR_GRAPH', /reads value 'layer0:out' before it is written/],
    ['instructions.2.output', 1, 'ERR_GRAPH', /layer 'layer2' \(instructions\[2\]\) writes value 'layer0:out', which is already written/],
    ['instructions.0.output', 77, 'ERR_GRAPH', /output of layer 'layer0' \(instructions\[0\]\) is value 77/],
    ['input', 60, 'ERR_GRAPH', /program's input is value 60/],
    ['output', 60, 'ERR_GRAPH', /program's output is value 60/],
    ['values.7', { name: 'orphan', shape: [1] }, 'ERR_GRAPH', /value 'orphan' \(values\[7\]\) is never written/],
    ['loss.logits', 70, 'ERR_GRAPH', /loss's logits is value 70/],
    ['loss.logits', 2, 'ERR_SHAPE', /logits 'layer1:out' must have the shape \[classes\]/],
    ['instructions.1.beta', t('bn1/gamma'), 'ERR_OPTION', /'bn1\/gamma' is the gamma of .* and cannot also be the beta/],
    ['chains.1', { weight: t('dense5/kernel') }, 'ERR_OPTION', /more than one chain; the second is chains\[1\]/],
    ['instructions.1.fakeQuant.max', t('bn:min'), 'ERR_OPTION', /'bn:min' is the fakeQuant.min of .* and cannot also be the fakeQuant.max/],
    // shapes
    ['tensors.0.shape', [], 'ERR_SHAPE', /shape of tensor 'conv' \(tensors\[0\]\) is empty/],
    ['tensors.0.shape.1', 0, 'ERR_SHAPE', /has a dimension below 1/],
    ['tensors.0.shape', [1e6, 1e6, 1e6, 1e6], 'ERR_SHAPE', /too many elements/],
    ['tensors.0.shape', [9007199254740991, 9007199254740991, 3, 3], 'ERR_SHAPE', /too many elements/],
    ['tensors.0.shape', [1, 1, 1, 1, 1, 1, 1, 1, 1], 'ERR_SHAPE', /shape has more than 8/],
    ['values.0.shape', [1e5, 1e4, 2], 'ERR_SHAPE', /value 'x' \(values\[0\]\) has too many elements for 4 rows/],
    ['tensors.0.shape', [3, 3, 3, 3], 'ERR_SHAPE', /does not fit the 2 channels of the input 'x'/],
    ['tensors.0.shape', [3, 18], 'ERR_SHAPE', /kernel of layer 'layer0' .* must have rank 4/],
    ['tensors.0.shape', [7, 7, 2, 3], 'ERR_SHAPE', /window does not fit/],
    ['values.1.shape', [4, 4, 4], 'ERR_SHAPE', /output 'layer0:out' must have the shape \[4, 4, 3\], but has \[4, 4, 4\]/],
    [
      `tensors.${t('bn1/gamma')}.shape`,
      [4],
      'ERR_SHAPE',
      /gamma of layer 'layer1' .*'bn1\/gamma', must have the shape \[3\], but has \[4\]/,
    ],
    ['values.4.shape', [13], 'ERR_SHAPE', /cannot reshape \[2, 2, 3\] to \[13\]/],
    ['values.6.shape', [5], 'ERR_SHAPE', /must have the shape \[3\], but has \[5\]/],
    [`tensors.${t('dense5/kernel')}.shape`, [5], 'ERR_SHAPE', /kernel of layer 'layer5'/],
    [
      'chains.0.codebook.perChannel',
      true,
      'ERR_SHAPE',
      /codebook\.centroids of chains\[0\] \(weight 'dense5\/kernel'\).* must have the shape \[3, K\]/,
    ],
    ['chains.0.fakeQuant.perChannel', false, 'ERR_SHAPE', /must have the shape \[1\], but has \[3\]/],
    // dtypes
    ['tensors.0.dtype', 'u8', 'ERR_DTYPE', /tensor 'conv' \(tensors\[0\]\) is trainable, so its dtype must be f32/],
    ['chains.0.mask.tensor', t('w:min'), 'ERR_DTYPE', /mask\.tensor of chains\[0\].* must have the dtype u8, but has f32/],
    ['chains.0.codebook.indices', t('mask'), 'ERR_DTYPE', /must have the dtype i32, but has u8/],
    // attributes
    ['instructions.0.strides', [0, 1], 'ERR_OPTION', /strides must be between 1 and 65536, but is 0/],
    ['instructions.0.dilation', [1, 1e9], 'ERR_OPTION', /dilation must be between/],
    ['instructions.0.padding', [-1, 0, 0, 0], 'ERR_OPTION', /padding must be between 0/],
    ['instructions.0.padding', [3, 1, 1, 1], 'ERR_OPTION', /padding must be smaller than the \(dilated\) window of 3 x 3/],
    ['instructions.2.padding', [2, 0, 0, 0], 'ERR_OPTION', /padding must be smaller/],
    ['instructions.1.momentum', 1.5, 'ERR_OPTION', /momentum must be in \[0, 1\]/],
    ['instructions.1.epsilon', 0, 'ERR_OPTION', /epsilon must be in \(0, 1\]/],
    ['instructions.1.fakeQuant.decay', 2, 'ERR_OPTION', /decay must be in \[0, 1\]/],
    ['instructions.4.rate', 1, 'ERR_OPTION', /layer 'layer4' .*rate must be in \[0, 1\)/],
    [
      `tensors.${t('bn1/moving_mean')}.trainable`,
      true,
      'ERR_OPTION',
      /movingMean, tensor 'bn1\/moving_mean', is state and cannot be trainable/,
    ],
  ];
  for (const [path, value, code, message] of cases) {
    it(`program.${path} = ${JSON.stringify(value)} (${String(message)})`, () => {
      expectCode(() => open(changed(program, path, value)), code, message);
    });
  }

  const optionCases: [string, unknown, PcqatErrorCode, RegExp][] = [
    ['maxBatch', 0, 'ERR_OPTION', /options\.maxBatch is 0, but must be between 1/],
    ['maxBatch', 1.5, 'ERR_OPTION', /options\.maxBatch must be an integer/],
    ['maxBatch', undefined, 'ERR_OPTION', /options\.maxBatch is missing/],
    ['training', 'yes', 'ERR_DTYPE', /options\.training must be a boolean/],
    ['threads', 0, 'ERR_OPTION', /options\.threads is 0/],
    ['seed', -1, 'ERR_OPTION', /options\.seed/],
    ['clipNorm', 0, 'ERR_OPTION', /options\.clipNorm must be positive/],
    ['clipValue', -1, 'ERR_OPTION', /options\.clipValue must be positive/],
    ['isa', 'sse9', 'ERR_ISA', /'sse9' is not available/],
    ['isa', 3, 'ERR_DTYPE', /isa must be a string/],
    ['speed', 1, 'ERR_OPTION', /options\.speed is not a known field/],
    ['optimizer.kind', 'adagrad', 'ERR_OPTION', /optimizer\.kind/],
    ['optimizer.beta1', 1, 'ERR_OPTION', /optimizer\.beta1 must be in \[0, 1\)/],
    ['optimizer.epsilon', 0, 'ERR_OPTION', /optimizer\.epsilon/],
    ['optimizer.weightDecay', -1, 'ERR_OPTION', /optimizer\.weightDecay/],
    ['optimizer.momentum', 0.9, 'ERR_OPTION', /optimizer\.momentum is not a known field/],
  ];
  for (const [path, value, code, message] of optionCases) {
    it(`options.${path} = ${JSON.stringify(value)}`, () => expectCode(() => open(program, changed(options, path, value)), code, message));
  }

  it('arguments that are no objects, and a call without new', () => {
    expectCode(() => open(undefined), 'ERR_DTYPE', /must be an object/);
    expectCode(() => open(program, 5), 'ERR_DTYPE', /options must be an object/);
    expect(() => (binding.Session as unknown as (a: unknown, b: unknown) => void)(program, options)).to.throw();
  });

  it('a session larger than the machine, without allocating it', () => {
    const net = new Net([40000]);
    net.add(0, [50000], { op: 'dense', kernel: net.parameter('k', [40000, 50000], new Float32Array(0)) });
    const before = process.memoryUsage().rss;
    const spec = {
      ...net.spec,
      tensors: [
        ...net.tensors,
        ...Array.from({ length: 300 }, (_, i) => ({ name: `t${i}`, shape: [2000000000], dtype: 'f32', trainable: false })),
      ],
    };
    expectCode(() => open(spec), 'ERR_OUT_OF_MEMORY', /needs \d+ MiB, but this machine has \d+ MiB/);
    expect(process.memoryUsage().rss - before).to.be.below(50 << 20);
  });

  it('bad data for tensors', () => {
    const session = example().session({ maxBatch: 4, optimizer: adam });
    const id = (name: string): number => base.tensor(name);
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
    expectCode(() => example().session({ training: false }).getValue(0), 'ERR_OPTION', /getValue needs/);
    expectCode(() => example().session({ training: false }).getGradient(0), 'ERR_OPTION', /has no gradient/);
  });

  it('bad data for a step, before anything changes', async () => {
    const net = example();
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
    const net = example();
    const x = uniform(32, 1);
    const step = [x, Int32Array.of(0), { learningRate: 0.1, step: 1 }] as const;
    await expectRejection(net.session({ training: false }).trainStep(...step), 'ERR_OPTION', /needs a session with training: true/);
    await expectRejection(net.session({ training: true }).trainStep(...step), 'ERR_OPTION', /needs a session with an optimizer/);
    await expectRejection(net.session({ training: false }).forward(x, { mode: 'training' }), 'ERR_OPTION', /training: true/);
    const { loss: _, ...lossless } = net.spec;
    await expectRejection(new binding.Session(lossless, options).trainStep(...step), 'ERR_OPTION', /needs a program with a loss/);
  });

  it('a second call while busy, and any call after dispose', async () => {
    const net = example();
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
