import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToFloat, type ConvertFloatOptions } from '#lib/compress/quantization/convert-float.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { dequantize, Int8Runner, quantize } from '#lib/evaluate/int8.js';
import { importModel } from '#lib/formats/import/index.js';
import type { ImportedModel, ImportOptions } from '#lib/formats/import/types.js';
import { inspectTflite } from '#lib/formats/tflite/inspect.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { Model } from '#lib/graph/model.js';
import { inferShapes } from '#lib/graph/shapes.js';
import { dsCnn, lenet5, mnistCnn, mobilenetV1, resnet8 } from '#lib/graph/zoo/index.js';
import { calibrate } from '#lib/train/calibrate.js';
import { smallFloat, SHAPE } from '../../support/certified.js';
import { relativeError } from '../../support/compare.js';
import { expectCode, expectRejection } from '../../support/errors.js';
import { int8Cases, newerCases, randomDataset } from '../../support/int8-graphs.js';
import { runLiteRt } from '../../support/litert.js';
import { inTemporaryFolder } from '../../support/temporary.js';
import { runTflite29 } from '../../support/tflite29.js';

const ROWS = 3;
const ACCURACY = 1e-5;

function inputOf(model: Model, rows = ROWS): Float32Array {
  const shape = inferShapes(model.graph).get(model.graph.nodes[0]!.name)!;
  return randomDataset(shape, rows, 21).x;
}

function imported(bytes: Uint8Array, options: ImportOptions = {}): Promise<ImportedModel> {
  return inTemporaryFolder(async (folder) => {
    const file = path.join(folder, 'model.tflite');
    writeFileSync(file, bytes);
    return importModel(file, options);
  });
}

const floatFile = (model: Model, options?: ConvertFloatOptions): Uint8Array => encodeTflite(convertToFloat(model, options));

const zoo: readonly (readonly [string, () => Model])[] = [
  ['DS-CNN-S', () => dsCnn({ size: 'S', classes: 12 })],
  ['DS-CNN-M', () => dsCnn({ size: 'M', classes: 12 })],
  ['DS-CNN-L', () => dsCnn({ size: 'L', classes: 12 })],
  ['MobileNet v1 0.25', () => mobilenetV1({ alpha: 0.25, inputShape: [96, 96, 3], classes: 2 })],
  ['ResNet-8', () => resnet8()],
  ['LeNet-5', () => lenet5()],
  ['the MNIST CNN', () => mnistCnn()],
];

describe('convertToFloat', () => {
  for (const { name, model } of [...int8Cases(), ...newerCases()]) {
    it(`${name}: TFLite 2.9 gives what predict gives, and so does the file read back`, async () => {
      const x = inputOf(model);
      const y = await predict(model, x);
      const file = floatFile(model);
      expect(relativeError(runTflite29(file, x), y)).to.be.below(ACCURACY);
      expect(relativeError(await predict((await imported(file)).model, x), y)).to.be.below(ACCURACY);
    });
  }

  for (const [name, create] of zoo) {
    it(`${name}: TFLite 2.9 and LiteRT give what predict gives`, async () => {
      const model = create();
      const x = inputOf(model);
      const y = await predict(model, x);
      const file = floatFile(model);
      const { shape } = readTflite(file).tensors[readTflite(file).inputs[0]!]!;
      expect(relativeError(runTflite29(file, x), y)).to.be.below(ACCURACY);
      expect(relativeError(await runLiteRt(file, shape, x), y)).to.be.below(ACCURACY);
    });
  }

  it('stores float16 weights in half the space, which runtimes and the reader take for the same numbers', async () => {
    const model = dsCnn({ size: 'S', classes: 12 });
    const x = inputOf(model);
    const [whole, half] = [floatFile(model), floatFile(model, { weights: 'f16' })];
    expect(half.length).to.be.below(0.56 * whole.length);
    const { model: rounded } = await imported(half);
    const y = await predict(rounded, x);
    expect(relativeError(runTflite29(half, x), y)).to.be.below(ACCURACY);
    expect(relativeError(await runLiteRt(half, [1, 49, 10, 1], x), y)).to.be.below(ACCURACY);
    // Half precision has 11 significant bits.
    expect(relativeError(y, await predict(model, x))).to.be.within(1e-6, 2e-3);
    const file = readTflite(half);
    const halves = file.tensors.filter(({ dtype }) => dtype === 'float16');
    const widened = file.operators.filter(({ op }) => op === 'DEQUANTIZE');
    expect(halves.length).to.be.above(10).and.equal(widened.length);
    expect(file.tensors.filter(({ dtype, data }) => dtype === 'float32' && data !== undefined)).to.deep.equal([]);
    expect(inspectTflite(half).layers.map(({ name, dtype }) => [name, dtype])).to.deep.equal(
      inspectTflite(whole).layers.map(({ name }) => [name, 'float16']),
    );
  });

  it('writes weights as layers use them: a clustered, fake-quantized kernel on its grid', async () => {
    const model = quantizeModel(smallFloat(), { onNotice: () => undefined });
    const data = randomDataset(SHAPE, 16, 2);
    await calibrate(model, data);
    const { model: read } = await imported(floatFile(model));
    const kernel = read.tensors.get('conv2_relu/kernel') ?? [...read.tensors].find(([name]) => name.startsWith('conv2'))![1];
    for (let channel = 0; channel < 8; channel++) {
      const values = (kernel.data as Float32Array).filter((_, i) => i % 8 === channel);
      const step = Math.max(...values.map(Math.abs)) / 127;
      for (const value of values) expect(Math.abs(value / step - Math.round(value / step))).to.be.below(1e-3);
    }
  });

  it('refuses bad options, weights that float16 cannot hold, NaN, and a graph without operators', () => {
    const model = smallFloat();
    expectCode(() => convertToFloat(model, { weights: 'int8' as 'f32' }), 'ERR_OPTION', /weights/);
    const kernel = model.tensors.get('logits/kernel')!.data as Float32Array;
    kernel[3] = 7e4;
    expectCode(() => convertToFloat(model, { weights: 'f16' }), 'ERR_UNSUPPORTED', /70000.*logits\/kernel/);
    convertToFloat(model);
    kernel[3] = NaN;
    expectCode(() => convertToFloat(model), 'ERR_NON_FINITE', /logits\/kernel/);
    const nothing = {
      graph: { name: 'nothing', nodes: [model.graph.nodes[0]!] },
      tensors: new Map(),
      chains: new Map(),
      quantizers: new Map(),
    };
    expectCode(() => convertToFloat(nothing), 'ERR_GRAPH', /nothing/);
  });
});

