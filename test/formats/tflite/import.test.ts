import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { predict } from '#lib/evaluate/evaluate.js';
import { Int8Runner } from '#lib/evaluate/int8.js';
import { checkImport, detectFormat, importModel } from '#lib/formats/import/index.js';
import type { ImportedModel, ImportOptions } from '#lib/formats/import/types.js';
import { UnsupportedNodesError } from '#lib/formats/import/unsupported.js';
import { readTflite, readTfliteFile } from '#lib/formats/tflite/read.js';
import type { TfliteModel, TfliteOperator, TfliteTensor } from '#lib/formats/tflite/types.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { argmax } from '#lib/train/metrics.js';
import { relativeError } from '../../support/compare.js';
import { expectCode, expectRejection } from '../../support/errors.js';
import { inTemporaryFolder } from '../../support/temporary.js';

const folder = fileURLToPath(new URL('../../../../test/formats/tflite/fixtures/', import.meta.url));
const file = (name: string): string => path.join(folder, `${name}.tflite`);

const cases = JSON.parse(readFileSync(path.join(folder, 'cases.json'), 'utf8')) as Record<
  string,
  { readonly shape: readonly number[]; readonly x: string; readonly y: string }
>;
const floats = (base64: string): Float32Array => new Float32Array(new Uint8Array(Buffer.from(base64, 'base64')).buffer);

const CLASSIC = 'input conv2d relu depthwiseConv2d relu6 conv2d add relu maxPool2d averagePool2d flatten dense softmax';
const OPS: Record<string, string> = {
  'classic-float': CLASSIC,
  'classic-float16': CLASSIC,
  'classic-open-batch': CLASSIC,
  'newer-float':
    'input depthwiseConv2d depthwiseConv2d zeroPad2d conv2d tanh upSampling2d upSampling2d conv2dTranspose relu depthwiseConv2d relu6 ' +
    'leakyRelu concat globalAveragePool2d reshape conv2d sigmoid multiply conv2d hardSwish globalAveragePool2d',
  'repeated-float': 'input conv2d upSampling2d upSampling2d conv2d',
  'sequence-float': 'input reshape conv2d relu maxPool2d conv2d flatten dense',
};

function imported(model: TfliteModel, options: ImportOptions = {}): Promise<ImportedModel> {
  return inTemporaryFolder(async (folder) => {
    const written = path.join(folder, 'model.tflite');
    writeFileSync(written, encodeTflite(model));
    return importModel(written, options);
  });
}

const NONE = { scale: new Float32Array(), zeroPoint: new Int32Array(), axis: 0 };
const bytes = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const activation = (name: string, shape: readonly number[]): TfliteTensor => ({ name, shape, dtype: 'float32', ...NONE });
const constant = (name: string, shape: readonly number[], values: readonly number[]): TfliteTensor => ({
  name,
  shape,
  dtype: 'float32',
  ...NONE,
  data: bytes(values),
});
const integers = (name: string, values: readonly number[]): TfliteTensor => ({
  name,
  shape: [values.length],
  dtype: 'int32',
  ...NONE,
  data: new Uint8Array(Int32Array.from(values).buffer),
});

/** One operator from the first tensor to the last. */
function single(op: string, tensors: readonly TfliteTensor[], options: TfliteOperator['options'] = {}): TfliteModel {
  const output = tensors.length - 1;
  const inputs = tensors.slice(0, -1).map((_, i) => i);
  return { description: '', tensors, operators: [{ op, inputs, outputs: [output], options }], inputs: [0], outputs: [output] };
}

