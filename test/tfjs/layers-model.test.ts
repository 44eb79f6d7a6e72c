import { expect } from 'chai';
import { describe, it } from 'mocha';
import { predict } from '#lib/evaluate/evaluate.js';
import { encodeTfjs } from '#lib/formats/tfjs/write.js';
import { fromLayersModel } from '#lib/tfjs/index.js';
import { expectRejection } from '../support/errors.js';
import { layers, loadInTfjs, relativeError, runTfjs } from '../support/layers-model.js';
import { smallCnn } from '../support/models.js';

const sine = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i));

describe('fromLayersModel', () => {
  it('takes over a Sequential model', async () => {
    const model = layers.sequential({ name: 'live' });
    model.add(
      layers.layers.conv2d({ inputShape: [10, 9, 3], filters: 4, kernelSize: 3, strides: 2, activation: 'relu6', padding: 'same' }),
    );
    model.add(layers.layers.batchNormalization());
    model.add(layers.layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, padding: 'same', biasInitializer: 'randomNormal' }));
    model.add(layers.layers.leakyReLU({ alpha: 0.1 }));
    model.add(layers.layers.separableConv2d({ filters: 5, kernelSize: 2, activation: 'tanh', biasInitializer: 'randomNormal' }));
    model.add(layers.layers.conv2dTranspose({ filters: 3, kernelSize: 3, strides: 2, biasInitializer: 'randomNormal' }));
    model.add(layers.layers.reLU({ maxValue: 6 }));
    model.add(layers.layers.maxPooling2d({ poolSize: 2 }));
    model.add(layers.layers.upSampling2d({ size: [2, 1] }));
    model.add(layers.layers.flatten());
    model.add(layers.layers.dense({ units: 4, activation: 'swish' }));
    model.add(layers.layers.dense({ units: 4, activation: 'softmax', biasInitializer: 'randomNormal' }));
    const { model: ours, format } = await fromLayersModel(model);
    expect(format).to.equal('tfjs');
    const x = sine(2 * 270);
    expect(relativeError(await predict(ours, x), runTfjs(model, x, [10, 9, 3]))).to.be.below(1e-5);
  });

  it('takes over a functional model, nested ones included', async () => {
    const block = layers.sequential({
      layers: [layers.layers.conv1d({ inputShape: [12, 4], filters: 4, kernelSize: 3, padding: 'same' })],
    });
    const input = layers.input({ shape: [12, 4] });
    const inner = block.apply(input) as layers.SymbolicTensor;
    const sum = layers.layers.add().apply([input, inner]) as layers.SymbolicTensor;
    const both = layers.layers.concatenate().apply([sum, inner]) as layers.SymbolicTensor;
    const pooled = layers.layers.averagePooling1d({ poolSize: 2 }).apply(both) as layers.SymbolicTensor;
    const mean = layers.layers.globalAveragePooling1d().apply(pooled) as layers.SymbolicTensor;
    const model = layers.model({ inputs: input, outputs: layers.layers.dense({ units: 3 }).apply(mean) as layers.SymbolicTensor });
    const x = sine(3 * 48);
    const { model: ours } = await fromLayersModel(model);
    expect(relativeError(await predict(ours, x), runTfjs(model, x, [12, 4]))).to.be.below(1e-5);
  });

  it('brings a model back that went to tfjs', async () => {
    const model = smallCnn();
    const { model: back } = await fromLayersModel(await loadInTfjs(encodeTfjs(model)));
    expect(back.graph).to.deep.equal(model.graph);
    expect(back.tensors).to.deep.equal(model.tensors);
  });

  it('lists layers that it does not take, and takes a part', async () => {
    const model = layers.sequential();
    model.add(layers.layers.dense({ inputShape: [4], units: 3, name: 'd' }));
    model.add(layers.layers.elu({ name: 'e' }));
    await expectRejection(fromLayersModel(model), 'ERR_UNSUPPORTED', /ELU 'e'/);
    expect((await fromLayersModel(model, { output: 'd' })).model.graph.nodes).to.have.length(2);
  });

  it('refuses an object that hands over nothing, or too little', async () => {
    await expectRejection(fromLayersModel({ save: () => Promise.resolve(undefined) }), 'ERR_FORMAT', /did not hand over/);
    const { modelTopology, weightSpecs, weightData } = encodeTfjs(smallCnn());
    const torn = { modelTopology, weightSpecs, weightData: weightData.slice(4) };
    await expectRejection(fromLayersModel({ save: (handler) => handler.save(torn) }), 'ERR_FORMAT', /need .* bytes/);
    const { model } = await fromLayersModel({
      save: (handler) => handler.save({ modelTopology, weightSpecs, weightData: [weightData.slice(0, 8), weightData.slice(8)] }),
    });
    expect(model.tensors).to.deep.equal(smallCnn().tensors);
  });
});
