import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import { certifyWeights } from '#lib/compress/certificate.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { certifyExport } from '#lib/evaluate/certify.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { runInt8 } from '#lib/evaluate/int8.js';
import { certificateText } from '#lib/formats/certificate/file.js';
import { inspectTflite } from '#lib/formats/tflite/inspect.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { type Certified, certifiedPcqat, quiet, sharedFloat, SHAPE, smallFloat } from '../support/certified.js';
import { expectRejection } from '../support/errors.js';
import { randomDataset, trainedModel } from '../support/int8-graphs.js';
import { twoDense } from '../support/models.js';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const ints = (base64: string): Int8Array => new Int8Array(new Uint8Array(Buffer.from(base64, 'base64')).buffer);
const floats = (base64: string): Float32Array => new Float32Array(new Uint8Array(Buffer.from(base64, 'base64')).buffer);
const largest = (values: ArrayLike<number>): number => Array.from(values).indexOf(Math.max(...Array.from(values)));

describe('certifyExport', () => {
  let whole: Certified;
  let perChannel: Certified;
  before(async () => {
    whole = await certifiedPcqat();
    perChannel = await certifiedPcqat(true);
  });

  it('states per layer what the file and the trained weights hold', () => {
    const { certificate, bytes, model } = whole;
    expect(certificate.file).to.deep.equal({ sha256: sha256(bytes), bytes: bytes.length });
    const file = readTflite(bytes);
    const trained = certifyWeights(model);
    const summary = inspectTflite(bytes).layers;
    expect(certificate.layers.map(({ name }) => name)).to.deep.equal(['conv1', 'dw', 'conv2', 'hidden', 'logits']);
    certificate.layers.forEach((layer, i) => {
      const kernel = file.tensors.find(({ name }) => name === `${layer.name}/kernel`)!;
      const codes = Array.from(kernel.data!, (byte) => (byte << 24) >> 24);
      expect(layer).to.deep.include({
        operator: ['CONV_2D', 'DEPTHWISE_CONV_2D', 'CONV_2D', 'CONV_2D', 'FULLY_CONNECTED'][i],
        technique: layer.name === 'dw' ? 'qat' : 'pcqat',
        granularity: layer.name === 'dw' ? 'none' : 'tensor',
        clusters: layer.name === 'dw' ? null : 8,
        weights: codes.length,
        zerosBefore: trained[i]!.zeros,
        zerosAfter: codes.filter((code) => code === 0).length,
        codes: new Set(codes).size,
        codesPerChannelMax: summary[i]!.codesPerChannelMax,
      });
      expect(layer.kernel.dataSha256).to.equal(sha256(kernel.data!));
      expect(layer.kernel.scalesSha256).to.equal(sha256(new Uint8Array(kernel.scale.buffer)));
      expect(layer.kernel.scales).to.equal(kernel.scale.length);
      const bias = file.tensors.find(({ name }) => name === `${layer.name}/bias`)!;
      expect(layer.bias!.dataSha256).to.equal(sha256(bias.data!));
      expect(layer.codebook).to.deep.equal(layer.name === 'dw' ? null : [...new Set(codes)].sort((a, b) => a - b));
      if (layer.name === 'dw') return;
      expect(layer.codes).to.be.at.most(8);
      expect(layer.zerosAfter).to.be.at.least(layer.zerosBefore);
      expect(layer.zerosBefore).to.be.at.least(layer.weights / 2);
    });
  });

  it('lists a codebook per channel where that is the granularity', () => {
    const { certificate, bytes } = perChannel;
    const conv = certificate.layers.find(({ name }) => name === 'conv2')!;
    const kernel = readTflite(bytes).tensors.find(({ name }) => name === 'conv2/kernel')!;
    expect(conv).to.include({ granularity: 'channel', clusters: 8 });
    const size = kernel.data!.length / 8;
    const expected = Array.from({ length: 8 }, (_, channel) => {
      const codes = Array.from(kernel.data!.subarray(channel * size, (channel + 1) * size), (byte) => (byte << 24) >> 24);
      return [...new Set(codes)].sort((a, b) => a - b);
    });
    expect(conv.codebook).to.deep.equal(expected);
    expect(conv.codesPerChannelMax).to.equal(Math.max(...expected.map(({ length }) => length)));
    expect(certificate.layers.find(({ name }) => name === 'logits')!.granularity).to.equal('tensor');
  });

  it('records a probe from which the differences of simulation and executor follow', async () => {
    const { certificate, bytes, model, data } = whole;
    const { probe, simulation, simulationMissing } = certificate.fidelity;
    const file = readTflite(bytes);
    const input = file.tensors[file.inputs[0]!]!;
    const output = file.tensors[file.outputs[0]!]!;
    expect(probe.rows).to.equal(16);
    const real = Float32Array.from(ints(probe.input), (code) => (code - input.zeroPoint[0]!) * input.scale[0]!);
    // the first rows of the data, on the grid of the input
    real.forEach((value, i) => expect(value).to.be.closeTo(data.x[i]!, input.scale[0]! / 2 + 1e-6));
    const executor = await runInt8(file, real);
    expect(Float32Array.from(ints(probe.output), (code) => (code - output.zeroPoint[0]!) * output.scale[0]!)).to.deep.equal(executor);
    const simulated = floats(simulation!.output);
    const fakeQuantized = await predict(model, real);
    simulated.forEach((value, i) => expect(value).to.be.closeTo(fakeQuantized[i]!, 3 * output.scale[0]!));
    const differences = Array.from(simulated, (value, i) => Math.abs(value - executor[i]!) / output.scale[0]!);
    expect(simulation!.maxSteps).to.be.closeTo(Math.max(...differences), 1e-4);
    expect(simulation!.meanSteps).to.be.closeTo(differences.reduce((a, b) => a + b) / differences.length, 1e-4);
    expect(simulation!.maxSteps).to.be.below(1e-3);
    expect(simulationMissing).to.equal(null);
  });

  it('records the agreement on all of the data', async () => {
    const { certificate, bytes, model, data } = whole;
    const [simulated, executor] = [await predict(model, data.x), await runInt8(readTflite(bytes), data.x)];
    const rows = Array.from({ length: data.size }, (_, row) => [row * 4, row * 4 + 4] as const);
    const equal = rows.filter(([from, to]) => largest(simulated.subarray(from, to)) === largest(executor.subarray(from, to)));
    const { data: exact, fakeQuant } = certificate.fidelity.simulation!;
    expect(fakeQuant).to.include({ rows: 40, agreement: equal.length / 40 });
    expect(fakeQuant.meanSteps).to.be.within(0.01, 1);
    expect(exact).to.include({ rows: 40, agreement: 1 });
    expect(exact.maxSteps).to.be.below(1e-3);
  });

  it('gives every layer with fake quantization the largest difference of its output', () => {
    for (const layer of whole.certificate.layers) expect(layer.largestDifference, layer.name).to.be.within(0, 1e-3);
    expect(whole.certificate.layers.find(({ name }) => name === 'logits')!.largestDifference).to.equal(
      whole.certificate.fidelity.simulation!.maxSteps,
    );
  });

  it('says why there is no simulation', async () => {
    const model = sharedFloat();
    const data = randomDataset(SHAPE, 3, 4);
    const bytes = encodeTflite(await convertToInt8(model, { representativeData: data }));
    const { layers, fidelity } = await certifyExport(model, bytes, { data, foreign: 'none' });
    expect(fidelity.simulation).to.equal(null);
    expect(fidelity.simulationMissing).to.match(/no fake quantization/);
    expect(fidelity.probe.rows).to.equal(3);
    expect(layers[0]).to.include({ technique: 'float', granularity: 'tensor', clusters: 8, largestDifference: null });
    expect(layers[0]!.zerosBefore).to.be.at.least(54);
  });

  it('knows a batch norm that stands alone as a layer of the file', async () => {
    const model = trainedModel('norm', SHAPE, (g, x) =>
      g.dense(g.globalAveragePool2d(g.batchNorm(x, { name: 'bn' })), { name: 'logits', units: 3 }),
    );
    const data = randomDataset(SHAPE, 3, 4);
    const bytes = encodeTflite(await convertToInt8(model, { representativeData: data }));
    const { layers } = await certifyExport(model, bytes, { data, foreign: 'none' });
    expect(layers.map(({ name, technique, zerosBefore }) => [name, technique, zerosBefore])).to.deep.equal([
      ['bn', 'float', 0],
      ['logits', 'float', 0],
    ]);
  });

  it('takes at least one row and at most 32 KiB as probe', async () => {
    for (const [inputs, rows] of [
      [40_000, 1],
      [10_000, 3],
      [2048, 16],
    ] as const) {
      const model = twoDense(inputs, 2, 2);
      const data = randomDataset([inputs], 20, 5);
      const bytes = encodeTflite(await convertToInt8(model, { representativeData: data }));
      const { fidelity } = await certifyExport(model, bytes, { data, foreign: 'none' });
      expect(fidelity.probe.rows).to.equal(rows);
      expect(ints(fidelity.probe.input)).to.have.lengthOf(rows * inputs);
    }
  });

  it('gives the same bytes twice and for any number of threads', async () => {
    const { model, bytes, data, certificate } = whole;
    const text = certificateText(certificate);
    expect(certificateText((await certifiedPcqat()).certificate)).to.equal(text);
    for (const threads of [1, 3])
      expect(certificateText(await certifyExport(model, bytes, { data, foreign: 'none', threads }))).to.equal(text);
  });

  describe('refuses', () => {
    it('a file that is not of the model, naming the layer', async () => {
      const { bytes, data } = whole;
      const other = twoDense(128, 3, 4);
      await expectRejection(certifyExport(other, bytes, { data, foreign: 'none' }), 'ERR_INVARIANT', /layer 'dense1'/);
    });

    it('bytes that are no file, and files that are not int8', async () => {
      const { model, data, bytes } = whole;
      await expectRejection(certifyExport(model, bytes.subarray(0, 100), { data, foreign: 'none' }), 'ERR_FORMAT');
      const quantized = { scale: Float32Array.of(1), zeroPoint: Int32Array.of(0), axis: 0, dtype: 'uint8' as const };
      const relu = encodeTflite({
        description: '',
        tensors: [
          { name: 'x', shape: [1, 2], ...quantized },
          { name: 'y', shape: [1, 2], ...quantized },
        ],
        operators: [{ op: 'RELU', inputs: [0], outputs: [1], options: {} }],
        inputs: [0],
        outputs: [1],
      });
      await expectRejection(certifyExport(model, relu, { data, foreign: 'none' }), 'ERR_UNSUPPORTED', /int8/);
    });

    it('data that is empty, of another shape or not finite', async () => {
      const { model, bytes, data } = whole;
      const certify = (change: object): Promise<unknown> => certifyExport(model, bytes, { data: { ...data, ...change }, foreign: 'none' });
      await expectRejection(certify({ size: 0, x: new Float32Array() }), 'ERR_EMPTY_DATA');
      await expectRejection(certify({ x: data.x.subarray(1) }), 'ERR_SHAPE', /data set 'random'/);
      await expectRejection(certify({ x: data.x.with(3, NaN) }), 'ERR_NON_FINITE');
    });
  });

  it('takes technique and zeros from the model before it was stripped', async () => {
    const pruned = pruneLowMagnitude(smallFloat(), { schedule: constantSparsity({ targetSparsity: 0.5, beginStep: 0 }), ...quiet });
    pruned.tensors.get('logits/kernel:mask')!.data.fill(0, 0, 12); // the stored weight is not zero there
    const data = randomDataset(SHAPE, 3, 4);
    const model = stripPruning(pruned);
    const bytes = encodeTflite(await convertToInt8(model, { representativeData: data }));
    const { layers } = await certifyExport(model, bytes, { data, before: pruned, foreign: 'none' });
    expect(layers.at(-1)).to.include({ name: 'logits', technique: 'prune', zerosBefore: 12 });
    expect(layers.at(-1)!.zerosAfter).to.be.at.least(12);
    expect((await certifyExport(model, bytes, { data, foreign: 'none' })).layers.at(-1)!.technique).to.equal('float');
  });
});
