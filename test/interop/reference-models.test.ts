import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { PcqatError } from '#lib/errors.js';
import { inspectTflite } from '#lib/formats/tflite/inspect.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { loadBinding } from '#lib/native.js';
import { pipelineFacts } from '../support/golden-tflite.js';
import { runTflite29, type Bytes } from '../support/tflite29.js';

const { IntegerSession } = loadBinding();

/** Published networks, too large for the repository. */
const shared = fileURLToPath(new URL('../../../../shared/data/', import.meta.url));
const models = `${shared}reference-models/`;
const present = existsSync(models);

interface Expected {
  readonly images: Readonly<Record<string, Readonly<Record<string, readonly (readonly [number, string, number])[]>>>> & {
    readonly vww_96: Readonly<Record<string, { readonly int8: readonly number[] }>>;
  };
  readonly probe: { readonly ad01_fp32: { readonly scale: number; readonly first8: readonly number[]; readonly mean: number } };
  readonly 'speech-commands-12': { readonly 'kws_ref_model (int8)': Predictions };
  readonly cifar10: { readonly pretrainedResnet_quant: Predictions };
}

interface Predictions {
  readonly correct: number;
  readonly n: number;
  readonly predicted: string;
}

const bytes = (path: string): Uint8Array => new Uint8Array(readFileSync(path));
const expected = (): Expected => JSON.parse(readFileSync(`${models}expected.json`, 'utf8')) as Expected;
const image = (name: string): Uint8Array => bytes(`${models}mobilenet-v1-imagenet/images/${name}.rgb`);

async function run<T extends Bytes>(file: Uint8Array, x: T): Promise<T> {
  const session = new IntegerSession(readTflite(file));
  try {
    return (await session.run(x)) as T;
  } finally {
    session.dispose();
  }
}

/** Classes of consecutive rows, one character each. */
function classes(y: Bytes, width: number): string {
  let text = '';
  for (let start = 0; start < y.length; start += width) {
    const row = Array.from(y.subarray(start, start + width));
    text += '0123456789AB'[row.indexOf(Math.max(...row))]!;
  }
  return text;
}

function differences(a: string, b: string): number {
  return [...a].filter((character, i) => character !== b[i]).length;
}

/**
 * expected.json comes from another re-implementation of the operators, not from TFLite: outputs differ by a step or two, and with them
 * a few predictions. TFLite 2.9 itself is the stricter judge where its kernels are the reference ones.
 */
