import { expect } from 'chai';
import { describe, it } from 'mocha';
import { decodeModel } from '#lib/formats/pcqat/load.js';
import { encodeModel } from '#lib/formats/pcqat/save.js';
import {
  adam,
  allValuesQuantizer,
  cloneModel,
  clusterWeights,
  createModel,
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  fit,
  fixedQuantizer,
  fixInputOutputRange,
  GraphBuilder,
  lastValueQuantizer,
  materializeWeight,
  type Model,
  movingAverageQuantizer,
  predict,
  quantizeAnnotateLayer,
  quantizeAnnotateModel,
  quantizeApply,
  type QuantizeConfig,
  quantizeModel,
  type Quantizer,
  removeInputRange,
  stripClustering,
  stripClusteringCqat,
  weightRange,
} from '#lib/index.js';
import { expectCode } from '../../support/errors.js';
import { smallCnn, twoDense, valuesOf, zeroHalf } from '../../support/models.js';
import { toyData, toyModel } from '../../train/toy.js';

const quiet = { onNotice: (): void => undefined };

/** A model with every layer annotated, some with configs. */
function withConfigs(model: Model, configs: Readonly<Record<string, QuantizeConfig>>): ReturnType<typeof quantizeAnnotateModel> {
  let annotated = quantizeAnnotateModel(model);
  for (const [layer, config] of Object.entries(configs)) annotated = quantizeAnnotateLayer(annotated, layer, config);
  return annotated;
}

const configured = (model: Model, configs: Readonly<Record<string, QuantizeConfig>>): Model =>
  quantizeApply(withConfigs(model, configs), quiet);