describe('importing .tflite files', () => {
  for (const [name, ops] of Object.entries(OPS)) {
    it(`${name}: computes what TFLite's reference kernels compute`, async () => {
      const { shape, x, y } = cases[name]!;
      const { model, format, weightScales } = await importModel(file(name));
      expect(format).to.equal('tflite');
      expect(weightScales.size).to.equal(0);
      expect(model.graph.nodes[0]).to.deep.include({ op: 'input', shape });
      expect(model.graph.nodes.map(({ op }) => op).join(' ')).to.equal(ops);
      expect(relativeError(await predict(model, floats(x)), floats(y))).to.be.below(1e-5);
    });
  }

  for (const [name, scales, limit] of [
    ['classic-dynamic', 1, 0.02],
    ['classic-int8', 4, 0.02],
    ['classic-int8-float-io', 4, 0.02],
  ] as const) {
    it(`${name}: is refused with the remedy, or read as real numbers near the network it came from`, async () => {
      const { x, y } = cases[name]!;
      await expectRejection(importModel(file(name)), 'ERR_UNSUPPORTED', /One node.*dequantize: true.*Int8Runner/s);
      expect((await checkImport(file(name))).unsupported).to.have.length(1);
      const { model, weightScales } = await importModel(file(name), { dequantize: true });
      expect(model.graph.nodes.map(({ op }) => op).join(' ')).to.equal(CLASSIC);
      expect(weightScales.size).to.equal(scales);
      for (const [parameter, values] of weightScales) {
        const { data, shape } = model.tensors.get(parameter)!;
        const channels = shape.at(-1) === 1 ? shape.at(-2)! : shape.at(-1)!; // depthwise: the multiplier is 1
        // Every weight is a whole number of its channel's steps.
        const codes = (data as Float32Array).map((w, i) => w / values[values.length === 1 ? 0 : i % channels]!);
        expect(Math.max(...codes.map((code) => Math.abs(code - Math.round(code)))), parameter).to.be.below(1e-3);
        expect(Math.max(...codes.map(Math.abs)), parameter).to.be.within(126.9, 128.1);
      }
      expect(relativeError(await predict(model, floats(x)), floats(y))).to.be.within(1e-6, limit);
    });
  }

  it('reads float16 weights as the numbers they are', async () => {
    const [whole, half] = [await importModel(file('classic-float')), await importModel(file('classic-float16'))];
    expect(half.model.graph.nodes.map(({ op }) => op)).to.deep.equal(whole.model.graph.nodes.map(({ op }) => op));
    const halves = readTflite(readFileSync(file('classic-float16'))).tensors.filter(({ dtype }) => dtype === 'float16');
    expect(halves).to.have.length(8);
    expectCode(() => new Int8Runner(readTflite(readFileSync(file('classic-float16')))), 'ERR_UNSUPPORTED', /float16/);
  });

  it('says all that it cannot take in one error', async () => {
    const error = await importModel(file('refused')).catch((caught: unknown) => caught);
    expect(error).to.be.instanceOf(UnsupportedNodesError);
    expect((error as UnsupportedNodesError).nodes.map(({ op }) => op)).to.deep.equal(['ELU', 'BUILTIN_128', 'STRIDED_SLICE']);
  });

  it('starts and ends where it is told to', async () => {
    const { model: whole } = await importModel(file('classic-float'));
    const { tensors, operators } = await readTfliteFile(file('classic-float'));
    const [input, output] = [operators[3]!.outputs[0]!, operators[5]!.outputs[0]!].map((index) => tensors[index]!.name);
    const { model } = await importModel(file('classic-float'), { input: input!, output: output! });
    expect(model.graph.nodes.map(({ op }) => op)).to.deep.equal(['input', 'maxPool2d', 'averagePool2d']);
    expect(model.graph.nodes[0]).to.deep.include({ shape: [5, 4, 16] });
    expect(whole.graph.nodes).to.have.length(13);
    await expectRejection(importModel(file('classic-float'), { input: 'nothing' }), 'ERR_OPTION', /'nothing'/);
    await expectRejection(importModel(file('classic-float'), { output: 'nothing' }), 'ERR_OPTION', /'nothing'/);
  });

  it('is known by its first bytes, whatever it is called', () =>
    inTemporaryFolder(async (folder) => {
      const copy = path.join(folder, 'model.bin');
      writeFileSync(copy, readFileSync(file('classic-float')));
      expect(await detectFormat(copy)).to.equal('tflite');
    }));
});

