import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { IntegerProgramSpec, IntegerTensorSpec } from '../../binding.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { loadBinding, nativeInfo } from '#lib/native.js';
import { expectCode, expectRejection } from '../support/errors.js';
import { integers, program, quantized, rejects, weights } from '../support/integer-programs.js';
import { bytesOf, goldenModels } from '../support/golden-tflite.js';

const { IntegerSession } = loadBinding();

const relu = (x: Partial<IntegerTensorSpec>, y: Partial<IntegerTensorSpec> = {}): IntegerProgramSpec =>
  program('RELU', [quantized('x', [1, 4], x), quantized('y', [1, 4], y)]);

const conv = (
  change: { x?: Partial<IntegerTensorSpec>; w?: Partial<IntegerTensorSpec>; y?: Partial<IntegerTensorSpec>; options?: object } = {},
): IntegerProgramSpec =>
  program(
    'CONV_2D',
    [
      quantized('x', [1, 4, 4, 2], change.x),
      weights([3, 3, 3, 2], change.w),
      integers('b', [1, 2, 3]),
      quantized('y', [1, 4, 4, 3], change.y),
    ],
    { padding: 'SAME', strideW: 1, strideH: 1, ...change.options },
  );

describe('IntegerSession, bad programs', () => {
  it('accepts the programs that the others are derived from', () => {
    for (const spec of [relu({}), conv()]) new IntegerSession(spec).dispose();
  });

  const zero = Float32Array.of(0);
  rejects('an unknown operator, by name', program('LSTM', [quantized('x', [1, 4]), quantized('y', [1, 4])]), 'ERR_UNSUPPORTED', /LSTM/);
  rejects('a scale of 0', relu({ scale: zero }), 'ERR_FORMAT', /'x'.*scale/);
  rejects('a NaN scale', relu({ scale: Float32Array.of(NaN) }), 'ERR_FORMAT', /scale/);
  rejects('an infinite scale', relu({ scale: Float32Array.of(Infinity) }), 'ERR_FORMAT', /scale/);
  rejects('a zero point outside int8', relu({ zeroPoint: Int32Array.of(128) }), 'ERR_FORMAT', /zero point 128/);
  rejects('a tensor without scale', relu({ scale: new Float32Array(), zeroPoint: new Int32Array() }), 'ERR_FORMAT', /'x'.*scale/);
  rejects('scales without zero points', relu({ zeroPoint: new Int32Array() }), 'ERR_FORMAT', /zero points/);
  rejects('a huge shape', relu({ shape: [1, 65536, 65536] }), 'ERR_FORMAT', /too large/);
  rejects('a negative dimension', relu({ shape: [1, -4] }), 'ERR_FORMAT', /shape/);
  rejects('an empty shape', relu({ shape: [0] }), 'ERR_FORMAT', /empty/);
  rejects('other sizes of input and output', relu({ shape: [1, 5] }), 'ERR_FORMAT', /size/);
  rejects('float data', relu({ dtype: 'float32' }), 'ERR_FORMAT', /type/);
  rejects('an input that is a constant', relu({ data: new Uint8Array(4) }), 'ERR_FORMAT', /constant/);
  rejects(
    'a ratio of scales beyond all reason',
    relu({ scale: Float32Array.of(1e20) }, { scale: Float32Array.of(1e-20) }),
    'ERR_UNSUPPORTED',
    /ratio/,
  );

  rejects('constant data of another size', conv({ w: { data: new Uint8Array(5) } }), 'ERR_FORMAT', /5 bytes/);
  rejects(
    'weights that are no constant',
    { ...conv(), tensors: conv().tensors.map((t) => (t.name === 'w' ? quantized('w', t.shape) : t)) },
    'ERR_FORMAT',
    /before it is written/,
  );
  rejects('another number of filters than channels', conv({ y: { shape: [1, 4, 4, 5] } }), 'ERR_FORMAT', /filters/);
  rejects('an output size that does not follow', conv({ y: { shape: [1, 3, 4, 3] } }), 'ERR_FORMAT', /height and width/);
  rejects('grouped convolution', conv({ x: { shape: [1, 4, 4, 4] } }), 'ERR_UNSUPPORTED', /grouped/);
  rejects('a window larger than the input', conv({ options: { padding: 'VALID', dilationWFactor: 9 } }), 'ERR_FORMAT', /window/);
  rejects(
    'a window that reaches far beyond the input',
    conv({ options: { padding: 'SAME', dilationWFactor: 2 ** 20, dilationHFactor: 2 ** 20 } }),
    'ERR_UNSUPPORTED',
    /reaches/,
  );
  rejects('a stride of 0', conv({ options: { strideW: 0 } }), 'ERR_FORMAT', /strideW/);
  rejects('a fractional stride', conv({ options: { strideH: 1.5 } }), 'ERR_FORMAT', /strideH/);
  rejects('a stride that is text', conv({ options: { strideH: '1' } }), 'ERR_FORMAT', /strideH/);
  rejects('an unknown padding', conv({ options: { padding: 'REFLECT' } }), 'ERR_FORMAT', /padding/);
  rejects('an unsupported activation', conv({ options: { fusedActivationFunction: 'TANH' } }), 'ERR_UNSUPPORTED', /TANH/);
  rejects('a batch in the file', conv({ x: { shape: [2, 4, 4, 2] }, y: { shape: [2, 4, 4, 3] } }), 'ERR_UNSUPPORTED', /batch/);
  rejects('int8 weights with a zero point', conv({ w: { zeroPoint: Int32Array.of(3) } }), 'ERR_UNSUPPORTED', /zero point/);
  rejects('weights of another type', conv({ w: { dtype: 'uint8' } }), 'ERR_UNSUPPORTED', /uint8/);
  rejects(
    'scales along the wrong axis',
    conv({ w: { scale: new Float32Array(3).fill(1), zeroPoint: new Int32Array(3), axis: 1 } }),
    'ERR_FORMAT',
    /axis/,
  );

  const other = { scale: Float32Array.of(0.25) };
  const pool = { filterWidth: 2, filterHeight: 2, strideW: 2, strideH: 2, padding: 'VALID' };
  rejects(
    'a pool that rescales',
    program('MAX_POOL_2D', [quantized('x', [1, 4, 4, 2]), quantized('y', [1, 2, 2, 2], other)], pool),
    'ERR_UNSUPPORTED',
    /parameters/,
  );
  rejects(
    'a pool without window',
    program('MAX_POOL_2D', [quantized('x', [1, 4, 4, 2]), quantized('y', [1, 2, 2, 2])], { ...pool, filterWidth: 0 }),
    'ERR_FORMAT',
    /filterWidth/,
  );
  rejects(
    'a mean over other axes',
    program('MEAN', [quantized('x', [1, 4, 4, 2]), integers('axes', [3]), quantized('y', [1, 4, 4])]),
    'ERR_UNSUPPORTED',
    /axes/,
  );
  rejects(
    'an axis out of range',
    program('MEAN', [quantized('x', [1, 4, 4, 2]), integers('axes', [7]), quantized('y', [1, 2])]),
    'ERR_FORMAT',
    /axis/,
  );
  rejects(
    'negative padding',
    program('PAD', [quantized('x', [1, 4]), integers('p', [0, 0, -1, 1], [2, 2]), quantized('y', [1, 4])]),
    'ERR_FORMAT',
    /shape/,
  );
  rejects(
    'broadcasting',
    program('ADD', [quantized('x', [1, 4]), quantized('c', [1, 4], { data: new Uint8Array(4) }), quantized('y', [1, 4])]),
    'ERR_UNSUPPORTED',
    /constant/,
  );
  rejects(
    'dense weights that do not fit',
    program('FULLY_CONNECTED', [quantized('x', [1, 5]), weights([2, 4]), quantized('y', [1, 2])]),
    'ERR_FORMAT',
    /depth/,
  );
  rejects(
    'reshape to another size',
    program('RESHAPE', [quantized('x', [1, 4]), integers('s', [1, 5]), quantized('y', [1, 5])]),
    'ERR_FORMAT',
    /size/,
  );
  rejects(
    'an infinite beta',
    program('SOFTMAX', [quantized('x', [1, 4]), quantized('y', [1, 4])], { beta: Infinity }),
    'ERR_FORMAT',
    /beta/,
  );

  rejects(
    'an index that names no tensor',
    { ...relu({}), operators: [{ op: 'RELU', inputs: [7], outputs: [1], options: {} }] },
    'ERR_FORMAT',
    /tensor 7/,
  );
  rejects(
    'a value read before it is written',
    { ...relu({}), operators: [{ op: 'RELU', inputs: [1], outputs: [1], options: {} }] },
    'ERR_FORMAT',
    /before/,
  );
  rejects('a value written twice', { ...relu({}), operators: [...relu({}).operators, ...relu({}).operators] }, 'ERR_FORMAT', /second time/);
  rejects('no operators', { ...relu({}), operators: [] }, 'ERR_FORMAT', /no operators/);
  rejects(
    'an operator without input',
    { ...relu({}), operators: [{ op: 'RELU', inputs: [-1], outputs: [1], options: {} }] },
    'ERR_FORMAT',
    /no input/,
  );
  rejects('two inputs', { ...relu({}), inputs: [0, 0] }, 'ERR_UNSUPPORTED', /2 inputs/);
  rejects('an output that nothing writes', { ...relu({}), outputs: [0], inputs: [1] }, 'ERR_FORMAT', /before|writes/);

  it('refuses activations that would take all memory, and work without end, before it allocates', () => {
    const big = [1, 32768, 32768, 1];
    const huge = program('RELU', [quantized('x', big), quantized('y', big)]);
    expectCode(() => new IntegerSession(huge), 'ERR_UNSUPPORTED', /MiB/);
    const shape = [1, 4096, 4096, 1];
    const pooled = program('MAX_POOL_2D', [quantized('x', shape), quantized('y', shape)], {
      filterWidth: 4096,
      filterHeight: 4096,
      padding: 'SAME',
    });
    expectCode(() => new IntegerSession(pooled), 'ERR_UNSUPPORTED', /multiplications/);
  });

  it('rejects JavaScript values of the wrong kind', () => {
    const bad = (spec: unknown, code: 'ERR_DTYPE' | 'ERR_OPTION', message: RegExp): void =>
      expectCode(() => new IntegerSession(spec as IntegerProgramSpec), code, message);
    bad(undefined, 'ERR_DTYPE', /program/);
    bad({}, 'ERR_OPTION', /tensors is missing/);
    bad({ ...relu({}), operators: [3] }, 'ERR_DTYPE', /operators\[0\]/);
    bad(relu({ scale: [1] as unknown as Float32Array }), 'ERR_DTYPE', /tensors\[0\]\.scale/);
    bad(relu({ dtype: 'int4' as 'int8' }), 'ERR_OPTION', /int4/);
    bad(relu({ shape: ['1'] as unknown as number[] }), 'ERR_DTYPE', /shape\[0\]/);
    bad({ ...relu({}), inputs: [0.5] }, 'ERR_OPTION', /inputs/);
    bad({ ...relu({}), operators: [{ ...relu({}).operators[0], options: 1 }] }, 'ERR_DTYPE', /options/);
  });

  it('checks its options', () => {
    expectCode(() => new IntegerSession(relu({}), { threads: 0 }), 'ERR_OPTION', /threads/);
    expectCode(() => new IntegerSession(relu({}), { threads: 1.5 }), 'ERR_OPTION', /threads/);
    expectCode(() => new IntegerSession(relu({}), { isa: 'sse2' as 'avx2' }), 'ERR_ISA', /sse2/);
    expectCode(() => new IntegerSession(relu({}), { thread: 1 } as object), 'ERR_OPTION', /thread/);
  });
});

