import { expect } from 'chai';
import { describe, it } from 'mocha';
import {
  adam,
  batches,
  calibrate,
  cloneModel,
  constantSparsity,
  createModel,
  evaluate,
  exponentialDecay,
  fit,
  GraphBuilder,
  meanSquaredError,
  type Model,
  predict,
  pruneLowMagnitude,
  sgd,
  type TrainingState,
} from '#lib/index.js';
import { dropoutMask, philox4x32 } from '#lib/tfjs/dropout.js';
import { UTIL_SHIM } from '#lib/tfjs/explain.js';
import { createTfjsSession, evaluateTfjs, fitTfjs, loadTfjsNode, runTfjs } from '#lib/tfjs/index.js';
import { explained } from '#lib/tfjs/explain.js';
import { expectCode, expectRejection } from '../support/errors.js';
import { quarters, train } from '../support/training.js';
import { residualNet, separableNet, stages } from './stages.js';
import { relativeDistance, tf } from './support.js';

const data = quarters(20, [6, 6, 2]);
const [x, y] = [data.x.slice(0, 4 * 72), (data.y as Int32Array).slice(0, 4)];
const optimizer = adam({ learningRate: exponentialDecay({ initial: 0.01, decaySteps: 3, decayRate: 0.5 }) });

function expectClose(actual: Model, expected: Model, tolerance = 1e-4): void {
  for (const [name, tensor] of expected.tensors) {
    expect(relativeDistance(actual.tensors.get(name)!.data, tensor.data), name).to.be.at.most(tolerance);
  }
}

async function pcqat(): Promise<Model> {
  const model = residualNet();
  await train(model, data, { batchSize: 4 });
  return stages.pcqat(model);
}