describe('int8 with float input and output', () => {
  async function both(): Promise<{ readonly plain: TfliteModel; readonly float: TfliteModel; readonly model: Model }> {
    const model = smallFloat();
    const representativeData = randomDataset(SHAPE, 40, 3);
    return {
      model,
      plain: await convertToInt8(model, { representativeData }),
      float: await convertToInt8(model, { representativeData, inputOutput: 'float' }),
    };
  }

  it('computes what the int8 file computes, in our executor, TFLite 2.9 and LiteRT', async () => {
    const { plain, float, model } = await both();
    const x = inputOf(model, 20);
    const [one, other] = [new Int8Runner(plain), new Int8Runner(float)];
    const y = await one.run(x);
    expect(other.input.dtype).to.equal('float32');
    expect(await other.run(x)).to.deep.equal(y);
    const codes = quantize(x, one.input) as Int8Array;
    const [int8File, floatFile] = [encodeTflite(plain), encodeTflite(float)];
    const shape = [1, ...SHAPE];
    expect(runTflite29(floatFile, x)).to.deep.equal(dequantize(runTflite29(int8File, codes), one.output));
    expect(await runLiteRt(floatFile, shape, x)).to.deep.equal(dequantize(await runLiteRt(int8File, shape, codes), one.output));
    one.dispose();
    other.dispose();
  });

  it('keeps the int8 operators and their tensors, and adds QUANTIZE and DEQUANTIZE around them', async () => {
    const { plain, float } = await both();
    expect(float.operators.slice(1, -1)).to.deep.equal(plain.operators);
    expect(float.tensors.slice(0, -2)).to.deep.equal(plain.tensors);
    expect([float.operators[0]!.op, float.operators.at(-1)!.op]).to.deep.equal(['QUANTIZE', 'DEQUANTIZE']);
    const representativeData = randomDataset(SHAPE, 4, 3);
    await expectRejection(convertToInt8(smallFloat(), { representativeData, inputOutput: 'int4' as 'int8' }), 'ERR_OPTION', /inputOutput/);
  });

  it('is read back as the real network when asked to dequantize, with the scales of its weights', async () => {
    const { plain, float, model } = await both();
    const x = inputOf(model, 20);
    const y = await predict(model, x);
    for (const tflite of [plain, float]) {
      const file = encodeTflite(tflite);
      await expectRejection(imported(file), 'ERR_UNSUPPORTED', /dequantize: true.*Int8Runner/s);
      const read = await imported(file, { dequantize: true });
      expect(relativeError(await predict(read.model, x), y)).to.be.within(1e-6, 0.05);
      const kernels = inspectTflite(file).layers.map(({ scales }) => scales);
      expect([...read.weightScales.values()].map(({ length }) => length)).to.deep.equal(kernels);
      for (const name of read.weightScales.keys()) expect(read.model.tensors.has(name), name).to.equal(true);
    }
  });
});
