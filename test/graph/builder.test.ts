import { expect } from 'chai';
import { describe, it } from 'mocha';
import { GraphBuilder } from '#lib/index.js';
import { expectCode } from '../support/errors.js';

describe('GraphBuilder', () => {
  it('numbers layers by operator and skips names in use', () => {
    const g = new GraphBuilder('net');
    let x = g.input([8, 8, 1]);
    x = g.conv2d(x, { filters: 2, kernelSize: 3, name: 'conv2d_1' });
    x = g.conv2d(x, { filters: 2, kernelSize: [3, 1], activation: 'relu6' });
    x = g.batchNorm(x);
    expect(g.build(x).nodes.map((node) => node.name)).to.deep.equal(['input', 'conv2d_1', 'conv2d_2', 'conv2d_2_relu6', 'batchNorm_1']);
  });

  it('fills in the defaults of Keras', () => {
    const g = new GraphBuilder('net');
    const image = g.input([8, 8, 3]);
    const pooled = g.maxPool2d(g.depthwiseConv2d(image, { kernelSize: 3 }), { poolSize: [3, 2] });
    const [, depthwise, pool] = g.build(pooled).nodes;
    expect(depthwise).to.deep.include({ strides: [1, 1], padding: 'valid', dilation: [1, 1], useBias: true, depthMultiplier: 1 });
    expect(pool).to.deep.include({ strides: [3, 2], padding: 'valid' });
    expect(pooled.shape).to.deep.equal([2, 3, 3]);
  });

  it('fills in the defaults of Keras for sequences, transposed convolutions, upsampling and leaky ReLU', () => {
    const g = new GraphBuilder('net');
    let x = g.conv1d(g.input([12, 3]), { filters: 4, kernelSize: 3 });
    x = g.depthwiseConv1d(x, { kernelSize: 2, padding: 'causal' });
    x = g.averagePool1d(g.maxPool1d(x, { poolSize: 3, strides: 1 }));
    x = g.leakyRelu(g.conv2dTranspose(g.reshape(x, [2, 2, 4]), { filters: 2, kernelSize: [3, 1], strides: 2 }));
    const [, conv, depthwise, max, average, , transposed, leaky, up] = g.build(g.upSampling2d(x)).nodes;
    expect(conv).to.include({ op: 'conv1d', name: 'conv1d_1', strides: 1, padding: 'valid', dilation: 1, useBias: true });
    expect(depthwise).to.include({ op: 'depthwiseConv1d', depthMultiplier: 1, strides: 1, padding: 'causal', useBias: true });
    expect(max).to.include({ poolSize: 3, strides: 1, padding: 'valid' });
    expect(average).to.include({ poolSize: 2, strides: 2, padding: 'valid' });
    expect(transposed).to.deep.include({ kernelSize: [3, 1], strides: [2, 2], padding: 'valid', useBias: true });
    expect(leaky).to.include({ alpha: 0.3 });
    expect(up).to.deep.include({ size: [2, 2], interpolation: 'nearest' });
  });

  it('adds the activation of a layer as a layer of its own', () => {
    for (const activation of ['relu', 'relu6', 'sigmoid', 'tanh', 'hardSwish', 'leakyRelu'] as const) {
      const g = new GraphBuilder('net');
      const graph = g.build(g.conv1d(g.input([8, 2]), { name: 'c', filters: 2, kernelSize: 3, activation }));
      expect(graph.nodes.at(-1)).to.deep.include({ op: activation, name: `c_${activation}`, inputs: ['c'] });
    }
    const g = new GraphBuilder('net');
    const wrong = { filters: 2, kernelSize: 3, activation: 'gelu' as 'relu' };
    expectCode(() => g.conv1d(g.input([8, 2]), wrong), 'ERR_UNKNOWN_LAYER', /gelu/);
  });

  it('Q23: a separable convolution is a linear depthwise layer without bias and a 1×1 convolution with bias and activation', () => {
    const g = new GraphBuilder('net');
    const options = {
      filters: 5,
      kernelSize: 3,
      strides: 2,
      padding: 'same',
      depthMultiplier: 2,
      activation: 'relu',
      name: 'sep',
    } as const;
    const x = g.separableConv2d(g.input([8, 8, 3]), { ...options, dilation: 1 });
    expect(x.shape).to.deep.equal([4, 4, 5]);
    expect(g.build(x).nodes.slice(1)).to.deep.equal([
      {
        op: 'depthwiseConv2d', name: 'sep_depthwise', inputs: ['input'], kernelSize: [3, 3], strides: [2, 2], padding: 'same',
        dilation: [1, 1], depthMultiplier: 2, useBias: false,
      },
      {
        op: 'conv2d', name: 'sep', inputs: ['sep_depthwise'], filters: 5, kernelSize: [1, 1], strides: [1, 1], padding: 'valid',
        dilation: [1, 1], useBias: true,
      },
      { op: 'relu', name: 'sep_relu', inputs: ['sep'] },
    ]); // prettier-ignore
  });

  it('Q23: the one-dimensional one too, also with causal padding', () => {
    const g = new GraphBuilder('net');
    const x = g.separableConv1d(g.input([8, 3]), { filters: 5, kernelSize: 3, dilation: 2, padding: 'causal', useBias: false });
    expect(x.shape).to.deep.equal([8, 5]);
    expect(g.build(x).nodes.slice(1)).to.deep.equal([
      {
        op: 'depthwiseConv1d', name: 'separableConv1d_1_depthwise', inputs: ['input'], kernelSize: 3, strides: 1, padding: 'causal',
        dilation: 2, depthMultiplier: 1, useBias: false,
      },
      {
        op: 'conv1d', name: 'separableConv1d_1', inputs: ['separableConv1d_1_depthwise'], filters: 5, kernelSize: 1, strides: 1,
        padding: 'valid', dilation: 1, useBias: false,
      },
    ]); // prettier-ignore
  });

  it('leaves out layers that do not lead to the output and ends in it', () => {
    const g = new GraphBuilder('net');
    const x = g.input([4]);
    const wanted = g.dense(x, { units: 2, name: 'wanted' });
    g.dense(wanted, { units: 2, name: 'unused' });
    expect(g.build(wanted).nodes.map((node) => node.name)).to.deep.equal(['input', 'wanted']);
  });

  it('throws where the mistake is made', () => {
    const g = new GraphBuilder('net');
    const x = g.input([4, 4, 1]);
    expectCode(() => g.dense(x, { units: 2, name: 'fc' }), 'ERR_SHAPE', /layer 'fc'/);
    expectCode(() => g.conv2d(x, { filters: 0, kernelSize: 3, name: 'c' }), 'ERR_GRAPH', /filters.*layer 'c'/);
    expectCode(() => g.input([4]), 'ERR_GRAPH', /two layers are named 'input'/);
    expectCode(() => g.add(x, g.relu(g.flatten(x)), { name: 'sum' }), 'ERR_SHAPE', /layer 'sum'/);
    expectCode(() => g.concat([x], { name: 'cat' }), 'ERR_GRAPH', /two or more.*layer 'cat'/);
    expectCode(() => g.multiply(x, g.flatten(x), { name: 'gate' }), 'ERR_SHAPE', /layer 'gate'/);
    const other = new GraphBuilder('other').input([4, 4, 1]);
    expectCode(() => g.relu(other), 'ERR_GRAPH', /another graph/);
    expectCode(() => g.build(other), 'ERR_GRAPH', /another graph/);
  });
});
