import { expect } from 'chai';
import { describe, it } from 'mocha';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { predict } from '#lib/evaluate/evaluate.js';
import { runOnnx } from '#lib/evaluate/onnxruntime.js';
import { importModel } from '#lib/formats/import/index.js';
import { assembleOnnxBytes } from '#lib/formats/onnx/import.js';
import { noFiles } from '#lib/formats/onnx/external.js';
import { elementCount } from '#lib/graph/shapes.js';
import type { Model } from '#lib/graph/model.js';
import {
  channelsLast,
  floats,
  int,
  integers,
  ints,
  type NodeSpec,
  onnxFile,
  readModel,
  refusals,
  relativeError,
  weights,
} from '../../support/onnx.js';

const TOLERANCE = 1e-5;
const folder = 'test/formats/onnx/pytorch';

const f32 = (file: string): Float32Array => new Float32Array(new Uint8Array(readFileSync(file)).buffer);
const ops = ({ graph }: Model): string => graph.nodes.map(({ op }) => op).join(' ');

/** What these do has no exact counterpart. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  'ceil-9': /MaxPool/,
  'ceil-13': /MaxPool/,
  'ceil-dynamo': /MaxPool/,
  'upsample-9': /Upsample/,
};

describe('ONNX files that PyTorch wrote', () => {
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.onnx'))) {
    const name = path.basename(file, '.onnx');
    const refused = REFUSED[name];
    it(refused === undefined ? `${name}: PyTorch's outputs` : `${name}: is refused`, async () => {
      if (refused !== undefined) {
        const error = await importModel(path.join(folder, file)).then(() => undefined, (caught: unknown) => caught); // prettier-ignore
        expect(String(error)).to.match(refused);
        return;
      }
      const { model } = await importModel(path.join(folder, file));
      const values = f32(path.join(folder, `${name.slice(0, name.lastIndexOf('-'))}.f32`));
      const [input] = model.graph.nodes;
      const rows = 2;
      const length = rows * elementCount(input?.op === 'input' ? input.shape : []);
      expect(relativeError(await predict(model, values.subarray(0, length)), values.subarray(length))).to.be.below(TOLERANCE);
    });
  }
});

describe('ONNX layouts', () => {
  const conv = weights('w', [4, 3, 3, 3]);

  it('an NCHW image becomes [h, w, c]', () => {
    const model = readModel(onnxFile([3, 8, 9], [['Conv', ['x', 'w'], 'y']], [conv]));
    expect(model.graph.nodes[0]).to.deep.include({ op: 'input', shape: [8, 9, 3] });
  });

  it('an NHWC image behind a transposition stays, and no transposition is left', () => {
    const file = onnxFile(
      [8, 9, 3],
      [
        ['Transpose', ['x'], 't', { perm: ints(0, 3, 1, 2) }],
        ['Conv', ['t', 'w'], 'c'],
        ['Relu', ['c'], 'r'],
        ['Transpose', ['r'], 'b', { perm: ints(0, 2, 3, 1) }],
        ['Reshape', ['b', 's'], 'f'],
        ['MatMul', ['f', 'm'], 'd'],
        ['Add', ['d', 'bias'], 'y'],
      ],
      [conv, integers('s', [-1, 168]), weights('m', [168, 5]), weights('bias', [5])],
    );
    const model = readModel(file);
    expect(ops(model)).to.equal('input conv2d relu flatten dense');
    expect(model.graph.nodes[0]).to.deep.include({ shape: [8, 9, 3] });
    expect(model.tensors.get('d_node/kernel')?.data).to.deep.equal(new Float32Array(weights('m', [168, 5]).data.buffer));
  });

  it('a grey image may be reshaped instead of transposed', async () => {
    const nodes = [
      ['Reshape', ['x', 's'], 't'],
      ['Conv', ['t', 'w'], 'y'],
    ] as const;
    const file = onnxFile([6, 7, 1], nodes, [integers('s', [-1, 1, 6, 7]), weights('w', [2, 1, 3, 3])]);
    const model = readModel(file);
    expect(ops(model)).to.equal('input conv2d');
    const x = weights('x', [2, 6, 7, 1], 3);
    const y = await runOnnx(file, new Float32Array(x.data.buffer));
    const ours = await predict(model, new Float32Array(x.data.buffer));
    expect(relativeError(ours, channelsLast(y, [2, 2, 4, 5]))).to.be.below(TOLERANCE);
  });

  it('a flattened NCHW image permutes the rows of the dense layer', async () => {
    const file = onnxFile(
      [3, 4, 5],
      [
        ['Conv', ['x', 'w'], 'c'],
        ['Flatten', ['c'], 'f'],
        ['Gemm', ['f', 'm', 'b'], 'y', { transB: int(1), alpha: { float: 0.5 }, beta: { float: 2 } }],
      ],
      [conv, weights('m', [7, 4 * 2 * 3]), weights('b', [7])],
    );
    const x = new Float32Array(weights('x', [2, 3, 4, 5], 3).data.buffer);
    expect(relativeError(await predict(readModel(file), channelsLast(x, [2, 3, 4, 5])), await runOnnx(file, x))).to.be.below(TOLERANCE);
  });

  it('the end of a model must be in our order', () => {
    const file = onnxFile([3, 4, 5], [['Conv', ['x', 'w'], 'c'], ['Flatten', ['c'], 'y']], [conv]); // prettier-ignore
    expect(refusals(file)[0]).to.deep.include({ op: 'output', name: 'y' });
  });

  it('shape arithmetic is folded, with the batch in it', () => {
    const file = onnxFile(
      [3, 4, 5],
      [
        ['Conv', ['x', 'w'], 'c'],
        ['Shape', ['c'], 's'],
        ['Gather', ['s', 'zero'], 'n'],
        ['Unsqueeze', ['n', 'axes'], 'n1'],
        ['Concat', ['n1', 'rest'], 'target', { axis: int(0) }],
        ['Reshape', ['c', 'target'], 'f'],
        ['MatMul', ['f', 'm'], 'y'],
      ],
      [conv, integers('zero', [0], []), integers('axes', [0]), integers('rest', [-1]), weights('m', [24, 2])],
    );
    expect(ops(readModel(file))).to.equal('input conv2d flatten dense');
  });

  it('weights listed among the inputs are no inputs', () => {
    const file = onnxFile([3, 4, 5], [['Conv', ['x', 'w'], 'y']], [conv], {
      opset: 7,
      inputs: [{ name: 'w', type: 'float', shape: [3, 3, 3] }],
    });
    expect(ops(readModel(file))).to.equal('input conv2d');
  });
});

describe('ONNX operators', () => {
  it('constants per channel become biases behind a layer without one, else depthwise convolutions of one tap', () => {
    const file = onnxFile(
      [3, 4, 5],
      [
        ['Conv', ['x', 'w'], 'c'],
        ['Add', ['bias', 'c'], 'a'],
        ['Mul', ['a', 'bias'], 'y'],
      ],
      [weights('w', [4, 3, 1, 1]), weights('bias', [4, 1, 1])],
    );
    const model = readModel(file);
    expect(ops(model)).to.equal('input conv2d depthwiseConv2d');
    expect(model.tensors.get('c_node/bias')?.data).to.deep.equal(new Float32Array(weights('bias', [4]).data.buffer));
  });

  it('a hard swish in pieces is one', async () => {
    const pieces = (last: readonly NodeSpec[]): Uint8Array =>
      onnxFile(
        [3, 4, 5],
        [['Add', ['x', 'three'], 'a'], ['Clip', ['a', 'zero', 'six'], 'c'], ...last],
        [floats('three', [], [3]), floats('zero', [], [0]), floats('six', [], [6]), floats('sixth', [], [1 / 6])],
      );
    const files = [
      pieces([['Mul', ['x', 'c'], 'm'], ['Div', ['m', 'six'], 'y']]),
      pieces([['Mul', ['c', 'sixth'], 'm'], ['Mul', ['m', 'x'], 'y']]),
    ]; // prettier-ignore
    const x = Float32Array.from({ length: 60 }, (_, i) => i / 5 - 6);
    for (const file of files) {
      const model = readModel(file);
      expect(ops(model)).to.equal('input hardSwish');
      expect(
        relativeError(await predict(model, channelsLast(x, [1, 3, 4, 5])), channelsLast(await runOnnx(file, x), [1, 3, 4, 5])),
      ).to.be.below(TOLERANCE);
    }
    const other = pieces([['Mul', ['x', 'c'], 'm'], ['Div', ['m', 'three'], 'y']]); // prettier-ignore
    expect(ops(readModel(other))).to.equal('input depthwiseConv2d relu6 multiply depthwiseConv2d');
  });

  it('a bias may come from a node that is computed', () => {
    const file = onnxFile(
      [3, 4, 5],
      [
        ['Conv', ['x', 'w'], 'c'],
        ['Reshape', ['b', 's'], 'bias'],
        ['Add', ['c', 'bias'], 'y'],
      ],
      [weights('w', [4, 3, 1, 1]), weights('b', [4]), integers('s', [1, 4, 1, 1])],
    );
    expect(ops(readModel(file))).to.equal('input conv2d');
  });

  it('a bias may be added behind transpositions, as Keras does; what is none changes nothing', async () => {
    const behind = (constant: readonly number[]): Uint8Array =>
      onnxFile(
        [3, 4, 4],
        [
          ['Conv', ['x', 'w'], 'c'],
          ['Transpose', ['c'], 't', { perm: ints(0, 2, 3, 1) }],
          ['Add', ['t', 'b'], 'a'],
          ['Transpose', ['a'], 'y', { perm: ints(0, 3, 1, 2) }],
        ],
        [weights('w', [4, 3, 1, 1]), weights('b', constant)],
      );
    const x = new Float32Array(weights('x', [2, 3, 4, 4], 3).data.buffer);
    const model = readModel(behind([1, 1, 1, 4]));
    expect(ops(model)).to.equal('input conv2d');
    const expected = channelsLast(await runOnnx(behind([1, 1, 1, 4]), x), [2, 4, 4, 4]);
    expect(relativeError(await predict(model, channelsLast(x, [2, 3, 4, 4])), expected)).to.be.below(TOLERANCE);
    // One value per row of the image, though there are as many as channels.
    expect(refusals(behind([1, 4, 1, 1]))[0]?.reason).to.match(/not one value per channel/);
  });

  it('zeros around a max pool are allowed where nothing is negative', async () => {
    const pool = { kernel_shape: ints(3, 3), strides: ints(2, 2), pads: ints(1, 1, 1, 1) };
    const file = onnxFile([3, 8, 8], [['Relu', ['x'], 'r'], ['MaxPool', ['r'], 'y', pool]]); // prettier-ignore
    const x = new Float32Array(weights('x', [2, 3, 8, 8], 3).data.buffer);
    const model = readModel(file);
    expect(ops(model)).to.equal('input relu zeroPad2d maxPool2d');
    expect(await predict(model, channelsLast(x, [2, 3, 8, 8]))).to.deep.equal(channelsLast(await runOnnx(file, x), [2, 3, 4, 4]));
    expect(refusals(onnxFile([3, 8, 8], [['MaxPool', ['x'], 'y', pool]]))[0]?.reason).to.match(/may be negative/);
  });

  it('names every node that cannot be taken, and not what follows from it', () => {
    const file = onnxFile(
      [4, 6, 6],
      [
        ['Conv', ['x', 'w'], 'g', { group: int(2) }],
        ['BatchNormalization', ['g', 'p', 'p', 'p', 'p'], 'n'],
        ['Elu', ['n'], 'e'],
        ['LogSoftmax', ['e'], 'y'],
      ],
      [weights('w', [6, 2, 3, 3]), weights('p', [6])],
    );
    expect(refusals(file).map(({ op, name }) => `${op} ${name}`)).to.deep.equal(['Conv g_node', 'Elu e_node', 'LogSoftmax y_node']);
  });

  it('integer weights are read as real numbers when asked', () => {
    const codes = Int8Array.from({ length: 4 * 3 }, (_, i) => i - 6);
    const file = onnxFile(
      [3, 4, 5],
      [
        ['DequantizeLinear', ['q', 'scale'], 'w', { axis: int(0) }],
        ['Conv', ['x', 'w'], 'y'],
      ],
      [{ name: 'q', type: 'int8', dims: [4, 3, 1, 1], data: new Uint8Array(codes.buffer) }, floats('scale', [4], [1, 2, 3, 4])],
    );
    expect(refusals(file)[0]).to.deep.include({ op: 'DequantizeLinear' });
    const { assembler, output, weightScales } = assembleOnnxBytes(file, noFiles('f'), { dequantize: true });
    expect([...(weightScales?.get('y_node/kernel') ?? [])]).to.deep.equal([1, 2, 3, 4]);
    const kernel = assembler.finish(output).tensors.get('y_node/kernel');
    expect(kernel?.data[0]).to.equal(-6);
    expect(kernel?.data[1]).to.equal(-3 * 2);
  });
});