describe('a session on tfjs', () => {
  it('takes the steps of fit: learning rate, loss, masks on their schedule', async () => {
    const schedule = constantSparsity({ targetSparsity: 0.5, beginStep: 2, frequency: 2 });
    const native = pruneLowMagnitude(separableNet(), { schedule });
    const stepped = cloneModel(native);
    const seen: { loss: number; learningRate: number }[] = [];
    await fit(native, { train: data, epochs: 1, batchSize: 4, shuffle: false, optimizer, threads: 1, callbacks: { onStep: (info) => void seen.push(info) } }); // prettier-ignore
    const session = createTfjsSession(tf, stepped, { optimizer });
    for (const batch of batches(data, { batchSize: 4 })) {
      const step = await session.step(batch.x, batch.y);
      expect(step.loss).to.be.closeTo(seen[step.step - 1].loss, 1e-5);
      expect(step.learningRate).to.equal(seen[step.step - 1].learningRate);
      expect(step.gradientNorm).to.be.above(0);
    }
    session.sync();
    session.dispose();
    // What fit does at the end of an epoch: stored weights sparse.
    for (const weight of native.chains.keys()) {
      const mask = stepped.tensors.get(`${weight}:mask`)!.data;
      expect(mask).to.deep.equal(native.tensors.get(`${weight}:mask`)!.data);
      stepped.tensors.get(weight)!.data.forEach((_, i, all) => mask[i] === 0 && (all[i] = 0));
    }
    expectClose(stepped, native);
    expect(stepped.optimizer?.step).to.equal(5);
  });

  it('leaves no tensors behind, whether steps succeed or fail', async () => {
    const before = tf.memory().numTensors;
    const session = createTfjsSession(tf, await pcqat(), { optimizer: sgd({ learningRate: 0.01, momentum: 0.9 }), clipNorm: 1, seed: 3 });
    await session.step(x, y);
    await session.forward(x);
    const during = tf.memory().numTensors;
    for (let i = 0; i < 3; i++) await session.step(x, y);
    await session.forward(x);
    await expectRejection(session.step(x, Int32Array.of(0, 1, 2, 4)), 'ERR_LABEL_RANGE');
    expect(tf.memory().numTensors).to.equal(during);
    session.dispose();
    expect(tf.memory().numTensors).to.equal(before);

    const model = separableNet();
    await fitTfjs(tf, model, { train: data, validation: data, epochs: 1, batchSize: 8 });
    await evaluateTfjs(tf, model, data);
    await runTfjs(tf, model, x);
    await fitTfjs(tf, model, { train: data, epochs: 1, optimizer: sgd({ learningRate: 1e38 }) }).catch(() => undefined);
    expect(tf.memory().numTensors).to.equal(before);
  });

  it('gives the outputs of predict and the quality of evaluate, softmax included', async () => {
    const g = new GraphBuilder('softmax');
    const dense = g.dense(g.input([5]), { units: 4 });
    const model = createModel(g.build(g.softmax(dense)), { seed: 1 });
    const rows = Float32Array.from({ length: 15 }, (_, i) => Math.sin(i));
    const expected = await predict(model, rows);
    const session = createTfjsSession(tf, model);
    expect(relativeDistance(await session.forward(rows), expected)).to.be.at.most(1e-6);
    session.dispose();
    expect(relativeDistance(await runTfjs(tf, model, rows, { batchSize: 2 }), expected)).to.be.at.most(1e-6);

    const quantized = await pcqat();
    await fit(quantized, { train: data, epochs: 1, batchSize: 4 });
    const [one, other] = [await evaluate(quantized, data), await evaluateTfjs(tf, quantized, data, { batchSize: 7 })];
    expect(other.loss).to.be.closeTo(one.loss, 1e-5);
    expect(other.accuracy).to.equal(one.accuracy);
    expect(relativeDistance(await runTfjs(tf, quantized, data.x), await predict(quantized, data.x))).to.be.at.most(1e-5);
  });

  it('goes on where the native core stopped, and the other way round', async () => {
    const options = { train: data, epochs: 2, batchSize: 4, optimizer, seed: 2 };
    const whole = separableNet();
    await fit(whole, options);
    let part = separableNet();
    let start: TrainingState | undefined;
    const onTfjs = (model: Model, given: typeof options) => fitTfjs(tf, model, given);
    for (const [first, second] of [
      [onTfjs, fit],
      [fit, onTfjs],
    ]) {
      part = separableNet();
      await first(part, {
        ...options,
        epochs: 1,
        callbacks: { onEpoch: (_: unknown, state: TrainingState) => void (start = state) },
      } as typeof options);
      await second(part, { ...options, start: start! } as typeof options);
      expect(part.optimizer?.step).to.equal(10);
      expectClose(part, whole);
    }
    await expectRejection(fitTfjs(tf, part, { ...options, epochs: 3, start: { ...start! }, optimizer: sgd() }), 'ERR_OPTION');
  });

  it('trains to a mean squared error on images', async () => {
    const g = new GraphBuilder('autoencoder');
    const model = createModel(g.build(g.conv2d(g.input([3, 3, 1]), { filters: 1, kernelSize: 3, padding: 'same' })), { seed: 1 });
    const rows = Float32Array.from({ length: 18 }, (_, i) => Math.cos(i));
    const session = createTfjsSession(tf, model, { loss: meanSquaredError(), optimizer: sgd({ learningRate: 0.1 }) });
    const losses: number[] = [];
    for (let i = 0; i < 20; i++) losses.push((await session.step(rows, rows)).loss);
    expect(losses.at(-1)).to.be.below(losses[0] / 4);
    session.dispose();
  });

  it('refuses bad options and data', async () => {
    for (const options of [{ seed: -1 }, { seed: 0.5 }, { clipNorm: 0 }, { clipValue: NaN }]) {
      expectCode(() => createTfjsSession(tf, separableNet(), options), 'ERR_OPTION');
    }
    for (const other of [undefined, null, {}, 'tfjs']) {
      expectCode(() => createTfjsSession(other as never, separableNet()), 'ERR_OPTION', /module of tfjs/);
      await expectRejection(runTfjs(other as never, separableNet(), x), 'ERR_OPTION');
      await expectRejection(fitTfjs(other as never, separableNet(), { train: data, epochs: 1 }), 'ERR_OPTION');
    }
    for (const source of [undefined, null, 7]) await expectRejection(runTfjs(tf, source as never, x), 'ERR_OPTION');
    const broken = separableNet();
    broken.tensors.get('conv/kernel')!.data[3] = NaN;
    const before = tf.memory().numTensors;
    expectCode(() => createTfjsSession(tf, broken), 'ERR_NON_FINITE', /conv\/kernel/);
    expect(tf.memory().numTensors).to.equal(before);
    const session = createTfjsSession(tf, separableNet());
    await expectRejection(session.step(x.slice(1), y), 'ERR_SHAPE');
    await expectRejection(session.step(new Float32Array(0), new Int32Array(0)), 'ERR_EMPTY_DATA');
    await expectRejection(session.step(x, new Float32Array(3)), 'ERR_SHAPE');
    await expectRejection(
      session.step(
        x.map(() => NaN),
        y,
      ),
      'ERR_NON_FINITE',
    );
    await expectRejection(session.forward(x.slice(1)), 'ERR_SHAPE');
    session.dispose();
    await expectRejection(runTfjs(tf, separableNet(), x, { batchSize: 0 }), 'ERR_OPTION');
    await expectRejection(runTfjs(tf, stages.qat(separableNet()), x), 'ERR_OPTION', /never set/);
  });

  it('does one thing at a time, and nothing once disposed', async () => {
    const session = createTfjsSession(tf, separableNet());
    const first = session.step(x, y);
    expectCode(() => session.sync(), 'ERR_SESSION_BUSY');
    const [second, third] = [session.step(x, y), session.forward(x)];
    await Promise.all([expectRejection(second, 'ERR_SESSION_BUSY'), expectRejection(third, 'ERR_SESSION_BUSY')]);
    expect((await first).step).to.equal(1);
    session.dispose();
    await expectRejection(session.step(x, y), 'ERR_DISPOSED');
    expectCode(() => session.sync(), 'ERR_DISPOSED');
  });

  it('keeps the state before a step that diverges, and names the layer', async () => {
    const model = pruneLowMagnitude(residualNet(), { schedule: constantSparsity({ targetSparsity: 0.5, beginStep: 3, frequency: 1 }) });
    const session = createTfjsSession(tf, model, { optimizer: sgd({ learningRate: 1e30 }) });
    let error: unknown;
    let after: Model | undefined;
    for (let i = 0; i < 10 && error === undefined; i++) {
      session.sync();
      after = cloneModel(model);
      await session.step(x, y).catch((reason: unknown) => (error = reason));
    }
    await expectRejection(Promise.reject(error as Error), 'ERR_DIVERGED', /became NaN or infinite/);
    session.sync();
    expectClose(model, after!, 0);
    session.dispose();
  });

  it('names the weight whose masked values would not be zero', async () => {
    const model = await pcqat();
    await calibrate(model, data);
    const chain = model.chains.get('first/kernel')!;
    const { zeroPin: _, ...codebook } = chain.codebook!;
    const centroids = model.tensors.get('first/kernel:centroids')!.data;
    centroids[centroids.indexOf(0)] = 0.25;
    const broken: Model = { ...model, chains: new Map([...model.chains, ['first/kernel', { ...chain, codebook }]]) };
    const options = { train: data, epochs: 1, batchSize: 4 };
    const [native, mine] = [cloneModel(broken), cloneModel(broken)];
    const message = async (promise: Promise<unknown>): Promise<string> => promise.then(String, (error: unknown) => String(error));
    const expected = await message(fit(native, options));
    expect(expected).to.match(/first\/kernel/);
    expect(await message(fitTfjs(tf, mine, options))).to.equal(expected);
    await expectRejection(evaluateTfjs(tf, broken, data), 'ERR_INVARIANT', /first\/kernel/);
  });
});

