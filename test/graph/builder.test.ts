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
    const other = new GraphBuilder('other').input([4, 4, 1]);
    expectCode(() => g.relu(other), 'ERR_GRAPH', /another graph/);
    expectCode(() => g.build(other), 'ERR_GRAPH', /another graph/);
  });
});
