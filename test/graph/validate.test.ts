import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { Graph } from '#lib/graph/types.js';
import { validateGraph, zoo } from '#lib/index.js';
import type { PcqatErrorCode } from '#lib/errors.js';
import { expectCode } from '../support/errors.js';

const input = { op: 'input', name: 'in', inputs: [], shape: [8, 8, 2] };
const conv = {
  op: 'conv2d', name: 'conv', inputs: ['in'], filters: 4, kernelSize: [3, 3], strides: [1, 1], padding: 'same', dilation: [1, 1], useBias: true,
}; // prettier-ignore
const sequence = { ...input, shape: [8, 2] };
const conv1d = {
  op: 'conv1d', name: 'conv1d', inputs: ['in'], filters: 4, kernelSize: 3, strides: 1, padding: 'causal', dilation: 1, useBias: true,
}; // prettier-ignore
const transposed = {
  op: 'conv2dTranspose', name: 't', inputs: ['in'], filters: 4, kernelSize: [3, 3], strides: [2, 2], padding: 'same', useBias: true,
}; // prettier-ignore
const graph = (...nodes: unknown[]): Graph => ({ name: 'g', nodes }) as unknown as Graph;

describe('validateGraph', () => {
  it('accepts every zoo model', () => {
    for (const model of [
      zoo.lenet5(),
      zoo.mnistCnn(),
      zoo.dsCnn({ size: 'M', classes: 12 }),
      zoo.mobilenetV1({ alpha: 0.25 }),
      zoo.resnet8(),
    ]) {
      expect(validateGraph(model.graph).size).to.equal(model.graph.nodes.length);
    }
  });

  it('accepts one-dimensional and transposed layers and a concat of three', () => {
    expect(validateGraph(graph(sequence, conv1d)).get('conv1d')).to.deep.equal([8, 4]);
    expect(validateGraph(graph(input, transposed)).get('t')).to.deep.equal([16, 16, 4]);
    expect(validateGraph(graph(input, { op: 'concat', name: 'c', inputs: ['in', 'in', 'in'] })).get('c')).to.deep.equal([8, 8, 6]);
  });

  const bad: [string, Graph, PcqatErrorCode, RegExp][] = [
    ['no layers', graph(), 'ERR_GRAPH', /no layers/],
    ['an unknown operator', graph(input, { op: 'lstm', name: 'l', inputs: ['in'] }), 'ERR_UNKNOWN_LAYER', /lstm.*layer 'l'/],
    [
      'an operator named like an Object method',
      graph(input, { op: 'toString', name: 'l', inputs: ['in'] }),
      'ERR_UNKNOWN_LAYER',
      /toString/,
    ],
    ['a missing attribute', graph(input, { ...conv, filters: undefined }), 'ERR_GRAPH', /filters.*layer 'conv'/],
    ['a fractional size', graph(input, { ...conv, kernelSize: [3, 1.5] }), 'ERR_GRAPH', /kernelSize/],
    ['a zero stride', graph(input, { ...conv, strides: [0, 1] }), 'ERR_GRAPH', /strides/],
    ['a huge size', graph(input, { ...conv, filters: 1e300 }), 'ERR_GRAPH', /filters/],
    ['a bad padding', graph(input, { ...conv, padding: 'SAME' }), 'ERR_GRAPH', /'same' or 'valid'/],
    ['an unknown attribute', graph(input, { ...conv, groups: 2 }), 'ERR_GRAPH', /groups/],
    ['a dropout rate of 1', graph(input, { op: 'dropout', name: 'd', inputs: ['in'], rate: 1 }), 'ERR_GRAPH', /rate/],
    ['an epsilon of zero', graph(input, { op: 'batchNorm', name: 'b', inputs: ['in'], momentum: 0.9, epsilon: 0 }), 'ERR_GRAPH', /epsilon/],
    ['an empty input shape', graph({ ...input, shape: [] }), 'ERR_GRAPH', /shape/],
    ['the wrong number of inputs', graph(input, { op: 'add', name: 'a', inputs: ['in'] }), 'ERR_GRAPH', /takes 2.*layer 'a'/],
    ['inputs that are no list', graph(input, { ...conv, inputs: 'in' }), 'ERR_GRAPH', /takes 1/],
    ['a concat of one input', graph(input, { op: 'concat', name: 'c', inputs: ['in'] }), 'ERR_GRAPH', /two or more inputs.*layer 'c'/],
    ['a multiplication of three', graph(input, { op: 'multiply', name: 'm', inputs: ['in', 'in', 'in'] }), 'ERR_GRAPH', /takes 2/],
    ['a pair where 1-D layers take a number', graph(sequence, { ...conv1d, strides: [1, 1] }), 'ERR_GRAPH', /strides.*layer 'conv1d'/],
    ['an unknown 1-D padding', graph(sequence, { ...conv1d, padding: 'full' }), 'ERR_GRAPH', /'causal'/],
    ['causal padding of an image', graph(input, { ...conv, padding: 'causal' }), 'ERR_GRAPH', /'same' or 'valid'/],
    ['a dilated transposed convolution', graph(input, { ...transposed, dilation: [1, 1] }), 'ERR_GRAPH', /no attribute 'dilation'/],
    ['a negative slope', graph(input, { op: 'leakyRelu', name: 'l', inputs: ['in'], alpha: -0.1 }), 'ERR_GRAPH', /alpha/],
    ['a slope that is NaN', graph(input, { op: 'leakyRelu', name: 'l', inputs: ['in'], alpha: Number.NaN }), 'ERR_GRAPH', /alpha/],
    [
      'an unknown interpolation',
      graph(input, { op: 'upSampling2d', name: 'u', inputs: ['in'], size: [2, 2], interpolation: 'bicubic' }),
      'ERR_GRAPH',
      /'nearest' or 'bilinear'/,
    ],
    ['an unknown input', graph(input, { ...conv, inputs: ['nowhere'] }), 'ERR_GRAPH', /'nowhere' does not exist/],
    ['a later input', graph(input, { ...conv, inputs: ['r'] }, { op: 'relu', name: 'r', inputs: ['in'] }), 'ERR_GRAPH', /comes later/],
    ['a cycle', graph(input, { op: 'relu', name: 'a', inputs: ['a'] }), 'ERR_GRAPH', /comes later or depends/],
    [
      'two layers of one name',
      graph(input, conv, { op: 'relu', name: 'conv', inputs: ['in'] }),
      'ERR_GRAPH',
      /two layers are named 'conv'/,
    ],
    ['a second input layer', graph(input, { ...input, name: 'in2' }), 'ERR_GRAPH', /exactly one input/],
    ['a first layer that is no input', graph(conv), 'ERR_GRAPH', /exactly one input/],
    ['a name with a separator', graph({ ...input, name: 'a/b' }), 'ERR_GRAPH', /layer name/],
    ['a name that is no string', graph({ ...input, name: 7 }), 'ERR_GRAPH', /layer name/],
    ['shapes that do not fit', graph(input, { ...conv, padding: 'valid', kernelSize: [9, 9] }), 'ERR_SHAPE', /layer 'conv'/],
  ];
  for (const [what, value, code, message] of bad) {
    it(`rejects ${what}`, () => expectCode(() => validateGraph(value), code, message));
  }
});
