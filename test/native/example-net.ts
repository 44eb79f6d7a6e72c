import { Net, uniform } from './support.js';

/** A program that has every kind of field: conv, batchNorm with fake quantization, pool, dense with a chain, loss. */
export function exampleNet(): Net {
  const net = new Net([4, 4, 2]);
  const kernel = net.parameter('conv', [3, 3, 2, 3], uniform(54, 1));
  const conv = net.add(0, [4, 4, 3], {
    op: 'conv2d',
    kernel,
    strides: [1, 1],
    padding: [1, 1, 1, 1],
    dilation: [1, 1],
    activation: 'relu',
  });
  const range = (name: string, value: number): number => net.state(name, [1], Float32Array.of(value));
  const bn = net.batchNorm(conv, 2, { fakeQuant: { min: range('bn:min', -6), max: range('bn:max', 6), update: 'movingAverage' } });
  const pool = net.add(bn, [2, 2, 3], { op: 'maxPool', pool: [2, 2], strides: [2, 2], padding: [0, 0, 0, 0] });
  const dropped = net.add(net.reshape(pool, [12]), [12], { op: 'dropout', rate: 0.5 });
  net.crossEntropy(net.dense(dropped, 3, 4), { labelSmoothing: 0.1 });
  const weight = net.tensor('dense5/kernel');
  net.chains.push({
    weight,
    mask: { tensor: net.state('mask', [12, 3], new Uint8Array(36).fill(1)), writeBack: true, maskGradient: false },
    codebook: {
      centroids: net.parameter('centroids', [4], uniform(4, 5)),
      indices: net.state('indices', [12, 3], new Int32Array(36)),
      perChannel: false,
      zeroIndex: net.state('zero', [1], Int32Array.of(1)),
      zeroPin: 'index',
      aggregation: 'sum',
    },
    fakeQuant: { min: net.state('w:min', [3], new Float32Array(3)), max: net.state('w:max', [3], new Float32Array(3)), perChannel: true },
  });
  return net;
}
