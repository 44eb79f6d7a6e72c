import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PbfWriter } from 'pbf';
import { PcqatError } from '#lib/errors.js';
import { checkImport, importModel } from '#lib/formats/import/index.js';
import { encodeModel } from '#lib/formats/onnx/encode.js';
import { noFiles } from '#lib/formats/onnx/external.js';
import { assembleOnnxBytes } from '#lib/formats/onnx/import.js';
import { readOnnx, readTensor } from '#lib/formats/onnx/read.js';
import { permuted, tensorValues } from '#lib/formats/onnx/tensors.js';
import { expectCode, expectRejection } from '../../support/errors.js';
import { floats, int, integers, ints, onnxFile, readModel, refusals, weights } from '../../support/onnx.js';

const fixtures = path.resolve('test/formats/onnx/pytorch');

describe('ONNX files with data beside them', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'pcqat-onnx-'));
    mkdirSync(path.join(folder, 'model'));
    for (const name of ['cnn-dynamo.onnx', 'cnn-dynamo.onnx.data']) cpSync(path.join(fixtures, name), path.join(folder, 'model', name));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const model = (): string => path.join(folder, 'model/cnn-dynamo.onnx');
  const data = (): string => `${model()}.data`;

  /** Replaces the place of the data, which has to have as many characters. */
  function relocate(to: string): void {
    const from = 'cnn-dynamo.onnx.data';
    const bytes = readFileSync(model()).toString('latin1');
    expect(to).to.have.length(from.length);
    writeFileSync(model(), Buffer.from(bytes.replaceAll(from, to), 'latin1'));
  }

  it('are read', async () => {
    expect((await importModel(model())).model.graph.nodes.length).to.equal(10);
  });

  it('need the data only for the weights', async () => {
    rmSync(data());
    expect((await checkImport(model())).unsupported).to.deep.equal([]);
    await expectRejection(importModel(model()), 'ERR_IO', /cnn-dynamo.onnx.data/);
  });

  it('may not name files outside of their folder', async () => {
    writeFileSync(path.join(folder, 'secret-01234.data'), new Uint8Array(1e5));
    relocate('../secret-01234.data');
    await expectRejection(importModel(model()), 'ERR_FORMAT', /outside/);
  });

  it('may not use absolute paths or links that lead out', async () => {
    relocate('/etc/hosts0000000000');
    await expectRejection(importModel(model()), 'ERR_FORMAT', /outside/);
    cpSync(path.join(fixtures, 'cnn-dynamo.onnx'), model());
    cpSync(data(), path.join(folder, 'elsewhere'));
    rmSync(data());
    symlinkSync(path.join(folder, 'elsewhere'), data());
    await expectRejection(importModel(model()), 'ERR_FORMAT', /outside/);
  });

  it('must have all of the data', async () => {
    truncateSync(data(), 1000);
    await expectRejection(importModel(model()), 'ERR_FORMAT', /a file of 1000 bytes/);
    rmSync(data());
    mkdirSync(data());
    await expectRejection(importModel(model()), 'ERR_IO', /no file/);
  });

  it('cannot be read from bytes alone', () => {
    const { assembler, output } = assembleOnnxBytes(readFileSync(model()), noFiles('bytes'));
    expectCode(() => assembler.finish(output), 'ERR_UNSUPPORTED', /another file/);
  });
});

