import { expect } from 'chai';
import { describe, it } from 'mocha';
import { quantizeAnnotateLayer, quantizeAnnotateModel } from '#lib/compress/quantization/annotate.js';
import { quantizeApply, quantizeModel } from '#lib/compress/quantization/apply.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import { calibrate } from '#lib/train/calibrate.js';
import { fit } from '#lib/train/fit.js';
import { adam } from '#lib/train/optimizers.js';
import { expectCode } from '../../support/errors.js';
import { valuesOf } from '../../support/models.js';
import { toyData, toyModel } from '../../train/toy.js';

const train = toyData(48);
const options = { train, epochs: 1, batchSize: 16, optimizer: adam({ learningRate: 0.01 }), threads: 1 } as const;

/** Dense and dropout, as in the reference's test. */
function denseDropout(rate: number): Model {
  const g = new GraphBuilder('dense-dropout');
  const x = g.dropout(g.dense(g.flatten(g.input([6, 6, 1])), { name: 'dense1', units: 12, activation: 'relu' }), { name: 'drop', rate });
  return createModel(g.build(g.dense(x, { name: 'dense2', units: 3 })), { seed: 1 });
}

/** What somebody may pass by mistake for a model. */
const noModels: readonly unknown[] = [
  null,
  undefined,
  'model.json',
  7,
  toyModel().graph,
  toyModel().graph.nodes[1],
  class {},
  [toyModel()],
];

describe('whole-model quantization', () => {
  it('Q1: a model with dense and dropout layers is quantized, trains and predicts; anything but a model is refused', async () => {
    const model = quantizeModel(denseDropout(0.3));
    expect([...model.chains.keys()]).to.deep.equal(['dense1/kernel', 'dense2/kernel']);
    expect([...model.quantizers.keys()]).to.deep.equal(['input', 'dense1_relu', 'dense2']);
    const { epochs } = await fit(model, { ...options, epochs: 4 });
    expect(epochs.at(-1)!.loss).to.be.below(epochs[0]!.loss);
    expect(await predict(model, train.x)).to.have.length(48 * 3);
    for (const wrong of noModels) expectCode(() => quantizeModel(wrong as Model), 'ERR_OPTION', /a Model is needed, not /);
  });

  it('Q2: annotation changes no prediction, no tensor and no optimizer state', async () => {
    const model = toyModel();
    await fit(model, options);
    const copy = cloneModel(model);
    const before = await predict(model, train.x);
    for (const annotated of [quantizeAnnotateModel(model), quantizeAnnotateLayer(model, ['conv', 'dw'])]) {
      expect(await predict(annotated.model, train.x)).to.deep.equal(before);
    }
    expect(model).to.deep.equal(copy);
    expect(model.optimizer?.step).to.equal(3);
    expect(quantizeModel(model).optimizer, 'which the quantized model starts without').to.equal(undefined);
  });

  it('Q2: wrong kinds of arguments are refused, saying what is needed', () => {
    for (const wrong of noModels) {
      expectCode(() => quantizeAnnotateModel(wrong as Model), 'ERR_OPTION', /a Model is needed, not /);
      expectCode(() => quantizeAnnotateLayer(wrong as Model, 'conv'), 'ERR_OPTION', /a Model is needed, not /);
    }
  });

  it('Q14: dropout and batch norm behind an annotation know training from inference', async () => {
    const forward = async (rate: number): Promise<Float32Array> => {
      const model = quantizeModel(denseDropout(rate));
      await calibrate(model, train);
      return predict(model, train.x);
    };
    expect(await forward(0.5), 'inference drops nothing').to.deep.equal(await forward(0));
    const trained = async (rate: number): Promise<Model> => {
      const model = quantizeModel(denseDropout(rate));
      await fit(model, options);
      return model;
    };
    expect(valuesOf(await trained(0.5), 'dense2/kernel'), 'training does').to.not.deep.equal(valuesOf(await trained(0), 'dense2/kernel'));
    const normed = quantizeApply(quantizeAnnotateModel(toyModel()));
    await calibrate(normed, train);
    const mean = valuesOf(normed, 'conv_bn/moving_mean').slice();
    await predict(normed, train.x);
    expect(valuesOf(normed, 'conv_bn/moving_mean')).to.deep.equal(mean);
    await fit(normed, options);
    expect(valuesOf(normed, 'conv_bn/moving_mean')).to.not.deep.equal(mean);
  });
});