describe('IntegerSession, bad calls', () => {
  it('checks the input of run', async () => {
    const session = new IntegerSession(relu({}));
    await expectRejection(session.run(new Int8Array(5)), 'ERR_SHAPE', /5 values/);
    await expectRejection(session.run(new Int8Array()), 'ERR_SHAPE', /0 values/);
    await expectRejection(session.run(new Uint8Array(4)), 'ERR_DTYPE', /int8/);
    await expectRejection(session.run([1, 2, 3, 4] as unknown as Int8Array), 'ERR_DTYPE');
    expect(await session.run(Int8Array.of(-3, 3, 0, 1))).to.deep.equal(Int8Array.of(0, 3, 0, 1));
  });

  it('runs one call at a time, and none after dispose', async () => {
    const session = new IntegerSession(relu({}));
    const long = new Int8Array(2 ** 26); // a short call is done before it returns
    const running = session.run(long);
    await expectRejection(session.run(new Int8Array(4)), 'ERR_SESSION_BUSY');
    expectCode(() => session.dispose(), 'ERR_SESSION_BUSY');
    await running;
    session.dispose();
    session.dispose();
    await expectRejection(session.run(new Int8Array(4)), 'ERR_DISPOSED');
    expectCode(() => session.getValue(0), 'ERR_DISPOSED');
  });

  it('ends quietly when its worker is terminated during a run', async () => {
    const script = `
      const { workerData, parentPort } = require('node:worker_threads');
      const addon = { exports: {} };
      process.dlopen(addon, workerData.path);
      const session = new addon.exports.IntegerSession(workerData.program, { threads: 2 });
      void session.run(new Int8Array(workerData.values));
      parentPort.postMessage('running');`;
    const shape = [1, 64, 64, 32];
    const program = conv({ x: { shape }, y: { shape: [1, 64, 64, 3] }, w: weights([3, 15, 15, 32]) });
    const workerData = { path: nativeInfo().path, program, values: 40 * 64 * 64 * 32 };
    for (let i = 0; i < 4; i++) {
      const worker = new Worker(script, { eval: true, workerData });
      await once(worker, 'message');
      expect(await worker.terminate()).to.equal(1);
    }
  });

  it('copies its input before run returns', async () => {
    const session = new IntegerSession(relu({}));
    const x = Int8Array.of(1, 2, 3, 4);
    const running = session.run(x);
    x.fill(0);
    expect(await running).to.deep.equal(Int8Array.of(1, 2, 3, 4));
  });

  it('gives values only where they are kept', async () => {
    const model = readTflite(bytesOf(goldenModels.get('dense-qat-adam')!.file));
    const kept = new IntegerSession(model, { keepValues: true });
    expectCode(() => kept.getValue(0), 'ERR_OPTION', /keepValues/);
    await kept.run(new Int8Array(10));
    expect(kept.getValue(1)).to.deep.equal(new Int8Array(model.tensors[1]!.data!));
    expect(kept.getValue(0)).to.deep.equal(new Int8Array(10));
    expectCode(() => kept.getValue(7), 'ERR_OPTION', /no such tensor.*0 to 6/);
    const plain = new IntegerSession(model);
    await plain.run(new Int8Array(10));
    expectCode(() => plain.getValue(0), 'ERR_OPTION', /keepValues/);
  });
});