describe('damaged ONNX files', () => {
  const file = onnxFile([3, 6, 6], [['Conv', ['x', 'w'], 'y']], [weights('w', [4, 3, 3, 3])]);

  it('cut off anywhere, are refused', () => {
    // The last four bytes say which opset it is.
    for (let length = 0; length < file.length - 4; length++) expectCode(() => readModel(file.subarray(0, length)), 'ERR_FORMAT');
    for (let length = file.length - 4; length < file.length; length++)
      expect(() => readModel(file.subarray(0, length))).to.throw(PcqatError);
  });

  it('do not make memory of nothing', () => {
    const claim = (dims: readonly number[]): Uint8Array =>
      onnxFile([3, 6, 6], [['Conv', ['x', 'w'], 'y']], [{ name: 'w', type: 'float', dims, data: new Uint8Array(4) }]);
    expectCode(() => readModel(claim([1000000, 3, 3, 3])), 'ERR_FORMAT', /4 bytes of data/);
    expectCode(() => readModel(claim([2 ** 31, 3, 3, 3])), 'ERR_GRAPH');
    expectCode(() => readModel(claim([2 ** 20, 3, 2 ** 20, 2 ** 20])), 'ERR_SHAPE');
    const filled = onnxFile([3, 6, 6], [['ConstantOfShape', ['s'], 'w'], ['Conv', ['x', 'w'], 'y']], [integers('s', [1 << 25, 3, 3, 3])]); // prettier-ignore
    expect(refusals(filled)[0]).to.deep.include({ op: 'ConstantOfShape' });
  });

  it('do not copy one weight, or one number, without end', () => {
    const shared = Array.from({ length: 3000 }, (_, i) => ['Conv', [i === 0 ? 'x' : `t${i - 1}`, 'w'], `t${i}`] as const);
    const many = onnxFile([256, 1, 1], shared, [weights('w', [256, 256, 1, 1])]);
    expectCode(() => readModel(many), 'ERR_UNSUPPORTED', /parameters, far more/);
    const scaled = onnxFile([2 ** 28], [['Mul', ['x', 's'], 'y']], [floats('s', [], [2])]); // prettier-ignore
    expectCode(() => readModel(scaled), 'ERR_UNSUPPORTED', /parameters, far more/);
    const twice = onnxFile([4, 1, 1], shared.slice(0, 2), [weights('w', [4, 4, 1, 1])]);
    expect(readModel(twice).graph.nodes).to.have.length(3);
  });

  it('with cycles are refused, and long chains are not a problem', () => {
    const cycle = onnxFile([4], [['Add', ['x', 'b'], 'a'], ['Relu', ['a'], 'b'], ['Relu', ['b'], 'y']]); // prettier-ignore
    expectCode(() => readModel(cycle), 'ERR_FORMAT', /depends on itself/);
    const chain = Array.from({ length: 20_000 }, (_, i) => ['Relu', [i === 0 ? 'x' : `t${i - 1}`], `t${i}`] as const);
    expect(readModel(onnxFile([4], chain)).graph.nodes).to.have.length(20_001);
    // Backwards too: files need not list their nodes in order.
    expect(readModel(onnxFile([4], [['Relu', ['a'], 'y2'], ['Relu', ['x'], 'a'], ['Relu', ['y2'], 'y']])).graph.nodes).to.have.length(4); // prettier-ignore
  });

  it('with inputs from nowhere, or an output that needs none, are refused', () => {
    expect(refusals(onnxFile([4], [['Add', ['x', 'nothing'], 'y']]))[0]?.reason).to.match(/'nothing' is made by nothing/);
    expectCode(() => readModel(onnxFile([4], [['Identity', ['w'], 'y']], [weights('w', [4])])), 'ERR_FORMAT', /does not depend/);
  });

  it('with keys of prototypes as names are files like others', () => {
    const nodes = [
      ['Relu', ['x'], '__proto__'],
      ['Tanh', ['__proto__'], 'constructor', { __proto__: int(1), toString: ints(1) }],
    ] as const;
    expect(readModel(onnxFile([4], nodes)).graph.nodes.map(({ op }) => op)).to.deep.equal(['input', 'relu', 'tanh']);
    expect(refusals(onnxFile([4], [['toString', ['x'], 'y']]))[0]).to.deep.include({ op: 'toString' });
  });

  it('of tiny messages take little memory', () => {
    const writer = new PbfWriter();
    writer.writeMessage(7, (_: undefined, pbf) => { for (let i = 0; i < 400_000; i++) pbf.writeBytesField(1, new Uint8Array()); }, undefined); // prettier-ignore
    expectCode(() => readOnnx(writer.finish(), 'tiny'), 'ERR_FORMAT', /more than/);
  });
});

