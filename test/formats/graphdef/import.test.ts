import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { PbfWriter } from 'pbf';
import { PcqatError } from '#lib/errors.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { checkImport, importModel } from '#lib/formats/import/index.js';
import type { ImportedModel, ImportOptions } from '#lib/formats/import/types.js';
import { UnsupportedNodesError } from '#lib/formats/import/unsupported.js';
import { fit } from '#lib/train/fit.js';
import { relativeError } from '../../support/compare.js';
import { expectRejection } from '../../support/errors.js';
import { inTemporaryFolder } from '../../support/temporary.js';

const folder = fileURLToPath(new URL('../../../../test/formats/graphdef/fixtures/', import.meta.url));
const file = (name: string): string => path.join(folder, `${name}.pb`);

interface Case {
  readonly shape: readonly number[];
  readonly x: string;
  readonly y: string;
}
const cases = JSON.parse(readFileSync(path.join(folder, 'cases.json'), 'utf8')) as Record<string, Case>;
const floats = (base64: string): Float32Array => new Float32Array(new Uint8Array(Buffer.from(base64, 'base64')).buffer);

const OPS: Record<string, string> = {
  classic: 'input conv2d batchNorm relu depthwiseConv2d batchNorm relu6 conv2d batchNorm relu averagePool2d flatten dense softmax',
  spelled: 'input dense batchNorm relu dense batchNorm relu dense batchNorm relu',
  various:
    'input depthwiseConv2d depthwiseConv2d depthwiseConv2d zeroPad2d conv2d zeroPad2d conv2d maxPool2d leakyRelu add sigmoid tanh multiply ' +
    'concat depthwiseConv2d globalAveragePool2d reshape multiply globalAveragePool2d reshape flatten reshape flatten dense',
  dilated: 'input conv2d conv2d relu depthwiseConv2d flatten',
  upsampled: 'input upSampling2d upSampling2d conv2dTranspose conv2dTranspose flatten softmax reshape',
  keras: 'input conv2d batchNorm relu6 depthwiseConv2d batchNorm relu maxPool2d flatten dense softmax',
  audio: 'input conv2d relu flatten dense softmax',
};

/** A GraphDef of nodes, written by hand. */
function graphOf(
  ...nodes: readonly { readonly name: string; readonly op: string; readonly inputs?: readonly string[]; readonly value?: Uint8Array }[]
): Uint8Array {
  const writer = new PbfWriter();
  for (const { name, op, inputs = [], value } of nodes) {
    writer.writeMessage(
      1,
      (_: unknown, node) => {
        node.writeStringField(1, name);
        node.writeStringField(2, op);
        for (const input of inputs) node.writeStringField(3, input);
        if (value === undefined) return;
        node.writeMessage(
          5,
          (_: unknown, entry) => {
            entry.writeStringField(1, 'value');
            entry.writeMessage(2, (_: unknown, attribute) => attribute.writeBytesField(8, value), null);
          },
          null,
        );
      },
      null,
    );
  }
  return writer.finish();
}

/** A TensorProto of float32. */
function tensorOf(shape: readonly number[], write: (writer: PbfWriter) => void): Uint8Array {
  const writer = new PbfWriter();
  writer.writeVarintField(1, 1);
  writer.writeMessage(
    2,
    (_: unknown, message) => {
      for (const size of shape) message.writeMessage(2, (_: unknown, dimension) => dimension.writeVarintField(1, size), null);
    },
    null,
  );
  write(writer);
  return writer.finish();
}

function imported(bytes: Uint8Array, options: ImportOptions = {}): Promise<ImportedModel> {
  return inTemporaryFolder(async (folder) => {
    const path_ = path.join(folder, 'graph.pb');
    writeFileSync(path_, bytes);
    return importModel(path_, options);
  });
}