describe('what tfjs cannot do', () => {
  /** Without a kernel of the cpu backend. */
  async function without(kernel: string, work: () => Promise<void>): Promise<void> {
    const config = tf.getKernel(kernel, 'cpu');
    tf.unregisterKernel(kernel, 'cpu');
    try {
      await work();
    } finally {
      tf.registerKernel(config);
    }
  }

  it('is said with the layer, and in the backward pass with the kernel', async () => {
    await without('DepthwiseConv2dNative', async () => {
      await expectRejection(runTfjs(tf, separableNet(), x), 'ERR_UNSUPPORTED', /cpu.*DepthwiseConv2dNative.*layer 'depthwise'/);
    });
    await without('Conv2DBackpropFilter', async () => {
      const session = createTfjsSession(tf, separableNet());
      await expectRejection(session.step(x, y), 'ERR_UNSUPPORTED', /no kernel Conv2DBackpropFilter/);
      session.dispose();
    });
  });

  it('is explained where gradients were never registered, and where node:util lacks what tfjs-node calls', () => {
    const fail = (message: string) => () => {
      throw explained(new TypeError(message), 'here');
    };
    expectCode(fail('Cannot compute gradient: gradient function not found for Neg.'), 'ERR_UNSUPPORTED', /tfjs-layers/);
    expectCode(fail("The highest priority backend 'wasm' has not yet been initialized. Make sure"), 'ERR_OPTION', /tf\.ready/);
    expectCode(fail('No backend found in registry.'), 'ERR_OPTION', /tfjs-backend-cpu/);
    expectCode(fail('(0 , util_1.isNullOrUndefined) is not a function'), 'ERR_UNSUPPORTED', /node:util/);
    expect(UTIL_SHIM.split('\n')).to.have.length(2);
    const other = new Error('something else');
    expect(explained(other, 'here')).to.equal(other);
  });

  it('includes tfjs-node where it is not installed', () => expectRejection(loadTfjsNode(), 'ERR_MISSING_PEER', /npm install/));
});

describe('dropout on tfjs', () => {
  it('draws from Philox4x32-10 as TensorFlow does', () => {
    const words = philox4x32({ key: [9, 0], counter: [0, 0, 0, 0] });
    expect(words.map((word) => word.toString(16))).to.deep.equal(['d78a41b0', '88c2fd8c', 'ecbd10b2', 'c5e4054d']);
  });

  it('keeps about the fraction that it should, another one each step', () => {
    const mask = (step: number): Uint8Array => dropoutMask(10_000, 0.3, { seed: 2 ** 40 + 1, step, instruction: 2 });
    const kept = mask(1).reduce((sum, bit) => sum + bit, 0);
    expect(kept).to.be.within(6800, 7200);
    expect(mask(2)).to.not.deep.equal(mask(1));
  });
});
