import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { PcqatError, type PcqatErrorCode } from '#lib/errors.js';
import { evaluateInt8 } from '#lib/evaluate/int8.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { loadIfInstalled, packageVersion } from '#lib/evaluate/peer.js';
import type { OpenRunnerOptions, RunnerName } from '#lib/evaluate/runner.js';
import { UnsupportedNodesError } from '#lib/formats/import/unsupported.js';
import { openRunner, withOtherRunner } from '#lib/evaluate/runners.js';
import { saveModel } from '#lib/formats/pcqat/save.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { type Certified, certifiedPcqat } from '../support/certified.js';
import { expectRejection } from '../support/errors.js';
import { smallCnn, valuesOf } from '../support/models.js';
import { runTflite29 } from '../support/tflite29.js';

const fixture = (name: string): string => path.resolve('test/evaluate/fixtures', `${name}.onnx`);
const sine = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i));

/** The network of `channels-first.onnx`, channels last. */
function channelsLast(): Model {
  const g = new GraphBuilder('net');
  const x = g.conv2d(g.input([4, 5, 3]), { name: 'conv', filters: 2, kernelSize: 2, padding: 'valid', useBias: false });
  const model = createModel(g.build(g.globalAveragePool2d(x)));
  const kernel = valuesOf(model, 'conv/kernel');
  for (let out = 0; out < 2; out++) {
    for (let inp = 0; inp < 3; inp++) {
      for (let place = 0; place < 4; place++) kernel[(place * 3 + inp) * 2 + out] = ((((out * 3 + inp) * 4 + place) % 7) - 3) / 4;
    }
  }
  return model;
}