describe('quantize configs', () => {
  it('Q4: the scheme decides by default, a config wins, and kernels are copies in the same order', () => {
    const source = smallCnn();
    const plain = quantizeModel(source);
    const custom = configured(source, { conv2: { weights: lastValueQuantizer({ bits: 4 }) } });
    expect(custom.chains.get('conv2/kernel')).to.deep.equal({ technique: 'qat', fakeQuant: { bits: 4, perChannel: false } });
    for (const kernel of ['conv1/kernel', 'dw/kernel', 'logits/kernel'])
      expect(custom.chains.get(kernel)).to.deep.equal(plain.chains.get(kernel));
    expect([...custom.quantizers]).to.deep.equal([...plain.quantizers]);
    const parameters = [...source.tensors.keys()];
    expect([...custom.tensors.keys()].filter((name) => !name.includes(':'))).to.deep.equal(parameters);
    for (const name of parameters) {
      expect(valuesOf(custom, name)).to.deep.equal(valuesOf(source, name));
      expect(valuesOf(custom, name)).not.to.equal(valuesOf(source, name));
    }
  });

  it('Q2: annotations keep their configs; a new config replaces, an annotation without one does not', () => {
    const four = { weights: lastValueQuantizer({ bits: 4 }) };
    const first = quantizeAnnotateLayer(smallCnn(), 'conv1', four);
    expect(quantizeAnnotateModel(first).configs!.get('conv1')).to.deep.equal(four);
    expect(quantizeAnnotateLayer(first, ['conv1', 'conv2']).configs!.get('conv1')).to.deep.equal(four);
    expect(quantizeAnnotateLayer(first, 'conv1', { weights: false }).configs!.get('conv1')).to.deep.equal({ weights: false });
    expect(first.configs!.get('conv1')).to.deep.equal(four);
  });

  it('Q21: per axis on 5 filters and on a depthwise kernel with multiplier 5 makes 5 ranges, by every quantizer', () => {
    const g = new GraphBuilder('five');
    const x = g.conv2d(g.input([6, 6, 3]), { name: 'conv', filters: 5, kernelSize: 3 });
    const model = createModel(g.build(g.depthwiseConv2d(x, { name: 'dw', kernelSize: 3, depthMultiplier: 5 })), { seed: 1 });
    for (const make of [lastValueQuantizer, movingAverageQuantizer, allValuesQuantizer]) {
      const weights = make({ perAxis: true });
      const quantized = configured(model, { conv: { weights }, dw: { weights } });
      for (const kernel of ['conv/kernel', 'dw/kernel']) {
        expect(valuesOf(quantized, `${kernel}:min`)).to.have.length(5);
        expect(valuesOf(quantized, `${kernel}:max`)).to.have.length(5);
        expect(weightRange(quantized, kernel).max).to.deep.equal(valuesOf(quantized, `${kernel}:max`));
      }
    }
  });

  it('ranges start from the weights, or as in the reference (spec 3.4)', () => {
    const start = (weights: Quantizer, rangeInit: 'data' | 'reference'): [number, number] => {
      const model = quantizeApply(quantizeAnnotateLayer(twoDense(4, 3, 2), 'dense1', { weights }), { rangeInit });
      return [valuesOf(model, 'dense1/kernel:min')[0]!, valuesOf(model, 'dense1/kernel:max')[0]!];
    };
    const kernel = valuesOf(twoDense(4, 3, 2), 'dense1/kernel');
    const ends = [Math.min(...kernel), Math.max(...kernel)];
    for (const make of [movingAverageQuantizer, allValuesQuantizer]) expect(start(make(), 'data')).to.deep.equal(ends);
    expect(start(movingAverageQuantizer(), 'reference')).to.deep.equal([-6, 6]);
    expect(start(allValuesQuantizer(), 'reference')).to.deep.equal([0, 0]);
    expect(start(lastValueQuantizer({ symmetric: false }), 'reference')).to.deep.equal(ends);
    const largest = Math.max(...ends.map(Math.abs));
    expect(start(lastValueQuantizer(), 'data')).to.deep.equal([-largest, largest]);
    const [low, high] = start(lastValueQuantizer({ narrowRange: false }), 'data');
    expect(high / -low).to.be.closeTo(254 / 256, 1e-6);
    expect(start(fixedQuantizer({ min: -1, max: 0.5 }), 'data')).to.deep.equal([-1, 0.5]);
  });

  it('outputs: a quantizer, none, and the operator that a batch norm or ReLU belongs to', () => {
    const output = movingAverageQuantizer({ bits: 4, symmetric: true, decay: 0.5 });
    const model = configured(smallCnn(), {
      conv1: { output },
      relu2: { output: false },
      pool: { output: fixedQuantizer({ min: 0, max: 2 }) },
    });
    expect(model.quantizers.get('relu1')).to.deep.equal({
      bits: 4,
      symmetric: true,
      update: 'movingAverage',
      decay: 0.5,
      rangeInit: 'data',
    });
    expect(model.quantizers.has('relu2')).to.equal(false);
    expect(model.tensors.has('relu2:max')).to.equal(false);
    expect(model.quantizers.get('pool')).to.deep.equal({ bits: 8, update: 'none', decay: 0.99, rangeInit: 'data' });
    expect(valuesOf(model, 'pool:max')[0]).to.equal(2);
    const wide = quantizeApply(quantizeAnnotateLayer(smallCnn(), 'conv1', { output: movingAverageQuantizer() }), {
      rangeInit: 'reference',
    });
    expect(wide.quantizers.get('relu1')!.decay).to.equal(0.999);
    expect(valuesOf(wide, 'relu1:min')[0]).to.equal(-6);
  });

  it('Q13: no quantizer behind a softmax, one before it; one behind a ReLU', () => {
    const g = new GraphBuilder('softmax');
    const logits = g.dense(g.dense(g.input([4]), { name: 'hidden', units: 3, activation: 'relu' }), { name: 'logits', units: 3 });
    const model = createModel(g.build(g.softmax(logits, { name: 'softmax' })), { seed: 1 });
    expect([...quantizeModel(model).quantizers.keys()]).to.deep.equal(['input', 'hidden_relu', 'logits']);
    expectCode(
      () => configured(model, { softmax: { output: movingAverageQuantizer() } }),
      'ERR_OPTION',
      /keeps the range.*layer 'softmax', config\.output/,
    );
    expect([...configured(model, { softmax: { output: false } }).quantizers.keys()]).to.deep.equal(['input', 'hidden_relu', 'logits']);
  });

  it('Q11: untrained, ±6 narrow on weights and ±6 wide on the output', async () => {
    const g = new GraphBuilder('dense');
    const dense = createModel(g.build(g.dense(g.input([2]), { name: 'dense', units: 2 })), { seed: 1 });
    valuesOf(dense, 'dense/kernel').set([-1, 0, 0, 1]);
    const annotated = quantizeAnnotateLayer(dense, 'dense', {
      weights: fixedQuantizer({ min: -6, max: 6, narrowRange: true }),
      output: fixedQuantizer({ min: -6, max: 6 }),
    });
    const quantized = fixInputOutputRange(quantizeApply(annotated), { input: [0, 255] });
    const y = await predict(quantized, Float32Array.of(1, 1));
    expect(y[0]).to.be.closeTo(-0.9882355, 1e-6);
    expect(y[1]).to.be.closeTo(0.9882355, 1e-6);
  });

  it('Q12: an input quantizer quantizes, and none is the identity', async () => {
    const float = twoDense(2, 2, 2);
    const fixed = fixInputOutputRange(quantizeModel(float), { input: [0, 255] });
    const removed = removeInputRange(fixed);
    expect([...removed.quantizers.keys()]).to.deep.equal([...fixed.quantizers.keys()].slice(1));
    const onlyInput = (model: Model): Model => ({
      ...model,
      chains: new Map(),
      quantizers: new Map([...model.quantizers].filter(([name]) => name === 'input')),
    });
    const x = Float32Array.of(3.4, 260);
    expect(await predict(onlyInput(fixed), x)).to.deep.equal(await predict(float, Float32Array.of(3, 255)));
    expect(await predict(onlyInput(removed), x)).to.deep.equal(await predict(float, x));
  });

  it('Q15: custom weight quantizers train: asymmetric, clipping, one object on two layers', async () => {
    for (const weights of [
      lastValueQuantizer({ symmetric: false, narrowRange: false }),
      fixedQuantizer({ min: -0.25, max: 0.25, bits: 4 }),
      movingAverageQuantizer({ perAxis: true }),
      allValuesQuantizer({ symmetric: true }),
    ] as const) {
      const model = configured(toyModel(), { conv: { weights }, logits: { weights } });
      const before = cloneModel(model);
      const history = await fit(model, { train: toyData(), epochs: 4, batchSize: 8, optimizer: adam({ learningRate: 0.01 }) });
      expect(history.epochs.at(-1)!.loss, weights.kind).to.be.below(history.epochs[0]!.loss);
      const fixed = weights.kind === 'fixed';
      const range = (of: Model): Float32Array => valuesOf(of, 'logits/kernel:max');
      if (fixed) expect(range(model)).to.deep.equal(range(before));
      else expect(range(model)).not.to.deep.equal(range(before));
      expect(valuesOf(model, 'logits/kernel')).not.to.deep.equal(valuesOf(before, 'logits/kernel'));
    }
  });

  it('composes with preservation: mask and codebook of the scheme, fake quantization of the config', async () => {
    const start = toyModel();
    zeroHalf(start, 'logits/kernel');
    const weights = movingAverageQuantizer({ bits: 5, symmetric: true, narrowRange: true });
    const pqat = quantizeApply(withConfigs(start, { logits: { weights } }), {
      scheme: new Default8BitPrunePreserveQuantizeScheme(),
      ...quiet,
    });
    const fakeQuant = { bits: 5, perChannel: false, update: 'movingAverage' };
    expect(pqat.chains.get('logits/kernel')).to.deep.equal({
      technique: 'pqat',
      mask: { writeBack: false, maskGradient: true },
      fakeQuant,
    });

    const clustered = stripClustering(
      clusterWeights(start, { numberOfClusters: 4, layers: ['logits', 'conv'], preserveSparsity: true, ...quiet }),
    );
    const scheme = new Default8BitClusterPreserveQuantizeScheme();
    const pcqat = quantizeApply(withConfigs(clustered, { logits: { weights }, conv: { weights: false } }), { scheme, ...quiet });
    const chain = pcqat.chains.get('logits/kernel')!;
    expect(chain.technique).to.equal('pcqat');
    expect(chain.codebook).to.deep.equal({ perChannel: false, aggregation: 'sum', zeroPin: 'index' });
    expect(chain.fakeQuant).to.deep.equal(fakeQuant);
    expect(pcqat.chains.get('conv/kernel')!.codebook).to.not.equal(undefined);
    expect(pcqat.chains.get('conv/kernel')!.fakeQuant).to.equal(undefined);

    await fit(pcqat, { train: toyData(), epochs: 2, batchSize: 8 });
    const zeros = (model: Model): number => materializeWeight(model, 'logits/kernel').filter((w) => w === 0).length;
    expect(zeros(pcqat)).to.equal(zeros(clustered));
    expect(new Set(materializeWeight(pcqat, 'logits/kernel')).size).to.be.at.most(4);
    // The range is a state of its own now: stripping the codebook keeps it.
    const stripped = stripClusteringCqat(pcqat);
    expect(weightRange(stripped, 'logits/kernel')).to.deep.equal(weightRange(pcqat, 'logits/kernel'));
    expect(weightRange(pcqat, 'logits/kernel').max).to.deep.equal(valuesOf(pcqat, 'logits/kernel:max'));
  });

  it('weights: false leaves a plain kernel as it is', () => {
    const model = configured(smallCnn(), { conv1: { weights: false } });
    expect(model.chains.has('conv1/kernel')).to.equal(false);
    expect(model.tensors.has('conv1/kernel:min')).to.equal(false);
    expect(model.quantizers.has('relu1')).to.equal(true);
  });

  it('is saved and loaded with the model; a model without it is saved as before', async () => {
    const model = configured(toyModel(), {
      conv: { weights: movingAverageQuantizer({ perAxis: true, decay: 0.9 }), output: allValuesQuantizer({ narrowRange: true }) },
      logits: { weights: fixedQuantizer({ min: -1, max: 1, bits: 4 }), output: lastValueQuantizer({ narrowRange: false, bits: 7 }) },
    });
    const options = { train: toyData(), epochs: 1, batchSize: 8 };
    await fit(model, options);
    const { json, bin } = encodeModel(model);
    const loaded = decodeModel(json, bin);
    expect(loaded).to.deep.equal(model);
    const x = toyData().x;
    expect(await predict(loaded, x)).to.deep.equal(await predict(model, x));
    await fit(model, { ...options, epochs: 2 });
    await fit(loaded, { ...options, epochs: 2 });
    expect(loaded).to.deep.equal(model);
    expect(encodeModel(quantizeModel(toyModel())).json).not.to.match(/symmetric|narrowRange|lastValue/);
  });

  it('Q20: names layer and field of what is wrong', () => {
    const model = smallCnn();
    const bad = (layer: string, config: unknown, message: RegExp): void =>
      expectCode(() => quantizeAnnotateLayer(model, layer, config as QuantizeConfig), 'ERR_OPTION', message);
    bad('conv1', { kernel: lastValueQuantizer() }, /no field 'kernel'.*layer 'conv1'/);
    bad('conv1', { weights: { ...lastValueQuantizer(), bits: 9 } }, /bits is 9.*layer 'conv1', config\.weights\.bits/);
    bad('conv1', { weights: true }, /quantizer is true/);
    bad('conv1', [], /must be an object/);
    bad('relu1', { weights: lastValueQuantizer() }, /\(relu\) has no kernel.*layer 'relu1', config\.weights/);
    bad('conv1', { output: movingAverageQuantizer({ perAxis: true }) }, /one range.*config\.output\.perAxis/);
    expectCode(
      () => configured(model, { conv1: { output: movingAverageQuantizer() }, relu1: { output: false } }),
      'ERR_OPTION',
      /same output, of 'relu1'/,
    );
    const layers = new Set(['conv1']);
    expectCode(() => quantizeApply({ model, layers, configs: new Map([['conv2', {}]]) }), 'ERR_OPTION', /no annotated layer.*'conv2'/);
    const bits = { weights: { ...lastValueQuantizer(), bits: 1 } };
    expectCode(() => quantizeApply({ model, layers, configs: new Map([['conv1', bits]]) }), 'ERR_OPTION', /bits is 1/);
  });
});