describe('published int8 and uint8 networks', function () {
  before(function () {
    if (!present) {
      console.log(`      skipped: ${models} is not there`);
      this.skip();
    }
  });

  it('keyword spotting (int8 DS-CNN): the recorded predictions for 506 clips, and TFLite 2.9 to one step', async () => {
    const file = bytes(`${models}mlperf-tiny/kws_ref_model.tflite`);
    const x = new Int8Array(bytes(`${shared}speech-commands-12/mfcc-mlperf-49x10-int8.bin`).buffer);
    const { rows } = JSON.parse(readFileSync(`${shared}speech-commands-12/index.json`, 'utf8')) as { rows: readonly [string, number][] };
    const y = await run(file, x);
    const { predicted, correct, n } = expected()['speech-commands-12']['kws_ref_model (int8)'];
    const answers = classes(y, 12);
    expect(answers).to.have.length(n);
    expect(differences(answers, predicted)).to.be.at.most(5);
    const labels = rows.map(([, label]) => '0123456789AB'[label]).join('');
    expect(Math.abs(n - differences(answers, labels) - correct)).to.be.at.most(3);
    // TFLite 2.9's CONV_2D rounds once.
    const steps = Array.from(runTflite29(file, x), (value, i) => Math.abs(value - y[i]!));
    expect(Math.max(...steps)).to.be.at.most(1);
    expect(steps.filter((step) => step > 0).length).to.be.at.most(0.005 * steps.length);
  });

  it('image classification (int8 ResNet-8): the recorded accuracy on 2,000 CIFAR-10 pictures', async function () {
    this.timeout(120_000);
    const raw = gunzipSync(readFileSync(`${shared}cifar10-subset/test.bin.gz`));
    const [rows, pixels] = [2000, 1024];
    const x = new Int8Array(rows * 3 * pixels);
    let labels = '';
    for (let row = 0; row < rows; row++) {
      const record = raw.subarray(row * (1 + 3 * pixels), (row + 1) * (1 + 3 * pixels));
      labels += record[0];
      for (let i = 0; i < 3 * pixels; i++) x[row * 3 * pixels + 3 * (i % pixels) + Math.floor(i / pixels)] = record[1 + i]! - 128;
    }
    const answers = classes(await run(bytes(`${models}mlperf-tiny/pretrainedResnet_quant.tflite`), x), 10);
    const { predicted, correct } = expected().cifar10.pretrainedResnet_quant;
    expect(differences(answers, predicted)).to.be.at.most(0.02 * rows);
    expect(Math.abs(rows - differences(answers, labels) - correct)).to.be.at.most(0.005 * rows);
  });

  it('person detection (int8 MobileNet v1 0.25, 96×96): the recorded outputs to four steps, and TFLite 2.9 to the byte', async () => {
    const file = bytes(`${models}mlperf-tiny/vww_96_int8.tflite`);
    for (const [name, { int8 }] of Object.entries(expected().images.vww_96)) {
      const x = Int8Array.from(image(name), (value) => value - 128);
      const y = await run(file, x);
      for (const [i, value] of int8.entries()) expect(Math.abs(y[i]! - value), name).to.be.at.most(4);
      expect(runTflite29(file, x), name).to.deep.equal(y);
    }
  });

  for (const model of ['mobilenet_v1_0.25_128_quant', 'mobilenet_v1_0.75_192_quant']) {
    it(`ImageNet (uint8 ${model}): the recorded first class of every picture, and TFLite 2.9 to the byte`, async () => {
      const file = bytes(`${models}mobilenet-v1-imagenet/${model}.tflite`);
      for (const [name, top] of Object.entries(expected().images[model]!)) {
        const x = image(name);
        const y = await run(file, x);
        expect(y.indexOf(Math.max(...y)), name).to.equal(top[0]![0]);
        expect(runTflite29(file, x), name).to.deep.equal(y);
      }
    });
  }

  it("machine sound (int8 dense auto-encoder): close to the float network's recorded outputs", async () => {
    const file = bytes(`${models}mlperf-tiny/ad01_int8.tflite`);
    const { tensors, inputs, outputs } = readTflite(file);
    const [input, output] = [tensors[inputs[0]!]!, tensors[outputs[0]!]!];
    const { scale, first8, mean } = expected().probe.ad01_fp32;
    const x = Int8Array.from({ length: 640 }, (_, i) => {
      const value = (scale * ((i * 7919) % 10007)) / 10006;
      return Math.min(Math.max(Math.round(value / input.scale[0]!) + input.zeroPoint[0]!, -128), 127);
    });
    const y = Float32Array.from(await run(file, x), (code) => (code - output.zeroPoint[0]!) * output.scale[0]!);
    for (const [i, value] of first8.entries()) expect(Math.abs(y[i]! - value)).to.be.below(2);
    expect(y.reduce((sum, value) => sum + value, 0) / 640).to.be.closeTo(mean, 1);
  });

  it('inspects the compressed DS-CNN-L files as recorded', function () {
    const folder = fileURLToPath(new URL('../../../../shared/golden/pipeline/', import.meta.url));
    if (!existsSync(folder)) this.skip();
    for (const name of ['L-1-qat', 'L-1-pcqat-16']) {
      const layers = inspectTflite(bytes(`${folder}${name}.tflite`)).layers.map(({ shape, scales, codes, codesPerChannelMax, zeros }) => ({
        shape,
        scales,
        codes,
        codesPerChannelMax,
        zeros: Math.round(zeros * 1e4) / 1e4,
      }));
      const facts = pipelineFacts.files[name]!.layers.map(({ shape, scales, codes, codesPerChannelMax, zeros }) => ({
        shape,
        scales,
        codes,
        codesPerChannelMax,
        zeros,
      }));
      expect(layers, name).to.deep.equal(facts);
    }
  });

  it('does not cover float networks, and says so with operator and tensor', () => {
    const floats = ['ad01_fp32', 'kws_ref_model_float32', 'pretrainedResnet', 'vww_96_float'];
    for (const name of floats) {
      const file = bytes(`${models}mlperf-tiny/${name}.tflite`);
      expect(inspectTflite(file).layers, name).to.have.length.above(5);
      try {
        new IntegerSession(readTflite(file)).dispose();
        expect.fail(`${name} was accepted`);
      } catch (error) {
        expect((error as PcqatError).code, name).to.equal('ERR_UNSUPPORTED');
        expect((error as PcqatError).message, name).to.match(/Operator 0 \((CONV_2D|FULLY_CONNECTED), .*tensor '/);
      }
    }
  });
});
