import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import type { Dataset } from '#lib/data/types.js';
import type { Classification } from '#lib/evaluate/classification.js';
import { evaluationText } from '#lib/cli/commands/evaluate.js';
import { evaluate } from '#lib/evaluate/evaluate.js';
import { evaluateInt8 } from '#lib/evaluate/int8.js';
import { saveModel } from '#lib/formats/pcqat/save.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { Model } from '#lib/graph/model.js';
import { lenet5 } from '#lib/graph/zoo/index.js';
import { loadChosenData } from '#lib/pipeline/named-data.js';
import { fit } from '#lib/train/fit.js';
import { adam } from '#lib/train/optimizers.js';
import { SIDE, syntheticSplits, writeIdxFolder } from '../pipeline/synthetic.js';
import { pcqat, type Result } from '../support/cli.js';

interface Evaluated extends Classification {
  readonly file: string;
  readonly runner: string;
  readonly latency?: { readonly runs: number; readonly p50: number };
}

interface Compared {
  readonly rows: number;
  readonly agreement: number;
  readonly maxAbs: number;
  readonly layers?: { readonly by: string; readonly layers: readonly { readonly a: string; readonly maxAbs: number }[] };
}

describe('pcqat evaluate and compare', function () {
  this.timeout(60_000);
  let folder: string;
  let images: string;
  let cifar: string;
  let tenClasses: string;
  let model: Model;
  let data: Dataset;
  const file = { model: '', int8: '' };
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'pcqat-evaluate-'));
    images = path.join(folder, 'images');
    await mkdir(images);
    await writeIdxFolder(images);
    data = await loadChosenData({ data: images });
    cifar = path.join(folder, 'cifar');
    await mkdir(cifar);
    await writeFile(path.join(cifar, 'test.bin'), new Uint8Array(2 * 3073));
    await writeFile(path.join(cifar, 'train.bin'), new Uint8Array(20 * 3073));
    tenClasses = path.join(folder, 'ten-classes.json');
    await saveModel(lenet5({ classes: 10, inputShape: [SIDE, SIDE, 1] }), tenClasses);
    model = lenet5({ classes: 4, inputShape: [SIDE, SIDE, 1], seed: 2 });
    const { train } = syntheticSplits(64);
    await fit(model, { train, epochs: 2, batchSize: 16, optimizer: adam({ learningRate: 1e-3 }) });
    file.model = path.join(folder, 'model.json');
    file.int8 = path.join(folder, 'model.tflite');
    await saveModel(model, file.model);
    await writeFile(file.int8, encodeTflite(await convertToInt8(model, { representativeData: train })));
  });
  after(() => rm(folder, { recursive: true }));

  const evaluated = async (args: string[]): Promise<Evaluated> => {
    const { code, stdout, stderr } = await pcqat(['evaluate', ...args, '--json']);
    expect(code, stderr).to.equal(0);
    return JSON.parse(stdout) as Evaluated;
  };
  const compared = async (args: string[]): Promise<Compared> => {
    const { code, stdout, stderr } = await pcqat(['compare', ...args, '--json']);
    expect(code, stderr).to.equal(0);
    return JSON.parse(stdout) as Compared;
  };
  const fails = async (args: string[], code: number, pattern: RegExp): Promise<Result> => {
    const result = await pcqat(args);
    expect(result.stderr).to.match(pattern);
    expect(result).to.include({ code, stdout: '' });
    return result;
  };

  describe('evaluate', () => {
    it('prints accuracy, loss, confusion matrix, recall, precision and latency', async () => {
      const { accuracy, loss } = await evaluate(model, data);
      const { code, stdout, stderr } = await pcqat([
        'evaluate',
        file.model,
        '--data',
        images,
        '--labels',
        'a,b,c,d',
        '--latency-runs',
        '10',
      ]);
      expect(code, stderr).to.equal(0);
      expect(stderr).to.equal('');
      expect(stdout).to.include(`${file.model} in pcqat, 24 examples of ${images} (test)`);
      expect(stdout).to.include(`accuracy ${(100 * accuracy).toFixed(2)} %, loss ${loss.toFixed(4)}`);
      expect(stdout).to.match(/class +examples +recall +precision +a +b +c +d\n/);
      expect(stdout).to.match(/\na +6 +\d+\.\d\d % +(\d+\.\d\d %|–)( +\d+){4}\n/);
      expect(stdout).to.match(/latency of one row, 10 runs: p50 [\d.e-]+ ms, p90 [\d.e-]+ ms, p99 [\d.e-]+ ms/);
    });

    it('prints one JSON object with --json, for a pcqat model and its int8 file', async () => {
      const expected = await evaluate(model, data);
      const float = await evaluated([file.model, '--data', images, '--latency-runs', '5', '--threads', '1', '--batch', '7']);
      expect(float).to.deep.include({ file: file.model, runner: 'pcqat', split: 'test', rows: 24, accuracy: expected.accuracy });
      expect(float.loss).to.be.closeTo(expected.loss, 1e-6);
      expect(float.latency).to.include({ runs: 5 });
      expect(float.confusion.flat().reduce((a, b) => a + b)).to.equal(24);
      const int8 = await evaluated([file.int8, '--data', images, '--latency-runs', '0']);
      expect(int8.accuracy).to.equal((await evaluateInt8(readTflite(encodeTflite(await int8Model())), data)).accuracy);
      expect(int8).to.not.have.any.keys('loss', 'latency');
    });

    const int8Model = () => convertToInt8(model, { representativeData: syntheticSplits(64).train });

    it('takes a part, a number of examples, and pixels', async () => {
      expect(await evaluated([file.model, '--data', images, '--split', 'train', '--limit', '9', '--latency-runs', '0'])).to.include({
        rows: 9,
      });
      const scaled = await evaluated([file.model, '--data', `idx:${images}`, '--pixels', '0,255', '--latency-runs', '0']);
      const x = data.x.map((value) => 255 * value);
      expect(scaled.accuracy).to.equal((await evaluate(model, { ...data, x })).accuracy);
    });

    it('says what does not fit', async () => {
      await fails(
        ['evaluate', file.model, '--data', cifar],
        1,
        /^pcqat: ERR_OPTION: data 'cifar10 test' have 10 classes but the model has 4/,
      );
      await fails(['evaluate', file.model, '--data', cifar, '--labels', 'a,b,c,d'], 1, /^pcqat: ERR_OPTION: the labels lack 'airplane'/);
      await fails(
        ['evaluate', tenClasses, '--data', cifar],
        1,
        /^pcqat: ERR_SHAPE: examples are \[32, 32, 3\] but the model's input is \[12, 12, 1\]/,
      );
      await fails(['evaluate', file.model, '--data', images, '--labels', 'a,b'], 1, /^pcqat: ERR_OPTION: there are 2 different labels/);
      await fails(
        ['evaluate', file.model, '--data', images, '--runner', 'tflite'],
        1,
        /^pcqat: ERR_OPTION: runner 'tflite' takes tflite files/,
      );
      await fails(['evaluate', path.join(folder, 'none'), '--data', images], 1, /^pcqat: ERR_IO: .*none/);
      await fails(['evaluate', file.model, '--data', path.join(folder, 'none')], 1, /^pcqat: ERR_OPTION: there is no data/);
      const damaged = path.join(folder, 'damaged.json');
      await writeFile(damaged, '{ "format": "pcqat-model" }');
      await fails(['evaluate', damaged, '--data', images], 1, /^pcqat: ERR_FORMAT: .*damaged\.json/);
    });

    it('ends with 2 for wrong usage', async () => {
      await fails(['evaluate', file.model], 2, /required option '--data/);
      await fails(
        ['evaluate', file.model, '--data', images, '--runner', 'coreml'],
        2,
        /Allowed choices are native, onnxruntime, tfjs, tflite/,
      );
      await fails(['evaluate', file.model, '--data', images, '--batch', '0'], 2, /from 1 to/);
      await fails(['evaluate', file.model, '--data', images, '--pixels', '5'], 2, /two numbers/);
      await fails(['evaluate', file.model, '--data', images, '--latency-runs', '-1'], 2, /at least 0/);
    });

    it('stops at Ctrl-C with 130 and no result', async () => {
      const { spawn } = await import('node:child_process');
      const child = spawn(process.execPath, ['dist/cli/main.js', 'evaluate', file.model, '--data', images, '--latency-runs', '100000000']);
      let [stdout, stderr] = ['', ''];
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      setTimeout(() => child.kill('SIGINT'), 1500);
      const code = await new Promise((done) => child.on('close', done));
      expect([code, stdout]).to.deep.equal([130, '']);
      expect(stderr).to.include('Stopping after this batch');
    });

    it('shows the classes that are confused most where there are many', () => {
      const names = Array.from({ length: 20 }, (_, i) => `class${i}`);
      const confusion = names.map((_, label) =>
        names.map((_, predicted) => (predicted === label ? 5 : label === 3 && predicted === 7 ? 4 : 0)),
      );
      const classes = names.map((name) => ({ name, rows: 5, recall: 1, precision: null }));
      const text = evaluationText('title', { rows: 104, accuracy: 0.9, classes, confusion }, undefined);
      expect(text).to.match(/class3 +class7 +4$/);
      expect(text).to.match(/class19 +5 +100\.00 % +–/);
      expect(text).to.include('accuracy 90.00 %\n');
    });
  });

  describe('compare', () => {
    it('prints outputs and layers', async () => {
      const { code, stdout, stderr } = await pcqat(['compare', file.model, file.int8, '--data', images]);
      expect(code, stderr).to.equal(0);
      expect(stdout).to.include(`A: ${file.model} in pcqat\nB: ${file.int8} in pcqat int8\n24 examples of ${images} (test)`);
      expect(stdout).to.match(/same class: \d+\.\d\d %/);
      expect(stdout).to.match(/difference of the outputs: largest [\d.]+, mean [\d.]+, relative [\d.]+/);
      expect(stdout).to.match(/layers on the first 16 rows, paired by name/);
      expect(stdout).to.match(/\nconv1 +\S+ +[\d.]+ +[\d.]+ +[\d.]+\n/);
      expect(stdout).to.match(/\nlogits +logits +/);
    });

    it('prints one JSON object with --json', async () => {
      const same = await compared([file.model, file.model, '--random', '10', '--seed', '3', '--range', '0,1', '--threads', '1']);
      expect(same).to.include({ rows: 10, agreement: 1, maxAbs: 0 });
      expect(same.layers!.by).to.equal('name');
      expect(same.layers!.layers.map(({ a, maxAbs }) => [a, maxAbs])).to.deep.equal(
        ['conv1', 'conv2', 'dense1', 'dense2', 'logits'].map((name) => [name, 0]),
      );
      const int8 = await compared([file.model, file.int8, '--random', '10', '--seed', '3']);
      expect(int8.maxAbs).to.be.above(0);
      expect(await compared([file.model, file.int8, '--random', '10', '--seed', '3', '--batch', '3'])).to.deep.equal(int8);
      expect(await compared([file.model, file.int8, '--random', '10', '--seed', '4'])).not.to.deep.equal(int8);
      expect(await compared([file.model, file.int8])).to.include({ rows: 64 });
    });

    it('takes negative numbers', async () => {
      const args = [file.model, file.int8, '--data', images];
      expect(await compared([...args, '--pixels', '-1,1'])).not.to.deep.equal(await compared(args));
    });

    it('says what does not fit', async () => {
      const other = path.join(folder, 'other.json');
      await saveModel(lenet5({ classes: 5, inputShape: [SIDE, SIDE, 1] }), other);
      await fails(['compare', file.model, other], 1, /^pcqat: ERR_SHAPE: the models give \[4\] and \[5\]/);
      await fails(['compare', file.model, file.model, '--data', cifar], 1, /^pcqat: ERR_SHAPE: examples are \[32, 32, 3\]/);
      await fails(['compare', file.model, path.join(folder, 'none')], 1, /^pcqat: ERR_IO: /);
      await fails(['compare', file.model, file.model, '--data', images, '--random', '5'], 2, /cannot be used with/);
      await fails(['compare', file.model], 2, /missing required argument/);
      await fails(
        ['compare', file.model, file.model, '--runner-b', 'onnxruntime'],
        1,
        /^pcqat: ERR_OPTION: runner 'onnxruntime' takes onnx/,
      );
    });
  });
});
