import { expect } from 'chai';
import { describe, it } from 'mocha';
import { adam, calibrate, fit, type Model, quantizeModel } from '#lib/index.js';
import { calibrateRanges } from '#lib/train/calibrate.js';
import type { ActivationQuantizer } from '#lib/compress/chains.js';
import { expectRejection } from '../support/errors.js';
import { toyData, toyModel } from './toy.js';

const range = (model: Model, node: string): number[] => ['min', 'max'].map((bound) => model.tensors.get(`${node}:${bound}`)!.data[0]!);

describe('calibrate', () => {
  const data = toyData(40);
  const extremes = (x: Float32Array): number[] => [Math.min(0, ...x), Math.max(0, ...x)];

  it('sets the input range to the extremes of the data, and ReLU ranges from 0', async () => {
    const model = quantizeModel(toyModel());
    await calibrate(model, data);
    expect(range(model, 'input')).to.deep.equal(extremes(data.x));
    expect(range(model, 'conv_relu')[0]).to.equal(0);
    expect(range(model, 'conv_relu')[1]).to.be.greaterThan(0);
  });

  it('does not depend on batch size or earlier ranges', async () => {
    const [a, b] = [quantizeModel(toyModel()), quantizeModel(toyModel())];
    await calibrate(a, data, { batchSize: 7 });
    b.tensors.get('conv_relu:max')!.data[0] = 1000;
    await calibrate(b, data, { batchSize: 40, threads: 1 });
    for (const node of a.quantizers.keys()) expect(range(a, node), node).to.deep.equal(range(b, node));
  });

  it('uses at most maxBatches', async () => {
    const model = quantizeModel(toyModel());
    await calibrate(model, data, { batchSize: 4, maxBatches: 2 });
    expect(range(model, 'input')).to.deep.equal(extremes(data.x.subarray(0, 8 * 36)));
  });

  it('leaves ranges alone that are set, if asked, and always those of the reference or fixed', async () => {
    const model = quantizeModel(toyModel());
    const quantizers = new Map(model.quantizers);
    const change = (node: string, changes: Partial<ActivationQuantizer>): void =>
      void quantizers.set(node, { ...quantizers.get(node)!, ...changes });
    change('conv_relu', { rangeInit: 'reference' });
    change('dw_relu', { update: 'none' });
    const changed: Model = { ...model, quantizers };
    changed.tensors.get('input:max')!.data[0] = 9;
    await calibrate(changed, data, { ranges: 'missing' });
    expect(range(changed, 'input')).to.deep.equal([0, 9]);
    expect(range(changed, 'conv_relu')).to.deep.equal([0, 0]);
    expect(range(changed, 'dw_relu')).to.deep.equal([0, 0]);
    expect(range(changed, 'logits')[1]).to.be.greaterThan(0);
  });

  it('takes streams, does nothing to a float model, and can be aborted', async () => {
    const model = quantizeModel(toyModel());
    await calibrate(model, () => [{ rows: 2, x: data.x.subarray(0, 72), y: new Int32Array(2) }]);
    expect(range(model, 'input')).to.deep.equal(extremes(data.x.subarray(0, 72)));
    await calibrate(toyModel(), data);
    const reason = new Error('stop');
    const error = await calibrate(model, data, { signal: AbortSignal.abort(reason) }).catch((caught: unknown) => caught);
    expect(error).to.equal(reason);
  });

  it('W21, W22: fit takes missing ranges with the statistics that training uses, so a fresh network learns from the first step', async () => {
    // With small inputs the moving statistics of a fresh batch norm give small outputs; those of each batch give up to 3 or so.
    const small = { ...data, x: data.x.map((value) => value / 4) };
    const model = quantizeModel(toyModel());
    const moving = toyModel().tensors.get('conv_bn/moving_variance')!.data;
    await calibrateRanges(model, small, { statistics: 'batch', batchSize: 40 });
    expect(range(model, 'conv_relu')[0]).to.equal(0);
    expect(range(model, 'conv_relu')[1]).to.be.within(1.5, 6);
    expect(model.tensors.get('conv_bn/moving_variance')!.data).to.deep.equal(moving);
    const inference = quantizeModel(toyModel());
    await calibrate(inference, small);
    expect(range(inference, 'conv_relu')[1]).to.be.lessThan(range(model, 'conv_relu')[1]! / 3);
    const { epochs } = await fit(quantizeModel(toyModel()), {
      train: small,
      epochs: 8,
      batchSize: 20,
      optimizer: adam({ learningRate: 0.01 }),
    });
    expect(epochs.at(-1)!.loss).to.be.lessThan(epochs[0]!.loss / 2);
  });

  it('rejects bad data and options', async () => {
    const model = quantizeModel(toyModel());
    await expectRejection(calibrate(model, { ...data, size: 0, x: new Float32Array(0) }), 'ERR_EMPTY_DATA');
    await expectRejection(calibrate(model, { ...data, inputShape: [5, 5, 1] }), 'ERR_SHAPE');
    await expectRejection(calibrate(model, { ...data, x: data.x.map(() => Number.NaN) }), 'ERR_NON_FINITE');
    await expectRejection(calibrate(model, data, { batchSize: 0 }), 'ERR_OPTION', /batchSize/);
    await expectRejection(calibrate(model, data, { maxBatches: -1 }), 'ERR_OPTION', /maxBatches/);
    await expectRejection(
      calibrate(model, () => []),
      'ERR_EMPTY_DATA',
      /stream/,
    );
  });
});