describe('importing frozen TensorFlow graphs', () => {
  for (const [name, { shape, x, y }] of Object.entries(cases)) {
    if (name === 'refused') continue;
    it(`${name}: computes what TensorFlow computes`, async () => {
      const { model, format, weightScales } = await importModel(file(name));
      expect(format).to.equal('graphdef');
      expect(weightScales.size).to.equal(0);
      expect(model.graph.nodes[0]).to.deep.include({ op: 'input', shape });
      if (OPS[name] !== undefined) expect(model.graph.nodes.map(({ op }) => op).join(' ')).to.equal(OPS[name]);
      expect(relativeError(await predict(model, floats(x)), floats(y))).to.be.below(1e-5);
    });
  }

  it('keeps the bias of a convolution before its batch norm, epsilon, and the statistics', async () => {
    const { model } = await importModel(file('classic'));
    const [, convolution, norm] = model.graph.nodes;
    expect(convolution).to.deep.include({ op: 'conv2d', useBias: true, kernelSize: [3, 2], strides: [2, 1], padding: 'same' });
    expect(norm).to.deep.include({ op: 'batchNorm', momentum: 0.99 });
    expect(Math.fround((norm as { epsilon: number }).epsilon)).to.equal(Math.fround(1e-3));
    for (const name of ['gamma', 'beta', 'moving_mean', 'moving_variance']) {
      expect(new Set(model.tensors.get(`${norm!.name}/${name}`)!.data).size, name).to.equal(8);
    }
  });

  it('gives a model that can be trained on', async () => {
    const { model } = await importModel(file('classic'), { output: 'BiasAdd_2' });
    const { shape, x } = cases['classic']!;
    const train = { name: 'fixture', size: 3, inputShape: shape, x: floats(x), y: Int32Array.of(0, 1, 2), classes: 4 };
    const { epochs } = await fit(model, { train, epochs: 3, batchSize: 3 });
    expect(epochs.at(-1)!.loss).to.be.below(epochs[0]!.loss);
  });

  it('starts after an audio front end, and where it is told to', async () => {
    const { model } = await importModel(file('audio'));
    expect(model.graph.nodes[0]).to.deep.equal({ op: 'input', name: 'fingerprint', inputs: [], shape: [4, 10, 1] });
    const { model: tail } = await importModel(file('audio'), { input: 'Relu:0', inputShape: [4, 10, 4], output: 'MatMul' });
    expect(tail.graph.nodes.map(({ op }) => op)).to.deep.equal(['input', 'flatten', 'dense']);
    await expectRejection(importModel(file('audio'), { input: 'Relu' }), 'ERR_SHAPE', /inputShape/);
    await expectRejection(importModel(file('audio'), { input: 'nothing' }), 'ERR_OPTION', /'nothing'/);
    await expectRejection(importModel(file('audio'), { output: 'nothing' }), 'ERR_OPTION', /'nothing'/);
    await expectRejection(importModel(file('audio'), { input: 'labels_softmax', output: 'Relu' }), 'ERR_FORMAT', /does not depend/);
  });

  it('says all that it cannot take in one error, and in checkImport', async () => {
    const wanted = ['Einsum', 'Elu', 'FusedBatchNormV3', 'Cumsum'];
    expect((await checkImport(file('refused'))).unsupported.map(({ op }) => op)).to.deep.equal(wanted);
    const error = await importModel(file('refused')).catch((caught: unknown) => caught);
    expect(error).to.be.instanceOf(UnsupportedNodesError);
    expect((error as UnsupportedNodesError).nodes.map(({ op }) => op)).to.deep.equal(wanted);
    expect((error as PcqatError).message).to.match(/is_training false/);
    const complete = await checkImport(file('keras'));
    expect(complete.unsupported).to.deep.equal([]);
    expect(complete.parameters).to.equal(162 + 24 + 54 + 6 + 24 + 24 + 4);
  });

  it('refuses graphs without end: cycles, missing and duplicate nodes, several inputs or outputs', async () => {
    const x = { name: 'x', op: 'Placeholder' };
    const relu = (name: string, ...inputs: string[]): { name: string; op: string; inputs: string[] } => ({ name, op: 'Relu', inputs });
    const shaped = { inputShape: [4] };
    await expectRejection(imported(graphOf(x, relu('a', 'b'), relu('b', 'a')), { output: 'b' }), 'ERR_GRAPH', /depends on itself/);
    await expectRejection(imported(graphOf(x, relu('a', 'nowhere')), shaped), 'ERR_FORMAT', /'nowhere' does not exist/);
    await expectRejection(imported(graphOf(x, relu('a', 'x'), relu('a', 'x')), shaped), 'ERR_FORMAT', /two nodes are named 'a'/);
    await expectRejection(imported(graphOf(x, relu('a', 'x'), relu('b', 'x')), shaped), 'ERR_OPTION', /2 outputs: a, b.*output/);
    await expectRejection(imported(graphOf(x, { name: 'y', op: 'Placeholder' }, relu('a', 'x', 'y')), shaped), 'ERR_OPTION', /2 inputs/);
    await expectRejection(imported(graphOf(x, relu('a', 'x'))), 'ERR_SHAPE', /inputShape/);
    await expectRejection(imported(graphOf({ name: 'c', op: 'Const' }, relu('a', 'c'))), 'ERR_FORMAT', /input/);
    expect((await imported(graphOf(x, relu('a', 'x')), shaped)).model.graph.nodes).to.have.length(2);
  });

  it('takes a long chain in any order, without recursion', async () => {
    const chain = Array.from({ length: 50_000 }, (_, i) => ({ name: `n${i + 1}`, op: 'Identity', inputs: [`n${i}`] }));
    const nodes = [{ name: 'end', op: 'Relu', inputs: ['n50000'] }, ...chain.reverse(), { name: 'n0', op: 'Placeholder' }];
    const { model } = await imported(graphOf(...nodes), { inputShape: [3] });
    expect(model.graph.nodes.map(({ op }) => op)).to.deep.equal(['input', 'relu']);
  });

  it('computes constants once that are made from each other, and refuses towers of them', async function () {
    this.timeout(5000);
    const tower = (height: number): Uint8Array => {
      const constants = Array.from({ length: height }, (_, i) => ({ name: `c${i + 1}`, op: 'Mul', inputs: [`c${i}`, `c${i}`] }));
      const layers = Array.from({ length: 1000 }, (_, i) => ({
        name: `y${i}`,
        op: 'Mul',
        inputs: [i === 0 ? 'x' : `y${i - 1}`, `c${height}`],
      }));
      const ones = tensorOf([4], (writer) => writer.writePackedFloat(5, [1, 1, 1, 0.5]));
      return graphOf({ name: 'x', op: 'Placeholder' }, { name: 'c0', op: 'Const', value: ones }, ...constants, ...layers);
    };
    const { model } = await imported(tower(8), { inputShape: [2, 2, 4] });
    expect(model.graph.nodes).to.have.length(1001);
    expect([...model.tensors.values()][0]!.data).to.deep.equal(Float32Array.of(1, 1, 1, 2 ** -256));
    await expectRejection(imported(tower(9), { inputShape: [2, 2, 4] }), 'ERR_UNSUPPORTED', /not computed from the model's input/);
  });

  it('refuses constants that claim more than they hold, without making room for them', async () => {
    const x = { name: 'x', op: 'Placeholder' };
    const product = { name: 'y', op: 'MatMul', inputs: ['x', 'w'] };
    const options = { inputShape: [30_000] };
    const weights = (shape: number[], write: (writer: PbfWriter) => void): Uint8Array =>
      graphOf(x, { name: 'w', op: 'Const', value: tensorOf(shape, write) }, product);
    const one = (writer: PbfWriter): void => writer.writePackedFloat(5, [1]);
    const before = process.memoryUsage().rss;
    await expectRejection(imported(weights([30_000, 30_000], one), options), 'ERR_FORMAT', /much larger than the file/);
    await expectRejection(imported(weights([2 ** 31, 2 ** 31], one), options), 'ERR_FORMAT', /impossible shape/);
    await expectRejection(imported(weights([-5, 2], one), options), 'ERR_FORMAT', /impossible shape/);
    await expectRejection(
      imported(
        weights([30_000, 1], (writer) => writer.writeBytesField(4, new Uint8Array(8))),
        options,
      ),
      'ERR_FORMAT',
      /has 8 bytes/,
    );
    await expectRejection(
      imported(
        weights([1, 1], (writer) => writer.writePackedFloat(5, [1, 2])),
        { inputShape: [1] },
      ),
      'ERR_FORMAT',
      /more values/,
    );
    await expectRejection(
      imported(
        weights([1, 1], (writer) => writer.writePackedFloat(5, [NaN])),
        { inputShape: [1] },
      ),
      'ERR_NON_FINITE',
    );
    expect(process.memoryUsage().rss - before).to.be.below(200 * 2 ** 20);
  });

  it('tells a SavedModel, a cut file and no file apart', async () => {
    const saved = new PbfWriter();
    saved.writeVarintField(1, 1);
    await expectRejection(imported(saved.finish()), 'ERR_UNSUPPORTED', /SavedModel/);
    const whole = new Uint8Array(readFileSync(file('classic')));
    await expectRejection(imported(whole.subarray(0, whole.length - 3)), 'ERR_FORMAT', /past the end/);
    await expectRejection(imported(new Uint8Array()), 'ERR_FORMAT', /no nodes/);
    await expectRejection(importModel('no-such-file.pb'), 'ERR_IO', /no-such-file/);
  });
});

/** Arm's published keyword spotters, too large for the repository. */
const shared = fileURLToPath(new URL('../../../../../shared/data/', import.meta.url));

describe("Arm's keyword spotters as frozen graphs", function () {
  before(function () {
    if (existsSync(shared)) return;
    console.log(`      skipped: ${shared} is not there`);
    this.skip();
  });

  for (const [name, kernels] of [
    ['DS_CNN_S', 22_016],
    ['DS_CNN_L', 407_652],
    ['CNN_S', 69_024],
  ] as const) {
    it(`${name}: the recorded predictions for 506 clips`, async () => {
      const { model } = await importModel(`${shared}reference-models/arm-ml-kws/${name}.pb`);
      const weights = [...model.tensors]
        .filter(([tensor]) => tensor.endsWith('/kernel'))
        .reduce((sum, [, { data }]) => sum + data.length, 0);
      expect(weights).to.equal(kernels);
      const x = new Float32Array(
        new Uint8Array(gunzipSync(readFileSync(`${shared}speech-commands-12/mfcc-armkws-49x10-f32le.bin.gz`))).buffer,
      );
      const y = await predict(model, x);
      const expected = JSON.parse(readFileSync(`${shared}reference-models/expected.json`, 'utf8')) as {
        'speech-commands-12': Record<string, { readonly predicted: string; readonly correct: number }>;
      };
      const { classes, rows } = JSON.parse(readFileSync(`${shared}speech-commands-12/index.json`, 'utf8')) as {
        readonly classes: readonly string[];
        readonly rows: readonly (readonly [string, number])[];
      };
      // Arm's order of the labels is another one.
      const labels = readFileSync(`${shared}reference-models/arm-ml-kws/labels.txt`, 'utf8')
        .trim()
        .split('\n')
        .map((label) => classes.findIndex((one) => one.toLowerCase() === label.trim().replaceAll('_', '')));
      const answers = rows.map((_, row) => {
        const scores = y.subarray(12 * row, 12 * row + 12);
        return labels[scores.indexOf(Math.max(...scores))]!;
      });
      const { predicted, correct } = expected['speech-commands-12'][name]!;
      expect(answers.map((answer) => '0123456789AB'[answer]).join('')).to.equal(predicted);
      expect(answers.filter((answer, row) => answer === rows[row]![1])).to.have.length(correct);
    });
  }
});
