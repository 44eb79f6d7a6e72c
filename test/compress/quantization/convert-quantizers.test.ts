import { expect } from 'chai';
import { describe, it } from 'mocha';
import { activationParameters } from '#lib/compress/quantization/parameters.js';
import type { TfliteModel, TfliteTensor } from '#lib/formats/tflite/types.js';
import { Random } from '#lib/graph/random.js';
import {
  allValuesQuantizer,
  calibrate,
  convertToInt8,
  createModel,
  encodeTflite,
  fixedQuantizer,
  fixInputOutputRange,
  GraphBuilder,
  lastValueQuantizer,
  type Model,
  movingAverageQuantizer,
  predict,
  quantizeAnnotateLayer,
  quantizeAnnotateModel,
  quantizeApply,
  type QuantizeConfig,
  quantizeModel,
  type Quantizer,
  readTflite,
  removeInputRange,
  runInt8,
} from '#lib/index.js';
import { expectCode, expectRejection } from '../../support/errors.js';
import { randomDataset } from '../../support/int8-graphs.js';
import { smallCnn, twoDense, valuesOf } from '../../support/models.js';

const quiet = { onNotice: (): void => undefined };

function tensor(model: TfliteModel, name: string): TfliteTensor {
  const found = model.tensors.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no tensor ${name}`);
  return found;
}

const parametersOf = ({ scale, zeroPoint }: TfliteTensor): [number, number] => [scale[0]!, zeroPoint[0]!];

/** Every layer annotated, one with a config, ranges calibrated. */
async function quantized(model: Model, layer: string, config: QuantizeConfig, shape: readonly number[]): Promise<Model> {
  const result = quantizeApply(quantizeAnnotateLayer(quantizeAnnotateModel(model), layer, config), quiet);
  await calibrate(result, randomDataset(shape, 24, 5));
  return result;
}

const cnn = (layer: string, config: QuantizeConfig): Promise<Model> => quantized(smallCnn(), layer, config, [8, 8, 3]);

/**
 * Whole numbers in, weights with the scale 1, whole numbers out: what int8 computes is exact, so it must equal the fake-quantized model,
 * saturation at both ends included.
 */
async function expectExact(activation: 'none' | 'relu' | 'relu6', output: Quantizer, weights: Quantizer): Promise<TfliteModel> {
  const g = new GraphBuilder('exact');
  const dense = g.dense(g.input([8]), { name: 'dense', units: 16, ...(activation === 'none' ? {} : { activation }) });
  const float = createModel(g.build(dense), { seed: 1 });
  const random = new Random(3, 'weights');
  const kernel = valuesOf(float, 'dense/kernel');
  kernel.forEach((_, i) => (kernel[i] = random.integer(19) - 9));
  const model = fixInputOutputRange(quantizeApply(quantizeAnnotateLayer(float, 'dense', { weights, output })), { input: [0, 255] });
  const x = Float32Array.from({ length: 8 * 200 }, () => random.integer(4));
  const tflite = await convertToInt8(model);
  const expected = await predict(model, x);
  expect(await runInt8(readTflite(encodeTflite(tflite)), x)).to.deep.equal(expected);
  const range = output as { readonly min: number; readonly max: number };
  const highest = activation === 'relu6' ? Math.min(range.max, 6) : range.max;
  expect(Math.max(...expected), 'values reach the end of the range').to.equal(highest);
  return tflite;
}

const ofScaleOne = fixedQuantizer({ min: -127, max: 127, narrowRange: true });

describe('convertToInt8 with quantizers of every kind', () => {
  it('Q8: fixed input and output ranges become exactly their scale and zero point', async () => {
    for (const [range, narrowRange, expected] of [
      [[0, 1], false, [Math.fround(1 / 255), -128]],
      [[-127, 127], true, [1, 0]],
      [[0, 255], false, [1, -128]],
    ] as const) {
      const model = quantizeModel(smallCnn());
      const fixed = fixInputOutputRange(model, { input: range, output: range, narrowRange });
      await calibrate(fixed, randomDataset([8, 8, 3], 24, 5));
      expect(valuesOf(fixed, 'input:max')[0]).to.equal(range[1]);
      const tflite = readTflite(encodeTflite(await convertToInt8(fixed)));
      expect(parametersOf(tflite.tensors[tflite.inputs[0]!]!)).to.deep.equal(expected);
      expect(parametersOf(tflite.tensors[tflite.outputs[0]!]!)).to.deep.equal(expected);
      expect(model.quantizers.get('input')!.update).to.equal('runningMinMax');
    }
  });

  it('Q8: only what is named is fixed; the output may be behind a flatten, but not a softmax', async () => {
    const model = fixInputOutputRange(quantizeModel(twoDense(4, 3, 2)), { output: [-1, 1] });
    expect(model.quantizers.get('input')!.update).to.equal('runningMinMax');
    expect(model.quantizers.get('dense2')!.update).to.equal('none');
    const g = new GraphBuilder('flat');
    const conv = g.conv2d(g.input([4, 4, 1]), { name: 'conv', filters: 2, kernelSize: 3 });
    const flat = createModel(g.build(g.flatten(conv)), { seed: 1 });
    expect(fixInputOutputRange(quantizeModel(flat), { output: [-2, 2] }).quantizers.get('conv')!.update).to.equal('none');
    const h = new GraphBuilder('soft');
    const soft = createModel(h.build(h.softmax(h.dense(h.input([4]), { units: 2 }))), { seed: 1 });
    expectCode(() => fixInputOutputRange(quantizeModel(soft), { output: [0, 1] }), 'ERR_UNSUPPORTED', /softmax/);
    expect(fixInputOutputRange(quantizeModel(soft), { input: [0, 1] }).quantizers.get('input')!.update).to.equal('none');
    expectCode(() => fixInputOutputRange(twoDense(4, 3, 2), { input: [0, 1] }), 'ERR_OPTION', /not quantized/);
    expectCode(() => removeInputRange(twoDense(4, 3, 2)), 'ERR_OPTION', /not quantized/);
    expectCode(() => fixInputOutputRange(model, { input: [2, 1] }), 'ERR_OPTION', /range is 2 to 1/);
    expectCode(() => fixInputOutputRange(model, { input: 3 as never }), 'ERR_OPTION', /input must be \[min, max\]/);
  });

  it('a removed input range, and a layer without an output quantizer, come from representative data', async () => {
    const model = removeInputRange(await cnn('conv1', { output: false }));
    await expectRejection(convertToInt8(model), 'ERR_OPTION', /input, relu1 have no trained activation range.*representativeData/);
    const tflite = await convertToInt8(model, { representativeData: randomDataset([8, 8, 3], 24, 5) });
    expect(parametersOf(tensor(tflite, 'input'))[0]).to.be.above(0);
  });

  it('weights of 2 to 8 bits keep their codes within the bits, per tensor, per axis and per axis of a dense layer', async () => {
    for (const bits of [2, 3, 4, 5, 6, 7, 8]) {
      for (const perAxis of [false, true]) {
        for (const layer of ['conv1', 'conv2', 'dw', 'logits']) {
          const model = await cnn(layer, { weights: lastValueQuantizer({ bits, perAxis }) });
          const codes = new Int8Array(tensor(await convertToInt8(model), `${layer}/kernel`).data!);
          const largest = Math.max(...codes.map(Math.abs));
          expect(largest, `${layer}, ${bits} bits`).to.equal(2 ** (bits - 1) - 1);
        }
      }
    }
  });

  it('a dense layer with a scale per channel answers like the fake-quantized model', async () => {
    const model = await quantized(twoDense(6, 8, 5), 'dense1', { weights: lastValueQuantizer({ perAxis: true }) }, [6]);
    const tflite = await convertToInt8(model);
    expect(tensor(tflite, 'dense1/kernel').scale).to.have.length(8);
    const x = randomDataset([6], 30, 8).x;
    const [fake, int8] = [await predict(model, x), await runInt8(tflite, x)];
    const [scale] = parametersOf(tensor(tflite, 'dense2'));
    expect(Math.max(...int8.map((value, i) => Math.abs(value - fake[i]!) / scale))).to.be.below(2.01);
  });

  for (const [name, weights] of [
    ['moving average', movingAverageQuantizer({ symmetric: true, narrowRange: true })],
    ['all values', allValuesQuantizer({ symmetric: true, narrowRange: true, perAxis: true })],
    ['fixed', fixedQuantizer({ min: -0.125, max: 0.125, narrowRange: true, bits: 6 })],
  ] as const) {
    it(`weights keep the stored range: ${name}`, async () => {
      const model = await cnn('conv2', { weights });
      const range = valuesOf(model, 'conv2/kernel:max');
      range.forEach((value, c) => (range[c] = value / 2)); // weights beyond it saturate
      valuesOf(model, 'conv2/kernel:min').set(range.map((value) => -value));
      const tflite = await convertToInt8(model);
      const kernel = tensor(tflite, 'conv2/kernel');
      const largest = 2 ** (weights.bits - 1) - 1;
      kernel.scale.forEach((scale, c) => expect(scale).to.equal(Math.fround(range[c % range.length]! / largest)));
      const codes = new Int8Array(kernel.data!);
      expect(Math.max(...codes.map(Math.abs))).to.equal(largest);
      const x = randomDataset([8, 8, 3], 12, 8).x;
      const [fake, int8] = [await predict(model, x), await runInt8(tflite, x)];
      const [scale] = parametersOf(tensor(tflite, 'logits'));
      expect(Math.max(...int8.map((value, i) => Math.abs(value - fake[i]!) / scale))).to.be.below(3.01);
    });
  }

  for (const [name, weights] of [
    ['asymmetric', lastValueQuantizer({ symmetric: false })],
    ['wide', lastValueQuantizer({ narrowRange: false })],
    ['fixed, unequal ends', fixedQuantizer({ min: -1, max: 0.5, narrowRange: true })],
    ['fixed and wide', fixedQuantizer({ min: -1, max: 1 })],
    ['a moving average as outputs have it', movingAverageQuantizer()],
  ] as const) {
    it(`refuses weights that are ${name}`, async () => {
      await expectRejection(convertToInt8(await cnn('conv2', { weights })), 'ERR_UNSUPPORTED', /symmetric, narrow.*layer 'conv2'/);
    });
  }

  it('outputs of 8 bits come out with the scale and zero point of their range', () => {
    expect(activationParameters(-1, 0.9921875)).to.deep.equal({ scale: 2 / 256, zeroPoint: 0 }); // symmetric, wide
    expect(activationParameters(-127, 127, { narrowRange: true })).to.deep.equal({ scale: 1, zeroPoint: 0 });
    expect(activationParameters(0, 254, { narrowRange: true })).to.deep.equal({ scale: 1, zeroPoint: -127 });
  });

  it('outputs of fewer bits behind a ReLU are exact: 127 is the largest code', async () => {
    for (const activation of ['relu', 'relu6'] as const) {
      for (const [output, expected] of [
        [fixedQuantizer({ min: 0, max: 15, bits: 4 }), [1, 112]],
        [fixedQuantizer({ min: 0, max: 14, bits: 4, narrowRange: true }), [1, 113]],
        [fixedQuantizer({ min: -7, max: 7, bits: 4, narrowRange: true }), [1, 120]],
        [fixedQuantizer({ min: -8, max: 7, bits: 4 }), [1, 120]],
        [fixedQuantizer({ min: 0, max: 3, bits: 2 }), [1, 124]],
        [fixedQuantizer({ min: 0, max: 127, bits: 7 }), [1, 0]],
        [fixedQuantizer({ min: 0, max: 254, narrowRange: true }), [1, -127]],
      ] as const) {
        if (activation === 'relu' && output.max > 20) continue; // sums do not reach so far
        const tflite = await expectExact(activation, output, ofScaleOne);
        expect(parametersOf(tflite.tensors[tflite.outputs[0]!]!)).to.deep.equal(expected);
      }
    }
  });

  it('weights of fewer bits saturate as in training', async () => {
    for (const max of [1, 3, 7]) {
      const bits = Math.log2(max + 1) + 1;
      await expectExact('relu', fixedQuantizer({ min: 0, max: 7, bits: 3 }), fixedQuantizer({ min: -max, max, bits, narrowRange: true }));
    }
  });

  it('refuses outputs of fewer bits that no ReLU bounds, naming the layer', async () => {
    for (const [layer, output] of [
      ['logits', movingAverageQuantizer({ bits: 7 })],
      ['pool', fixedQuantizer({ min: 0, max: 1, bits: 4 })],
    ] as const) {
      await expectRejection(
        convertToInt8(await cnn(layer, { output })),
        'ERR_UNSUPPORTED',
        new RegExp(`output of ${output.bits} bits without a ReLU.*layer '${layer}'`),
      );
    }
    const model = await cnn('conv1', { output: allValuesQuantizer({ bits: 4, symmetric: true }) });
    expect(parametersOf(tensor(await convertToInt8(model), 'relu1'))[1]).to.equal(120);
  });
});