describe('operators of .tflite files', () => {
  const x = activation('x', [1, 2, 2, 3]);
  const run = async (model: TfliteModel, values: readonly number[], options?: ImportOptions): Promise<number[]> =>
    Array.from(await predict((await imported(model, options)).model, Float32Array.from(values)));

  it('subtracts constants from values, and values from constants', async () => {
    const [value, other, y] = [activation('x', [1, 3]), constant('c', [3], [1, 2, 3]), activation('y', [1, 3])];
    const options = { fusedActivationFunction: 'NONE' };
    expect(await run(single('SUB', [value, other, y], options), [5, 5, 5])).to.deep.equal([4, 3, 2]);
    const model = { ...single('SUB', [value, other, y], options) };
    const reversed = { ...model, operators: [{ ...model.operators[0]!, inputs: [1, 0] }] };
    expect(await run(reversed, [5, 5, 5])).to.deep.equal([-4, -3, -2]);
  });

  it('fully connects [1, 1, 1, c], and gives what the file says comes out', async () => {
    const weights = constant('w', [2, 3], [1, 2, 3, 4, 5, 6]);
    const options = { fusedActivationFunction: 'RELU' };
    const model = single('FULLY_CONNECTED', [activation('x', [1, 1, 1, 3]), weights, activation('y', [1, 2])], options);
    expect(await run(model, [1, 0, -1])).to.deep.equal([0, 0]);
    expect(await run(model, [1, 1, 1])).to.deep.equal([6, 15]);
    const kept = single('FULLY_CONNECTED', [activation('x', [1, 1, 1, 3]), weights, activation('y', [1, 1, 1, 2])], { keepNumDims: true });
    expect((await imported(kept)).model.graph.nodes.at(-1)).to.deep.include({ op: 'reshape', shape: [1, 1, 2] });
  });

  it('puts back a ReLU that a quantized file leaves to saturation', async () => {
    const quantized = (name: string, scale: number, zeroPoint: number): TfliteTensor => ({
      name,
      shape: [1, 2],
      dtype: 'int8',
      scale: Float32Array.of(scale),
      zeroPoint: Int32Array.of(zeroPoint),
      axis: 0,
    });
    const weights: TfliteTensor = { ...quantized('w', 0.5, 0), shape: [2, 2], data: Uint8Array.of(2, 0, 0, 2) };
    const model = (scale: number, zeroPoint: number): TfliteModel =>
      single('FULLY_CONNECTED', [quantized('x', 0.1, 0), weights, quantized('y', scale, zeroPoint)], { fusedActivationFunction: 'NONE' });
    for (const [scale, zeroPoint, ops] of [
      [0.1, -128, ['input', 'dense', 'relu']],
      [6 / 255, -128, ['input', 'dense', 'relu6']],
      [0.1, -127, ['input', 'dense']],
    ] as const) {
      const { model: read } = await imported(model(scale, zeroPoint), { dequantize: true });
      expect(read.graph.nodes.map(({ op }) => op)).to.deep.equal(ops);
    }
  });

  for (const [what, model, message] of [
    [
      'a convolution in groups',
      single('CONV_2D', [activation('x', [1, 4, 4, 4]), constant('w', [2, 1, 1, 2], [1, 2, 3, 4]), activation('y', [1, 4, 4, 2])]),
      /groups/,
    ],
    ['weights that are computed', single('CONV_2D', [x, activation('w', [2, 1, 1, 3]), activation('y', [1, 2, 2, 2])]), /not constant/],
    [
      'an axis of concatenation before the last',
      single('CONCATENATION', [x, activation('y', [1, 2, 2, 3])], { axis: 1, fusedActivationFunction: 'NONE' }),
      /axis 1/,
    ],
    ['a mean over channels', single('MEAN', [x, integers('axes', [3]), activation('y', [1, 2, 2])]), /axes \[3\]/],
    ['a padded channel', single('PAD', [x, integers('paddings', [0, 0, 0, 0, 0, 0, 0, 1]), activation('y', [1, 2, 2, 4])]), /channels/],
    ['a reshape that mixes the batch', single('RESHAPE', [x, activation('y', [2, 6])]), /batch/],
    ['softmax with another beta', single('SOFTMAX', [activation('x', [1, 3]), activation('y', [1, 3])], { beta: 2 }), /beta is 2/],
    [
      'pixels at corners',
      single('RESIZE_BILINEAR', [x, integers('size', [4, 4]), activation('y', [1, 4, 4, 3])], { alignCorners: true }),
      /half-pixel/,
    ],
    [
      'a size that is no multiple',
      single('RESIZE_NEAREST_NEIGHBOR', [x, integers('size', [3, 4]), activation('y', [1, 3, 4, 3])]),
      /whole factors/,
    ],
    [
      'an unknown activation',
      single('ADD', [x, constant('c', [3], [1, 2, 3]), activation('y', [1, 2, 2, 3])], { fusedActivationFunction: 'SIGN_BIT' }),
      /SIGN_BIT/,
    ],
  ] as const) {
    it(`refuses ${what}`, () => expectRejection(imported(model), 'ERR_UNSUPPORTED', message));
  }

  it('refuses NaN in weights, weights that do not exist, and a file without a shape', async () => {
    const nan = single('ADD', [activation('x', [1, 1]), constant('c', [1], [NaN]), activation('y', [1, 1])], {
      fusedActivationFunction: 'NONE',
    });
    await expectRejection(imported(nan), 'ERR_NON_FINITE');
    const open = single('RELU', [{ ...activation('x', [1, 1, 4]), shapeSignature: [-1, -1, 4] }, activation('y', [1, 1, 4])]);
    await expectRejection(imported(open), 'ERR_SHAPE', /inputShape/);
    expect((await imported(open, { inputShape: [9, 4] })).model.graph.nodes[0]).to.deep.include({ shape: [9, 4] });
    const apart = { ...single('RELU', [activation('x', [1, 4]), activation('y', [1, 4])]), operators: [] };
    await expectRejection(imported(apart), 'ERR_FORMAT', /does not depend/);
  });

  it('numbers thousands of equal names in time', async function () {
    this.timeout(5000);
    const count = 20_000;
    const operators = Array.from({ length: count }, (_, i) => ({ op: 'RELU', inputs: [i], outputs: [i + 1], options: {} }));
    const tensors = Array.from({ length: count + 1 }, () => activation('same', [1, 4]));
    const { model } = await imported({ description: '', tensors, operators, inputs: [0], outputs: [count] });
    expect(new Set(model.graph.nodes.map(({ name }) => name)).size).to.equal(count + 1);
  });

  it('bounds what many readers of one constant may decode', async () => {
    const weights = constant(
      'w',
      [100, 100],
      Array.from({ length: 10_000 }, () => 0.01),
    );
    const tensors = [activation('x', [1, 100]), weights];
    const operators: TfliteOperator[] = [];
    for (let i = 0; i < 2000; i++) {
      tensors.push(activation(`y${i}`, [1, 100]));
      const options = { fusedActivationFunction: 'NONE' };
      operators.push({ op: 'FULLY_CONNECTED', inputs: [i === 0 ? 0 : i + 1, 1], outputs: [i + 2], options });
    }
    const model = { description: '', tensors, operators, inputs: [0], outputs: [2001] };
    await expectRejection(imported(model), 'ERR_FORMAT', /much larger than the file/);
  });
});