describe('options of an ONNX import', () => {
  const nodes = [
    ['Conv', ['x', 'w'], 'c'],
    ['Relu', ['c'], 'r'],
    ['Elu', ['r'], 'y'],
  ] as const;
  const initializers = [weights('w', [4, 3, 3, 3])];
  const file = onnxFile([3, 6, 7], nodes, initializers);

  it('end the model at a tensor or node', () => {
    for (const output of ['r', 'r_node']) expect(readModel(file, { output }).graph.nodes.at(-1)).to.deep.include({ op: 'relu' });
    expectCode(() => readModel(file, { output: 'nothing' }), 'ERR_OPTION', /nothing/);
  });

  it('begin it at a tensor', () => {
    const model = readModel(file, { input: 'c', inputShape: [4, 4, 5], output: 'r' });
    expect(model.graph.nodes.map(({ op }) => op)).to.deep.equal(['input', 'relu']);
    expect(model.graph.nodes[0]).to.deep.include({ shape: [4, 5, 4] });
    expectCode(() => readModel(file, { input: 'nothing' }), 'ERR_OPTION', /nothing/);
    expectCode(() => readModel(file, { input: 'c', output: 'r' }), 'ERR_UNSUPPORTED', /inputShape/);
  });

  it('give the shape that the file leaves open', () => {
    const open = onnxFile([3, -1, -1], nodes, initializers);
    expectCode(() => readModel(open, { output: 'r' }), 'ERR_UNSUPPORTED', /\[3, \?, \?\]/);
    expect(readModel(open, { output: 'r', inputShape: [3, 6, 7] }).graph.nodes[0]).to.deep.include({ shape: [6, 7, 3] });
    expectCode(() => readModel(open, { output: 'r', inputShape: [4, 6, 7] }), 'ERR_OPTION', /inputShape/);
  });

  it('old and new opsets are refused, others read', () => {
    const of = (opset: number): Uint8Array => onnxFile([4], [['Relu', ['x'], 'y']], [], { opset });
    for (const opset of [7, 17, 24]) expect(readModel(of(opset)).graph.nodes).to.have.length(2);
    for (const opset of [1, 99]) expectCode(() => readModel(of(opset)), 'ERR_UNSUPPORTED', /opset/);
  });

  it('tell of several inputs or outputs', () => {
    const graph = { name: 'g', irVersion: 8, opset: 17, nodes: [], initializers: [], valueInfos: [] };
    const value = (name: string) => ({ name, type: 'float' as const, shape: [4] });
    const two = encodeModel({ ...graph, inputs: [value('a'), value('b')], outputs: [value('a')] });
    expectCode(() => readModel(two), 'ERR_UNSUPPORTED', /2 inputs \('a', 'b'\)/);
    expectCode(() => readModel(encodeModel({ ...graph, inputs: [value('a')], outputs: [] })), 'ERR_UNSUPPORTED', /0 outputs/);
  });
});

describe('ONNX tensors', () => {
  it('are read from bytes and from lists, of every element type', () => {
    const write = (type: number, fill: (pbf: PbfWriter) => void): number[] => {
      const pbf = new PbfWriter();
      pbf.writeVarintField(1, 2);
      pbf.writeVarintField(2, type);
      fill(pbf);
      return [...tensorValues(readTensor(pbf.finish(), 't'), noFiles('t'))];
    };
    expect(write(1, (pbf) => pbf.writePackedFloat(4, [0.5, -2]))).to.deep.equal([0.5, -2]);
    expect(write(1, (pbf) => [0.5, -2].forEach((value) => pbf.writeFloatField(4, value)))).to.deep.equal([0.5, -2]);
    expect(write(7, (pbf) => pbf.writePackedVarint(7, [3, -1]))).to.deep.equal([3, -1]);
    expect(write(10, (pbf) => pbf.writePackedVarint(5, [0x3c00, 0xc000]))).to.deep.equal([1, -2]);
    expect(write(10, (pbf) => pbf.writeBytesField(9, Uint8Array.of(1, 0, 0, 0x7c)))).to.deep.equal([2 ** -24, Infinity]);
    expect(write(11, (pbf) => pbf.writePackedDouble(10, [0.1, 3]))).to.deep.equal([0.1, 3]);
    expect(write(3, (pbf) => pbf.writeBytesField(9, Uint8Array.of(255, 7)))).to.deep.equal([-1, 7]);
    expect(write(2, (pbf) => pbf.writeBytesField(9, Uint8Array.of(255, 7)))).to.deep.equal([255, 7]);
    expectCode(() => write(1, (pbf) => pbf.writePackedFloat(4, [0.5])), 'ERR_FORMAT', /1 values and not 2/);
    expectCode(() => write(1, (pbf) => pbf.writeBytesField(9, new Uint8Array(9))), 'ERR_FORMAT', /9 bytes/);
    expectCode(() => write(8, (pbf) => pbf.writeBytesField(9, new Uint8Array(9))), 'ERR_UNSUPPORTED', /string/);
  });

  it('get their axes in another order', () => {
    const values = Float32Array.from({ length: 24 }, (_, i) => i);
    const moved = permuted(values, [2, 3, 4], [2, 0, 1]);
    for (let a = 0; a < 2; a++)
      for (let b = 0; b < 3; b++) for (let c = 0; c < 4; c++) expect(moved[(c * 2 + a) * 3 + b]).to.equal(values[(a * 3 + b) * 4 + c]);
    expect(floats('f', [1], [1]).data).to.have.length(4);
  });
});
