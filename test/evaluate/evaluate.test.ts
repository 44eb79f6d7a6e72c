import { expect } from 'chai';
import { describe, it } from 'mocha';
import { scoreBatch } from '#lib/train/metrics.js';
import {
  adam,
  createModel,
  evaluate,
  fit,
  GraphBuilder,
  meanSquaredError,
  type Model,
  predict,
  quantizeModel,
  calibrate,
  sgd,
  softmaxCrossEntropy,
} from '#lib/index.js';
import { expectRejection } from '../support/errors.js';
import { oneHotRows, toyData, toyModel } from '../train/toy.js'; // prettier-ignore

/** A dense layer with the given kernel, and perhaps a softmax. */
function denseModel(kernel: number[], units: number, softmax = false): Model {
  const g = new GraphBuilder('dense');
  const logits = g.dense(g.input([kernel.length / units]), { units, name: 'd' });
  const model = createModel(g.build(softmax ? g.softmax(logits) : logits));
  model.tensors.get('d/kernel')!.data.set(kernel);
  return model;
}

describe('scoreBatch', () => {
  const logits = Float32Array.of(1, 2, 3, 0, 0, 0);
  const log = Math.log;
  const e = Math.exp;

  it('sums the cross-entropy and counts hits', () => {
    const { lossSum, correct } = scoreBatch(softmaxCrossEntropy(), logits, Int32Array.of(2, 1), 2);
    expect(lossSum).to.be.closeTo(log(e(1) + e(2) + e(3)) - 3 + log(3), 1e-12);
    expect(correct).to.equal(1); // of equal outputs the first one counts
  });

  it('smooths labels', () => {
    const { lossSum } = scoreBatch(softmaxCrossEntropy({ labelSmoothing: 0.3 }), logits, Int32Array.of(0, 0), 2);
    const z = log(e(1) + e(2) + e(3));
    expect(lossSum).to.be.closeTo(0.8 * (z - 1) + 0.1 * (z - 2) + 0.1 * (z - 3) + log(3), 1e-12);
  });

  it('stays finite for large logits', () => {
    expect(scoreBatch(softmaxCrossEntropy(), Float32Array.of(1e30, -1e30), Int32Array.of(0), 1).lossSum).to.equal(0);
  });

  it('averages the squared error over the outputs', () => {
    expect(scoreBatch(meanSquaredError(), logits, Float32Array.of(0, 2, 1, 1, 0, 0), 2)).to.deep.equal({
      lossSum: 5 / 3 + 1 / 3,
      correct: 0,
    });
  });
});

describe('evaluate', () => {
  it('measures what the training loss measures', async () => {
    const model = toyModel({ momentum: 0 });
    for (const loss of [softmaxCrossEntropy(), softmaxCrossEntropy({ labelSmoothing: 0.2 })]) {
      for (const train of [toyData(), oneHotRows(toyData())]) {
        // One batch, no momentum, learning rate 0: the moving statistics become the batch's, up to the unbiased variance.
        const { epochs } = await fit(model, { train, epochs: 1, batchSize: 48, loss, optimizer: sgd({ learningRate: 0 }) });
        const { loss: value, accuracy } = await evaluate(model, train, { loss });
        expect(value).to.be.closeTo(epochs[0]!.loss, 2e-3);
        expect(accuracy).to.be.closeTo(epochs[0]!.accuracy, 1 / 48 + 1e-9);
      }
    }
  });

  it('does not depend on batch size or threads, and leaves the model alone', async () => {
    const model = toyModel();
    await fit(model, { train: toyData(), epochs: 1, optimizer: adam() });
    const tensors = new Map([...model.tensors].map(([name, { data }]) => [name, data.slice()]));
    const expected = await evaluate(model, toyData(), { batchSize: 48 });
    const other = await evaluate(model, toyData(), { batchSize: 5, threads: 1 });
    expect(other.accuracy).to.equal(expected.accuracy);
    expect(other.loss).to.be.closeTo(expected.loss, 1e-12);
    for (const [name, data] of tensors) expect(model.tensors.get(name)!.data, name).to.deep.equal(data);
  });

  it('ignores a final softmax for the loss, and predict keeps it', async () => {
    const data = { name: 'd', size: 2, inputShape: [2], x: Float32Array.of(1, 0, 0, 1), y: Int32Array.of(0, 1) };
    const kernel = [2, 0, -1, 1];
    expect(await evaluate(denseModel(kernel, 2, true), data)).to.deep.equal(await evaluate(denseModel(kernel, 2), data));
    expect([...(await predict(denseModel(kernel, 2), data.x))]).to.deep.equal([2, 0, -1, 1]);
    const probabilities = await predict(denseModel(kernel, 2, true), data.x);
    expect(probabilities[0]).to.be.closeTo(1 / (1 + Math.exp(-2)), 1e-6);
    expect(probabilities[2]! + probabilities[3]!).to.be.closeTo(1, 1e-6);
  });

  it('measures a squared error', async () => {
    const data = { name: 'd', size: 1, inputShape: [2], x: Float32Array.of(1, 1), y: Float32Array.of(0, 0) };
    expect(await evaluate(denseModel([2, 0, -1, 1], 2), data, { loss: meanSquaredError() })).to.deep.equal({ loss: 1, accuracy: 0 });
  });

  it('says that a quantized model was never calibrated (W22), and evaluates it afterwards', async () => {
    const float = toyModel();
    await fit(float, { train: toyData(96), epochs: 6, optimizer: adam({ learningRate: 0.01 }) });
    const model = quantizeModel(float);
    await expectRejection(evaluate(model, toyData()), 'ERR_OPTION', /never set.*calibrate/);
    await expectRejection(predict(model, toyData().x), 'ERR_OPTION', /never set/);
    await calibrate(model, toyData());
    expect((await evaluate(model, toyData())).accuracy).to.be.closeTo((await evaluate(float, toyData())).accuracy, 2 / 48 + 1e-9);
  });

  it('says when outputs overflow', async () => {
    const data = { name: 'huge', size: 1, inputShape: [1], x: Float32Array.of(1e30), y: Int32Array.of(0) };
    await expectRejection(evaluate(denseModel([1e30, -1e30], 2), data), 'ERR_NON_FINITE', /'d'/);
  });

  it('can be aborted', async () => {
    const reason = new Error('stop');
    const options = { signal: AbortSignal.abort(reason) };
    expect(await evaluate(toyModel(), toyData(), options).catch((caught: unknown) => caught)).to.equal(reason);
    expect(await predict(toyModel(), toyData().x, options).catch((caught: unknown) => caught)).to.equal(reason);
  });

  it('rejects bad data and options', async () => {
    const [model, data] = [toyModel(), toyData()];
    await expectRejection(evaluate(model, { ...data, size: 0, x: new Float32Array(0), y: new Int32Array(0) }), 'ERR_EMPTY_DATA');
    await expectRejection(evaluate(model, { ...data, y: data.y.map(() => 3) as Int32Array }), 'ERR_LABEL_RANGE', /example 0/);
    await expectRejection(evaluate(model, data, { batchSize: 0 }), 'ERR_OPTION', /batchSize/);
    await expectRejection(evaluate(model, data, { threads: 1.5 }), 'ERR_OPTION', /threads/);
    await expectRejection(predict(model, new Float32Array(35)), 'ERR_SHAPE', /35 values/);
    await expectRejection(predict(model, new Float32Array(0)), 'ERR_EMPTY_DATA');
    await expectRejection(predict(model, new Float32Array(36).fill(Infinity)), 'ERR_NON_FINITE');
  });
});
