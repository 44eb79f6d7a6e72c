import { expect } from 'chai';
import { describe, it } from 'mocha';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { quantizeAnnotateLayer } from '#lib/compress/quantization/annotate.js';
import { quantizeApply, quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { runInt8 } from '#lib/evaluate/int8.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { TfliteModel, TfliteTensor } from '#lib/formats/tflite/types.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import { calibrate } from '#lib/train/calibrate.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { expectRejection } from '../../support/errors.js';
import { int8Cases, newerCases, randomDataset, trainedModel } from '../../support/int8-graphs.js';
import { distinct, smallCnn, twoDense, valuesOf, zeroHalf } from '../../support/models.js';

const data = randomDataset([8, 8, 3], 24, 5);
const quiet = { onNotice: () => undefined };

function tensor(model: TfliteModel, name: string): TfliteTensor {
  const found = model.tensors.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no tensor ${name}`);
  return found;
}

const codesOf = (model: TfliteModel, name: string): Int8Array => new Int8Array(tensor(model, name).data!);
const biasOf = (model: TfliteModel, name: string): Int32Array => new Int32Array(tensor(model, name).data!.slice().buffer);

/** A clustered, half-zero model in PCQAT with calibrated ranges. */
async function pcqatModel(clusters: number, weightScale: 'tensor' | 'channel'): Promise<Model> {
  const model = trainedModel('pcqat', [8, 8, 3], (g, x) => {
    x = g.relu(g.batchNorm(g.conv2d(x, { name: 'conv1', filters: 16, kernelSize: 3, useBias: false }), { name: 'bn1' }));
    x = g.relu(g.batchNorm(g.conv2d(x, { name: 'conv2', filters: 24, kernelSize: 1, useBias: false }), { name: 'bn2' }));
    return g.dense(g.globalAveragePool2d(x), { name: 'logits', units: 4 });
  });
  for (const kernel of ['conv1/kernel', 'conv2/kernel', 'logits/kernel']) zeroHalf(model, kernel);
  const clustered = stripClustering(clusterWeights(model, { numberOfClusters: clusters, preserveSparsity: true, ...quiet }));
  const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true, weightScale });
  const quantized = quantizeModel(clustered, { scheme, ...quiet });
  await calibrate(quantized, data);
  return quantized;
}

describe('convertToInt8', () => {
  for (const { name, model, shape } of [...int8Cases(), ...newerCases()]) {
    it(`${name}: the int8 model answers like the float model, to about 2 % of its range`, async () => {
      const inputs = randomDataset(shape, 40, 3);
      const float = await predict(model, inputs.x);
      const int8 = await runInt8(await convertToInt8(model, { representativeData: inputs }), inputs.x);
      const range = Math.max(...float) - Math.min(...float);
      expect(Math.max(...int8.map((value, i) => Math.abs(value - float[i]!))) / range).to.be.below(0.02);
    });
  }

  it('agrees with the fake-quantized model to one step of each of its layers (X11, X13)', async () => {
    const model = quantizeModel(smallCnn(), quiet);
    await calibrate(model, data);
    const tflite = await convertToInt8(model);
    const step = tensor(tflite, 'logits').scale[0]!;
    const [fake, int8] = [await predict(model, data.x), await runInt8(tflite, data.x)];
    const steps = int8.map((value, i) => Math.abs(Math.round((value - fake[i]!) / step)));
    expect(Math.max(...steps)).to.be.at.most(3);
  });

  it('keeps zeros and at most K codes in the whole tensor, through batch norm folding (X2, X4; W14)', async () => {
    const clusters = 8;
    const model = await pcqatModel(clusters, 'tensor');
    const tflite = await convertToInt8(model);
    for (const layer of ['conv1', 'conv2', 'logits']) {
      const used = materializeWeight(model, `${layer}/kernel`);
      const codes = codesOf(tflite, `${layer}/kernel`);
      expect(distinct(codes), layer).to.be.within(2, clusters);
      expect(codes.filter((code) => code === 0).length, layer).to.be.at.least(used.filter((w) => w === 0).length);
      expect(used.filter((w) => w === 0).length, layer).to.be.at.least(used.length / 2);
    }
    expect(tensor(tflite, 'conv1/kernel').scale).to.have.length(16);
  });

  it("with one scale per channel K values become more codes, but stay K per channel (the reference's way, W14)", async () => {
    const codes = codesOf(await convertToInt8(await pcqatModel(8, 'channel')), 'conv1/kernel');
    expect(distinct(codes)).to.be.above(8);
    for (let channel = 0; channel < 16; channel++) expect(distinct(codes.subarray(channel * 27, channel * 27 + 27))).to.be.at.most(8);
  });

  it('flips the codes of channels that batch norm scales by γ < 0, and enlarges nothing else', async () => {
    const model = quantizeModel(smallCnn(), quiet);
    await calibrate(model, data);
    const before = await convertToInt8(model);
    valuesOf(model, 'bn1/gamma')[2] *= -0.5;
    const after = await convertToInt8(model);
    const [a, b] = [codesOf(before, 'conv1/kernel'), codesOf(after, 'conv1/kernel')];
    expect(b).to.deep.equal(a.map((code, i) => (Math.floor(i / 27) === 2 ? -code : code)));
    const [s, t] = [tensor(before, 'conv1/kernel').scale, tensor(after, 'conv1/kernel').scale];
    expect(t[2]).to.be.closeTo(s[2]! / 2, s[2]! * 1e-6);
    expect([...t].filter((scale, c) => c !== 2 && scale !== s[c])).to.deep.equal([]);
  });

  it('copes with γ = 0: the channel is its offset', async () => {
    const model = quantizeModel(smallCnn(), quiet);
    await calibrate(model, data);
    valuesOf(model, 'bn1/gamma')[1] = 0;
    valuesOf(model, 'bn1/beta')[1] = 0.7;
    const tflite = await convertToInt8(model);
    expect([...codesOf(tflite, 'conv1/kernel').subarray(27, 54)].every((code) => code === 0)).to.equal(true);
    const bias = biasOf(tflite, 'conv1/bias')[1]! * tensor(tflite, 'conv1/bias').scale[1]!;
    expect(bias).to.be.closeTo(0.7, 1e-4);
  });

  it('enlarges the scale of a channel whose bias would not fit (spec 5.1, W20)', async () => {
    const model = twoDense(6, 5, 3);
    valuesOf(model, 'dense1/kernel').fill(1e-12);
    valuesOf(model, 'dense1/bias')[0] = 3;
    const inputs = randomDataset([6], 10, 1);
    const tflite = await convertToInt8(model, { representativeData: inputs });
    const code = biasOf(tflite, 'dense1/bias')[0]!;
    expect(code).to.be.within(2 ** 29, 2 ** 30 + 64);
    expect(code * tensor(tflite, 'dense1/bias').scale[0]!).to.be.closeTo(3, 1e-5);
  });

  it('copes with a kernel of zeros', async () => {
    const model = twoDense(6, 5, 3);
    valuesOf(model, 'dense2/kernel').fill(0);
    const inputs = randomDataset([6], 10, 1);
    const tflite = await convertToInt8(model, { representativeData: inputs });
    expect(codesOf(tflite, 'dense2/kernel')).to.deep.equal(new Int8Array(15));
    expect(await runInt8(tflite, inputs.x)).to.deep.equal(await predict(model, inputs.x));
  });

  it('quantizes a biased range so that zero stays exact', async () => {
    const model = twoDense(6, 5, 3);
    const inputs = { ...randomDataset([6], 10, 1), x: new Float32Array(60).map((_, i) => 5 + (i % 7) / 10) };
    const input = (await convertToInt8(model, { representativeData: inputs })).tensors[0]!;
    expect(input.zeroPoint[0]).to.equal(-128);
    expect(input.scale[0]).to.be.closeTo(5.6 / 255, 1e-6);
  });

  it('gives equal bytes for equal models, and changes nothing in its source', async () => {
    const model = smallCnn();
    const copy = cloneModel(model);
    const first = encodeTflite(await convertToInt8(model, { representativeData: data }));
    expect(model).to.deep.equal(copy);
    expect(encodeTflite(await convertToInt8(copy, { representativeData: data }))).to.deep.equal(first);
  });

  it('drops dropout and unused layers, and names the file after the graph', async () => {
    const model = trainedModel('with-dropout', [16], (g, x) =>
      g.dense(g.dropout(g.dense(x, { units: 8, activation: 'relu' }), { rate: 0.3 }), { units: 3 }),
    );
    const tflite = await convertToInt8(model, { representativeData: randomDataset([16], 20, 2) });
    expect(tflite.operators.map(({ op }) => op)).to.deep.equal(['FULLY_CONNECTED', 'FULLY_CONNECTED']);
    expect(tflite.description).to.equal('with-dropout');
    expect((await convertToInt8(model, { representativeData: randomDataset([16], 20, 2), name: 'mine' })).description).to.equal('mine');
  });

  it('looks at the first `samples` rows only', async () => {
    const model = twoDense(6, 5, 3);
    const many = randomDataset([6], 50, 1);
    const few = { ...many, size: 7, x: many.x.slice(0, 42), y: many.y.slice(0, 7) };
    const convert = async (representativeData: typeof many, samples?: number): Promise<Uint8Array> =>
      encodeTflite(await convertToInt8(model, samples === undefined ? { representativeData } : { representativeData, samples }));
    expect(await convert(many, 7)).to.deep.equal(await convert(few));
    expect(await convert(many, 50)).to.not.deep.equal(await convert(few));
  });

  it('needs data for layers without a trained range, and names them', async () => {
    await expectRejection(convertToInt8(twoDense(6, 5, 3)), 'ERR_OPTION', /input, dense1_relu, dense2.*representativeData/);
    const partly = quantizeApply(quantizeAnnotateLayer(twoDense(6, 5, 3), 'dense1'), quiet);
    const inputs = randomDataset([6], 10, 1);
    await calibrate(partly, inputs);
    await expectRejection(convertToInt8(partly), 'ERR_OPTION', /the layer dense2 /);
    expect((await convertToInt8(partly, { representativeData: inputs })).operators).to.have.length(2);
  });

  it('rejects bad options, data and models', async () => {
    const model = twoDense(6, 5, 3);
    const inputs = randomDataset([6], 10, 1);
    for (const samples of [0, -1, 1.5, NaN])
      await expectRejection(convertToInt8(model, { representativeData: inputs, samples }), 'ERR_OPTION', /samples/);
    await expectRejection(
      convertToInt8(model, { representativeData: { ...inputs, size: 0, x: new Float32Array(), y: new Int32Array() } }),
      'ERR_EMPTY_DATA',
    );
    await expectRejection(convertToInt8(model, { representativeData: randomDataset([5], 10, 1) }), 'ERR_SHAPE');
    await expectRejection(convertToInt8(model, { representativeData: { ...inputs, x: inputs.x.map(() => NaN) } }), 'ERR_NON_FINITE');
    await expectRejection(
      convertToInt8(
        trainedModel('empty', [4], (_, x) => x),
        { representativeData: randomDataset([4], 4, 1) },
      ),
      'ERR_GRAPH',
    );
    const uncalibrated = quantizeModel(model, quiet);
    await expectRejection(convertToInt8(uncalibrated), 'ERR_OPTION', /never calibrated/);
    await calibrate(uncalibrated, inputs);
    uncalibrated.tensors.get('dense2:max')!.data[0] = NaN;
    await expectRejection(convertToInt8(uncalibrated), 'ERR_NON_FINITE', /dense2/);
    valuesOf(model, 'dense1/kernel')[3] = Infinity;
    const calibrated = quantizeModel(twoDense(6, 5, 3), quiet);
    await calibrate(calibrated, inputs);
    valuesOf(calibrated, 'dense1/bias')[3] = Infinity;
    await expectRejection(convertToInt8(calibrated), 'ERR_NON_FINITE', /dense1\/bias/);
  });

  it('stops when it is aborted', async () => {
    const reason = await convertToInt8(smallCnn(), { representativeData: data, signal: AbortSignal.abort() }).catch(
      (error: unknown) => error,
    );
    expect((reason as Error).name).to.equal('AbortError');
  });
});
