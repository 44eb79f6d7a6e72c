import { expect } from 'chai';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight, weightRange } from '#lib/compress/materialize.js';
import { quantizeAnnotateLayer, type AnnotatedModel } from '#lib/compress/quantization/annotate.js';
import { quantizeApply, quantizeModel } from '#lib/compress/quantization/apply.js';
import { stripClusteringCqat } from '#lib/compress/quantization/cqat.js';
import {
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  Default8BitQuantizeScheme,
} from '#lib/compress/quantization/schemes.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { expectCode } from '../../support/errors.js';
import { collect, smallCnn, twoDense, valuesOf, zeroHalf } from '../../support/models.js';

const silent = { onNotice: () => undefined };

describe('quantizeApply', () => {
  it('Q4, Q21: plain QAT: conv per channel, depthwise per multiplier, dense per tensor', () => {
    const model = quantizeModel(smallCnn());
    const lengths = Object.fromEntries([...model.chains.keys()].map((name) => [name, valuesOf(model, `${name}:max`).length]));
    expect(lengths).to.deep.equal({ 'conv1/kernel': 6, 'dw/kernel': 1, 'conv2/kernel': 8, 'logits/kernel': 1 });
    expect([...model.chains.values()].map((chain) => chain.technique)).to.deep.equal(['qat', 'qat', 'qat', 'qat']);
    expect(valuesOf(model, 'logits/kernel:max')).to.deep.equal(weightRange(smallCnn(), 'logits/kernel').max);
    const perTensor = quantizeModel(smallCnn(), { scheme: new Default8BitQuantizeScheme({ disablePerAxis: true }) });
    expect(valuesOf(perTensor, 'conv1/kernel:max')).to.have.length(1);
  });

  it('W21, W22: ranges start uncalibrated; the reference behaviour is there to compare', () => {
    const data = quantizeModel(smallCnn());
    expect(data.quantizers.get('input')).to.deep.equal({ bits: 8, update: 'runningMinMax', decay: 0.99, rangeInit: 'data' });
    expect(data.quantizers.get('relu1')).to.deep.equal({ bits: 8, update: 'movingAverage', decay: 0.99, rangeInit: 'data' });
    expect(valuesOf(data, 'relu1:max')).to.deep.equal(Float32Array.of(0));
    const reference = quantizeModel(smallCnn(), { rangeInit: 'reference' });
    expect(reference.quantizers.get('relu1')).to.deep.equal({ bits: 8, update: 'movingAverage', decay: 0.999, rangeInit: 'reference' });
    expect(valuesOf(reference, 'relu1:min')).to.deep.equal(Float32Array.of(-6));
    expect(valuesOf(reference, 'relu1:max')).to.deep.equal(Float32Array.of(6));
    expect(valuesOf(reference, 'input:max')).to.deep.equal(Float32Array.of(0));
    expect(quantizeModel(smallCnn(), { activationDecay: 0.9 }).quantizers.get('pool')?.decay).to.equal(0.9);
  });

  it('Q3: needs annotations and good options', () => {
    const model = twoDense(4, 4, 2);
    expectCode(() => quantizeApply(model as unknown as AnnotatedModel), 'ERR_OPTION', /quantizeAnnotateModel/);
    expectCode(() => quantizeApply({ model, layers: new Set() }), 'ERR_OPTION', /no layer is annotated/);
    expectCode(() => quantizeModel(model, { scheme: {} as Default8BitQuantizeScheme }), 'ERR_OPTION', /scheme/);
    expectCode(() => quantizeModel(model, { rangeInit: 'zero' as 'data' }), 'ERR_OPTION', /rangeInit/);
    for (const activationDecay of [0, 1, NaN]) expectCode(() => quantizeModel(model, { activationDecay }), 'ERR_OPTION', /activationDecay/);
    expectCode(() => new Default8BitClusterPreserveQuantizeScheme({ weightScale: 'row' as 'tensor' }), 'ERR_OPTION', /weightScale/);
    expectCode(() => new Default8BitClusterPreserveQuantizeScheme({ codebook: 'x' as 'recorded' }), 'ERR_OPTION', /codebook/);
  });

  it('asks to strip first, and refuses quantized models and NaN', () => {
    const model = smallCnn();
    expectCode(() => quantizeModel(pruneLowMagnitude(model, silent)), 'ERR_UNSUPPORTED', /stripPruning/);
    expectCode(() => quantizeModel(clusterWeights(model, { numberOfClusters: 4, ...silent })), 'ERR_UNSUPPORTED', /stripClustering/);
    expectCode(() => quantizeModel(quantizeModel(model)), 'ERR_UNSUPPORTED', /quantized already/);
    valuesOf(model, 'conv1/kernel')[0] = NaN;
    expectCode(() => quantizeModel(model), 'ERR_NON_FINITE', /conv1/);
  });

  it('X3: only annotated layers are touched', () => {
    const model = quantizeApply(quantizeAnnotateLayer(smallCnn(), ['conv2']));
    expect([...model.chains.keys()]).to.deep.equal(['conv2/kernel']);
    expect([...model.quantizers.keys()]).to.deep.equal(['relu2', 'conv2_relu']);
  });

  it('PQAT: a fixed mask in the state (W12), for depthwise too (W11); plain QAT without zeros', () => {
    const model = smallCnn();
    zeroHalf(model, 'conv1/kernel');
    zeroHalf(model, 'dw/kernel');
    const { codes, onNotice } = collect();
    const pqat = quantizeModel(model, { scheme: new Default8BitPrunePreserveQuantizeScheme(), onNotice });
    expect(codes()).to.deep.equal(['conv2: no-zeros', 'logits: no-zeros']);
    expect([...pqat.chains.values()].map((chain) => chain.technique)).to.deep.equal(['pqat', 'pqat', 'qat', 'qat']);
    expect(pqat.chains.get('conv1/kernel')?.mask).to.deep.equal({ writeBack: false, maskGradient: true });
    const mask = pqat.tensors.get('conv1/kernel:mask')?.data ?? [];
    expect([...mask]).to.deep.equal([...valuesOf(model, 'conv1/kernel')].map((value) => (value === 0 ? 0 : 1)));
  });

  it('reports negative batch norm scales behind a tensor-wide codebook', () => {
    const clustered = stripClustering(clusterWeights(smallCnn(), { numberOfClusters: 4, ...silent }));
    valuesOf(clustered, 'bn1/gamma')[2] = -1;
    const { codes, onNotice } = collect();
    const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false });
    quantizeModel(clustered, { scheme, onNotice });
    expect(codes()).to.deep.equal(['conv1: negative-gamma']);
  });
});