/** Published networks, too large for the repository. */
const shared = fileURLToPath(new URL('../../../../../shared/data/', import.meta.url));
const models = `${shared}reference-models/`;

describe('published .tflite networks', function () {
  before(function () {
    if (existsSync(models)) return;
    console.log(`      skipped: ${models} is not there`);
    this.skip();
  });
  const expected = (): Record<string, Record<string, { readonly predicted: string; readonly correct: number }>> & {
    readonly probe: Record<string, { readonly scale: number; readonly output?: readonly number[]; readonly first8?: readonly number[] }>;
  } => JSON.parse(readFileSync(`${models}expected.json`, 'utf8')) as ReturnType<typeof expected>;
  const classes = (y: Float32Array, width: number): string =>
    Array.from({ length: y.length / width }, (_, row) => '0123456789AB'[argmax(y.subarray(row * width, (row + 1) * width))]).join('');
  const differences = (a: string, b: string): number => [...a].filter((character, i) => character !== b[i]).length;

  for (const name of ['pretrainedResnet', 'vww_96_float', 'ad01_fp32']) {
    it(`${name}: the recorded outputs for the probe`, async () => {
      const { model } = await importModel(`${models}mlperf-tiny/${name}.tflite`);
      const { shape } = model.graph.nodes[0] as { readonly shape: readonly number[] };
      const length = shape.reduce((a, b) => a * b, 1);
      const { scale, output, first8 } = expected().probe[name]!;
      const y = await predict(
        model,
        Float32Array.from({ length }, (_, i) => (scale * ((i * 7919) % 10007)) / 10006),
      );
      (output ?? first8)!.forEach((value, i) => expect(y[i], `${i}`).to.be.closeTo(value, first8 === undefined ? 2e-6 : 2e-5));
    });
  }

  it('keyword spotting with int8 weights in a float file: the recorded predictions for 506 clips', async () => {
    const { model } = await importModel(`${models}mlperf-tiny/kws_ref_model_float32.tflite`, { dequantize: true });
    const codes = new Int8Array(new Uint8Array(readFileSync(`${shared}speech-commands-12/mfcc-mlperf-49x10-int8.bin`)).buffer);
    const { tensors, inputs } = await readTfliteFile(`${models}mlperf-tiny/kws_ref_model.tflite`);
    const { scale, zeroPoint } = tensors[inputs[0]!]!;
    const x = Float32Array.from(codes, (code) => (code - zeroPoint[0]!) * scale[0]!);
    expect(classes(await predict(model, x), 12)).to.equal(expected()['speech-commands-12']!['kws_ref_model_float32']!.predicted);
    // The int8 file, dequantized, says almost always the same.
    const { model: int8 } = await importModel(`${models}mlperf-tiny/kws_ref_model.tflite`, { dequantize: true });
    const recorded = expected()['speech-commands-12']!['kws_ref_model (int8)']!.predicted;
    expect(differences(classes(await predict(int8, x), 12), recorded)).to.be.at.most(0.05 * 506);
  });

  it('image classification: the recorded predictions for 600 CIFAR-10 pictures, from the float and the dequantized file', async function () {
    this.timeout(120_000);
    const raw = gunzipSync(readFileSync(`${shared}cifar10-subset/test.bin.gz`));
    const [rows, pixels] = [600, 1024];
    const x = new Float32Array(rows * 3 * pixels);
    for (let row = 0; row < rows; row++) {
      const record = raw.subarray(row * (1 + 3 * pixels), (row + 1) * (1 + 3 * pixels));
      for (let i = 0; i < 3 * pixels; i++) x[row * 3 * pixels + 3 * (i % pixels) + Math.floor(i / pixels)] = record[1 + i]!;
    }
    const recorded = expected()['cifar10']!;
    const { model } = await importModel(`${models}mlperf-tiny/pretrainedResnet.tflite`);
    expect(differences(classes(await predict(model, x), 10), recorded['pretrainedResnet']!.predicted.slice(0, rows))).to.be.at.most(1);
    const { model: int8 } = await importModel(`${models}mlperf-tiny/pretrainedResnet_quant.tflite`, { dequantize: true });
    expect(differences(classes(await predict(int8, x), 10), recorded['pretrainedResnet_quant']!.predicted.slice(0, rows))).to.be.at.most(
      0.03 * rows,
    );
  });

  for (const name of [
    'mlperf-tiny/vww_96_int8',
    'mobilenet-v1-imagenet/mobilenet_v1_0.25_128_quant',
    'mobilenet-v1-imagenet/mobilenet_v1_0.75_192_quant',
  ]) {
    it(`${name}: dequantized, the classes that the integer file gives to the pictures`, async () => {
      const { model, weightScales } = await importModel(`${models}${name}.tflite`, { dequantize: true });
      expect(weightScales.size).to.equal(28);
      const runner = new Int8Runner(await readTfliteFile(`${models}${name}.tflite`));
      const { shape, scale, zeroPoint, dtype } = runner.input;
      for (const picture of ['bird', 'cat', 'sunflower', 'dragonfly', 'parrot', 'hot_dog']) {
        const pixels = readFileSync(`${models}mobilenet-v1-imagenet/images/${picture}-${shape[1]}.rgb`);
        const x = Float32Array.from(pixels, (value) => (value - (dtype === 'int8' ? 128 : 0) - zeroPoint[0]!) * scale[0]!);
        const [real, integer] = [await predict(model, x), await runner.run(x)];
        expect(argmax(real), picture).to.equal(argmax(integer));
        expect(Math.max(...real.map((value, i) => Math.abs(value - integer[i]!))), picture).to.be.below(0.1);
      }
      runner.dispose();
    });
  }
});