describe('openRunner', function () {
  this.timeout(60_000);
  let folder: string;
  let exported: Certified;
  let tflite: string;
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'pcqat-runners-'));
    exported = await certifiedPcqat();
    tflite = path.join(folder, 'small.tflite');
    await writeFile(tflite, exported.bytes);
    await saveModel(smallCnn(), path.join(folder, 'saved'));
  });
  after(() => rm(folder, { recursive: true }));

  const rejects = (file: string, options: OpenRunnerOptions, code: PcqatErrorCode, message: RegExp): Promise<void> =>
    expectRejection(openRunner(file, options), code, message);

  describe('native', () => {
    it('runs a model in memory and a saved one, as predict does, call after call', async () => {
      const model = smallCnn();
      const file = path.join(folder, 'saved');
      const x = sine(5 * 192);
      const expected = await predict(model, x);
      for (const source of [model, file, `${file}.json`]) {
        const runner = await openRunner(source, { batchSize: 2 });
        try {
          expect(runner).to.deep.include({ name: 'pcqat', inputShape: [8, 8, 3], outputShape: [4] });
          expect(await runner.run(x)).to.deep.equal(expected);
          expect(await runner.run(x.subarray(192, 384))).to.deep.equal(expected.slice(4, 8));
        } finally {
          runner.dispose();
        }
      }
    });

    it('runs an integer .tflite file on the integer executor', async () => {
      const runner = await openRunner(tflite);
      const { data } = exported;
      const outputs = await runner.run(data.x);
      expect(runner).to.include({ name: 'pcqat int8' });
      expect(runner.outputScale).to.be.above(0);
      for (const value of outputs)
        expect(Math.abs((value / runner.outputScale!) % 1)).to.satisfy((rest: number) => rest < 1e-3 || rest > 0.999);
      const { accuracy } = await evaluateInt8(readTflite(exported.bytes), data);
      const right = [...(data.y as Int32Array)].filter((label, row) => {
        const row4 = outputs.subarray(row * 4, row * 4 + 4);
        return row4.indexOf(Math.max(...row4)) === label;
      });
      expect(right.length / data.size).to.equal(accuracy);
      runner.dispose();
    });

    it('refuses rows that are none', async () => {
      for (const source of [smallCnn(), tflite]) {
        const runner = await openRunner(source);
        await expectRejection(runner.run(new Float32Array(7)), 'ERR_SHAPE', /7 values/);
        await expectRejection(runner.run(new Float32Array()), 'ERR_EMPTY_DATA');
        await expectRejection(runner.run(new Float32Array(runner.inputShape.reduce((a, b) => a * b)).fill(NaN)), 'ERR_NON_FINITE', /row 0/);
        await expectRejection(runner.run([1] as unknown as Float32Array), 'ERR_DTYPE');
        const reason = new Error('enough');
        const x = new Float32Array(runner.inputShape.reduce((a, b) => a * b));
        expect(await runner.run(x, { signal: AbortSignal.abort(reason) }).catch((caught: unknown) => caught)).to.equal(reason);
        runner.dispose();
      }
    });
  });

  describe('onnxruntime', () => {
    it('takes examples with channels last for a file with channels first', async () => {
      const x = sine(3 * 60);
      const expected = await predict(channelsLast(), x);
      for (const options of [{}, { exampleShape: [4, 5, 3] }, { threads: 1 }]) {
        const runner = await openRunner(fixture('channels-first'), { runner: 'onnxruntime', ...options });
        expect(runner.name).to.match(/^onnxruntime-node \d/);
        expect(runner).to.deep.include({ inputShape: [4, 5, 3], outputShape: [2] });
        const outputs = await runner.run(x);
        expect(outputs).to.have.length(6);
        outputs.forEach((value, i) => expect(value).to.be.closeTo(expected[i]!, 1e-6));
        runner.dispose();
      }
    });

    it('fills a fixed batch', async () => {
      const runner = await openRunner(fixture('batch-of-two'), { runner: 'onnxruntime' });
      expect(await runner.run(Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1))).to.deep.equal(Float32Array.of(-2, -1, 0, 1, 2, 3));
      runner.dispose();
    });

    it('takes open dimensions from the example', async () => {
      const runner = await openRunner(fixture('open-dimensions'), { runner: 'onnxruntime', exampleShape: [1, 2, 2] });
      expect(await runner.run(Float32Array.of(1, 10, 3, 20))).to.deep.equal(Float32Array.of(2, 15));
      runner.dispose();
      await rejects(fixture('open-dimensions'), { runner: 'onnxruntime' }, 'ERR_SHAPE', /\[2, \?, \?\] open/);
    });

    it('says what does not fit', async () => {
      await rejects(fixture('channels-first'), { runner: 'onnxruntime', exampleShape: [5, 4, 3] }, 'ERR_SHAPE', /examples are \[5, 4, 3\]/);
      await rejects(fixture('integer-input'), { runner: 'onnxruntime' }, 'ERR_UNSUPPORTED', /int64/);
      const broken = path.join(folder, 'broken.onnx');
      await writeFile(broken, 'no model');
      await rejects(broken, { runner: 'onnxruntime' }, 'ERR_UNSUPPORTED', /could not load/);
    });
  });

  describe('tflite', () => {
    it('runs a file in a process of its own, as TFLite does', async () => {
      const { data, bytes } = exported;
      runTflite29(bytes, new Int8Array(data.x.length / data.size)); // compiles the addon of this checkout
      const [native, runner] = [await openRunner(tflite), await openRunner(tflite, { runner: 'tflite', threads: 2 })];
      expect(runner).to.deep.include({ name: 'tfjs-tflite-node 0.0.2', inputShape: native.inputShape, outputShape: native.outputShape });
      const [ours, theirs] = [await native.run(data.x), await runner.run(data.x)];
      expect(theirs).to.have.length(ours.length);
      const steps = ours.map((value, i) => Math.abs(value - theirs[i]!) / native.outputScale!);
      expect(Math.max(...steps)).to.be.at.most(2.01);
      expect(await runner.run(data.x)).to.deep.equal(theirs);
      const first = runner.run(data.x);
      await expectRejection(runner.run(data.x), 'ERR_SESSION_BUSY');
      expect(await first).to.deep.equal(theirs);
      runner.dispose();
      await expectRejection(runner.run(data.x), 'ERR_DISPOSED');
      native.dispose();
    });

    it('turns a file that TFLite refuses into an error', async () => {
      const cut = path.join(folder, 'cut.tflite');
      await writeFile(cut, exported.bytes.subarray(0, exported.bytes.length / 2));
      await rejects(cut, { runner: 'tflite' }, 'ERR_FORMAT', /cut\.tflite/);
      // Whole for our reader, but no kernel of TFLite turns int8 into float32 so.
      const tensor = { shape: [1, 4], scale: Float32Array.of(0.5), zeroPoint: Int32Array.of(0), axis: 0 };
      const none = { scale: new Float32Array(), zeroPoint: new Int32Array() };
      const odd = encodeTflite({
        description: 'odd',
        tensors: [
          { ...tensor, name: 'x', dtype: 'int8' },
          { ...tensor, ...none, name: 'y', dtype: 'float32' },
        ],
        operators: [{ op: 'RELU', inputs: [0], outputs: [1], options: {} }],
        inputs: [0],
        outputs: [1],
      });
      const unknown = path.join(folder, 'unknown.tflite');
      await writeFile(unknown, odd);
      const four = path.join(folder, 'four.tflite');
      const both = ['x', 'y'].map((name) => ({ ...tensor, shape: [4, 1], name, dtype: 'int8' as const }));
      const relu = [{ op: 'RELU', inputs: [0], outputs: [1], options: {} }];
      await writeFile(four, encodeTflite({ description: 'four rows', tensors: both, operators: relu, inputs: [0], outputs: [1] }));
      for (const runner of ['native', 'tflite'] as const) await rejects(four, { runner }, 'ERR_UNSUPPORTED', /'x' is \[4, 1\].*batch of 1/);
      await rejects(unknown, { runner: 'tflite' }, 'ERR_UNSUPPORTED', /TFLite could not run the file: ./);
    });
  });

  describe('tfjs', () => {
    const dense = (extra: object = {}): object => ({
      format: 'layers-model',
      modelTopology: {
        class_name: 'Sequential',
        config: {
          name: 'net',
          layers: [
            { class_name: 'Dense', config: { name: 'd', units: 2, batch_input_shape: [null, 3], activation: 'softmax', use_bias: false } },
          ],
        },
      },
      weightsManifest: [{ paths: ['weights.bin'], weights: [{ name: 'd/kernel', shape: [3, 2], dtype: 'float32' }] }],
      ...extra,
    });
    const write = async (name: string, json: unknown): Promise<string> => {
      const at = path.join(folder, name);
      await mkdir(at);
      await writeFile(path.join(at, 'model.json'), typeof json === 'string' ? json : JSON.stringify(json));
      await writeFile(path.join(at, 'weights.bin'), new Uint8Array(Float32Array.of(1, 0, 0, 1, 0, 0).buffer));
      return at;
    };

    it('runs a layers model, from its folder or its file', async () => {
      const at = await write('tfjs', dense());
      for (const source of [at, path.join(at, 'model.json')]) {
        const runner = await openRunner(source, { runner: 'tfjs' });
        expect(runner).to.deep.include({ inputShape: [3], outputShape: [2] });
        expect(runner.name).to.match(/tfjs/);
        const outputs = await runner.run(Float32Array.of(1, 0, 5, 0, 2, 5));
        [Math.E / (1 + Math.E), 1 / (1 + Math.E), 1 / (1 + Math.E ** 2), Math.E ** 2 / (1 + Math.E ** 2)].forEach((value, i) =>
          expect(outputs[i]).to.be.closeTo(value, 1e-6),
        );
        runner.dispose();
      }
    });

    it('says what is wrong with a file', async () => {
      const manifest = (paths: unknown): object => ({ weightsManifest: [{ paths, weights: [] }] });
      for (const [name, json, code, message] of [
        ['no-json', '{', 'ERR_FORMAT', /no JSON/],
        ['null', 'null', 'ERR_FORMAT', /modelTopology/],
        ['no-topology', { format: 'layers-model' }, 'ERR_FORMAT', /modelTopology/],
        ['elsewhere', dense(manifest(['../secret.bin'])), 'ERR_FORMAT', /secret/],
        ['no-list', dense({ weightsManifest: { length: 1 } }), 'ERR_FORMAT', /no list/],
        ['no-paths', dense(manifest('weights.bin')), 'ERR_FORMAT', /no paths/],
        ['twice', dense(manifest(['weights.bin', './weights.bin'])), 'ERR_FORMAT', /named twice/],
        ['no-weights', dense(manifest(['none.bin'])), 'ERR_IO', /none\.bin/],
        ['too-few', dense(manifest(['weights.bin'])), 'ERR_UNSUPPORTED', /could not load/],
        ['odd-layer', dense({ modelTopology: { class_name: 'Nope', config: {} } }), 'ERR_UNSUPPORTED', /could not load/],
      ] as const) {
        await rejects(await write(name, json), { runner: 'tfjs' }, code, message);
      }
    });
  });

  it('says which runners and formats there are', async () => {
    await rejects(tflite, { runner: 'coreml' as RunnerName }, 'ERR_OPTION', /Known are native, onnxruntime, tfjs, tflite/);
    await rejects(tflite, { runner: 'onnxruntime' }, 'ERR_OPTION', /takes onnx files, but this one is tflite/);
    await rejects(fixture('channels-first'), { runner: 'tfjs' }, 'ERR_OPTION', /takes tfjs files, but this one is onnx/);
    await rejects(path.join(folder, 'saved.json'), { runner: 'tfjs' }, 'ERR_OPTION', /this one is pcqat/);
    await expectRejection(openRunner(smallCnn(), { runner: 'tflite' }), 'ERR_OPTION', /no model in memory/);
    for (const runner of ['native', 'onnxruntime', 'tfjs', 'tflite'] as const)
      await rejects(path.join(folder, 'none'), { runner }, 'ERR_IO', /none/);
    await rejects(tflite, { threads: 0 }, 'ERR_OPTION', /threads is 0/);
    await rejects(tflite, { batchSize: 1.5 }, 'ERR_OPTION', /batchSize is 1\.5/);
  });

  it('points at the runner of a file whose nodes it cannot take', () => {
    const node = { name: 'q', op: 'QLinearConv', reason: 'it is quantized', remedy: 'Use the float model.' };
    const error = withOtherRunner(new UnsupportedNodesError([node], 'm.onnx'), 'onnx') as PcqatError;
    expect(error.code).to.equal('ERR_UNSUPPORTED');
    expect(error.message).to.match(
      /QLinearConv 'q': it is quantized\. Use the float model\. \nThe runner 'onnxruntime' may run it as it is\.$/,
    );
    for (const [other, format] of [
      [new UnsupportedNodesError([node], 'm.h5'), 'keras-h5'],
      [new PcqatError('ERR_IO', 'gone'), 'onnx'],
    ] as const) {
      expect(withOtherRunner(other, format)).to.equal(other);
    }
  });

  it('tells a package that is not installed from one that is damaged', async () => {
    expect(await loadIfInstalled('pcqat-no-such-package')).to.equal(undefined);
    expect(packageVersion('pcqat-no-such-package')).to.equal('');
    expect(packageVersion('commander')).to.match(/^\d+\.\d+\.\d+$/);
    const broken = path.join(folder, 'broken.mjs');
    await writeFile(broken, "import 'pcqat-no-such-package';");
    await expectRejection(loadIfInstalled(broken), 'ERR_MISSING_PEER', /installed but cannot be loaded.*pcqat-no-such-package/s);
  });
});