describe('stripClusteringCqat', () => {
  it('keeps C[I] of the final state (W28), fake quantization and the mask', () => {
    const model = twoDense(16, 16, 4);
    zeroHalf(model, 'dense1/kernel');
    const clustered = stripClustering(clusterWeights(model, { numberOfClusters: 5, preserveSparsity: true, ...silent }));
    const pcqat = quantizeModel(clustered, { scheme: new Default8BitClusterPreserveQuantizeScheme(), ...silent });
    valuesOf(pcqat, 'dense1/kernel:centroids').forEach((_, i, data) => (data[i] += 0.01)); // an optimizer step
    const used = materializeWeight(pcqat, 'dense1/kernel');
    const range = weightRange(pcqat, 'dense1/kernel');
    const stripped = stripClusteringCqat(pcqat);
    expect(valuesOf(stripped, 'dense1/kernel')).to.deep.equal(used);
    expect(valuesOf(stripped, 'dense1/kernel:max')).to.deep.equal(range.max);
    expect(stripped.chains.get('dense1/kernel')).to.deep.equal({
      technique: 'pqat',
      mask: { writeBack: false, maskGradient: true },
      fakeQuant: { bits: 8, perChannel: false },
    });
    expect([...stripped.tensors.keys()].filter((name) => /centroids|indices|zero_index/.test(name))).to.deep.equal([]);
    expect(stripped.quantizers).to.deep.equal(pcqat.quantizers);
  });
});
