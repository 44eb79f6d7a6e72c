import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { Activation, Instruction } from '../../binding.js';
import { numericalGradient, reference } from './reference.js';
import { distance, Net, product, uniform } from './support.js';

type Conv = Extract<Instruction, { op: 'conv2d' | 'depthwiseConv2d' }>;

/**
 * Runs one step without update and compares the loss, every activation and every gradient with the f64 reference and its
 * finite differences. f32 with sums of at most a few hundred terms: 1e-5 of the largest element.
 */
async function check(net: Net, rows: number, seed: number, targets?: Int32Array | Float32Array): Promise<void> {
  const session = net.session({ maxBatch: rows, keepValues: true });
  const lean = net.session({ maxBatch: rows });
  const x = uniform(rows * product(net.values[0].shape), seed);
  const loss = net.loss!;
  const width = product(net.values[loss.kind === 'meanSquaredError' ? loss.prediction : loss.logits].shape);
  const y =
    targets ??
    (loss.kind === 'meanSquaredError'
      ? uniform(rows * width, seed + 1)
      : Int32Array.from({ length: rows }, (_, r) => (r * 7 + seed) % width));
  const step = { learningRate: 0, step: 3, update: false };
  const result = await session.trainStep(x, y, step);
  expect(result.nonFinite).to.equal(undefined);
  expect((await lean.trainStep(x, y, step)).loss).to.equal(result.loss);

  const dropout = new Map<number, ArrayLike<number>>();
  for (const i of net.instructions) {
    if (i.op === 'dropout')
      dropout.set(
        i.output,
        session.getValue(i.output).map((v) => (v === 0 ? 0 : 1 / (1 - i.rate))),
      );
  }
  const input = { tensors: net.data, x, y, rows, dropout };
  const expected = reference(net.spec, input);
  expect(result.loss).to.be.closeTo(expected.loss, 1e-5 * Math.max(1, expected.loss));
  net.values.forEach((value, id) => {
    const scale = Math.max(1, ...expected.values[id].map(Math.abs));
    expect(distance(session.getValue(id), expected.values[id]), `value ${value.name}`).to.be.below(1e-5 * scale);
  });
  net.tensors.forEach((tensor, id) => {
    if (!tensor.trainable) return;
    const numerical = numericalGradient(net.spec, input, id);
    const scale = Math.max(...numerical.map(Math.abs));
    expect(scale, `the gradient of ${tensor.name} must not vanish`).to.be.above(1e-4);
    for (const gradient of [session.getGradient(id), lean.getGradient(id)]) {
      expect(distance(gradient, numerical), `gradient of ${tensor.name}`).to.be.below(2e-5 * Math.max(scale, 0.1));
    }
  });
  session.dispose();
  lean.dispose();
}

/** `[h, w, c]` values that depend on parameters, so that input gradients of what follows are checked too. */
function image(net: Net, seed: number, shape: readonly [number, number, number] = [6, 5, 3]): number {
  return net.reshape(net.dense(0, product(shape), seed), shape);
}

function classify(net: Net, value: number, seed: number): Net {
  const flat = net.reshape(value, [product(net.values[value].shape)]);
  return net.crossEntropy(net.dense(flat, 4, seed));
}

function convolve(
  net: Net,
  input: number,
  seed: number,
  options: Partial<Conv> & { op: Conv['op']; window: readonly [number, number]; channels: number; useBias?: boolean },
): number {
  const { window, channels, useBias = true, ...rest } = options;
  const [h, w, c] = net.values[input].shape;
  const { strides = [1, 1], padding = [0, 0, 0, 0], dilation = [1, 1] } = rest;
  const size = (n: number, k: number, a: number): number =>
    Math.floor((n + padding[2 * a] + padding[2 * a + 1] - (k - 1) * dilation[a] - 1) / strides[a]) + 1;
  const shape = [...window, c, channels];
  const kernel = net.parameter(`kernel${seed}`, shape, uniform(product(shape), seed, 0.5));
  const out = rest.op === 'conv2d' ? channels : c * channels;
  const bias = useBias ? { bias: net.parameter(`bias${seed}`, [out], uniform(out, seed + 1, 0.3)) } : {};
  return net.add(input, [size(h, window[0], 0), size(w, window[1], 1), out], { strides, padding, dilation, kernel, ...bias, ...rest });
}

type Transposed = Extract<Instruction, { op: 'conv2dTranspose' }>;

/** `bias: -1`: none. The output is the largest image that a convolution with that padding takes back to the input. */
function transpose(net: Net, input: number, seed: number, options: Partial<Transposed> & { window: readonly [number, number] }): number {
  const { window, strides = [1, 1], padding = [0, 0, 0, 0], activation, bias = 0 } = options;
  const [h, w, c] = net.values[input].shape;
  const channels = 4;
  const size = (n: number, axis: 0 | 1): number =>
    n * strides[axis] + Math.max(window[axis] - strides[axis], 0) - padding[2 * axis] - padding[2 * axis + 1];
  const shape = [...window, channels, c];
  return net.add(input, [size(h, 0), size(w, 1), channels], {
    op: 'conv2dTranspose',
    kernel: net.parameter(`kernel${seed}`, shape, uniform(product(shape), seed, 0.5)),
    ...(bias < 0 ? {} : { bias: net.parameter(`bias${seed}`, [channels], uniform(channels, seed + 1, 0.3)) }),
    strides,
    padding,
    ...(activation === undefined ? {} : { activation }),
  });
}

describe('Gradients against finite differences', () => {
  const convolutions: [string, Omit<Parameters<typeof convolve>[3], 'op'>][] = [
    ['VALID', { window: [3, 3], channels: 4 }],
    ['SAME', { window: [3, 3], channels: 4, padding: [1, 1, 1, 1] }],
    ['1x1', { window: [1, 1], channels: 5 }],
    ['stride 2, asymmetric padding', { window: [3, 3], channels: 4, strides: [2, 2], padding: [0, 1, 1, 1] }],
    ['unequal window and strides', { window: [4, 2], channels: 3, strides: [1, 2], padding: [2, 1, 0, 1] }],
    ['dilation', { window: [3, 2], channels: 3, dilation: [2, 3], padding: [2, 2, 1, 2] }],
    ['no bias', { window: [3, 3], channels: 4, useBias: false }],
    ['relu', { window: [3, 3], channels: 4, activation: 'relu' }],
    ['relu6', { window: [3, 3], channels: 4, activation: 'relu6' }],
  ];
  for (const [name, options] of convolutions) {
    it(`conv2d, ${name}`, async () => {
      const net = new Net([4]);
      await check(classify(net, convolve(net, image(net, 1), 10, { op: 'conv2d', ...options }), 20), 3, 30);
    });
    for (const channels of [1, 2]) {
      it(`depthwiseConv2d, multiplier ${channels}, ${name}`, async () => {
        const net = new Net([4]);
        await check(classify(net, convolve(net, image(net, 1), 10, { op: 'depthwiseConv2d', ...options, channels }), 20), 3, 30);
      });
    }
  }

  for (const activation of ['none', 'relu', 'relu6'] as Activation[]) {
    it(`batchNorm with ${activation}`, async () => {
      const net = new Net([4]);
      const features = image(net, 1);
      await check(classify(net, net.batchNorm(features, 5, { activation }), 9), 4, 11);
    });
    it(`activation ${activation}`, async () => {
      const net = new Net([4]);
      const wide = net.dense(0, 12, 1, { scale: 6 }); // passes the bends at 0 and 6
      await check(classify(net, net.add(wide, [12], { op: 'activation', activation }), 9), 5, 12);
    });
    it(`add with ${activation}`, async () => {
      const net = new Net([4]);
      const sum = net.add(net.dense(0, 10, 1, { scale: 3 }), [10], { op: 'add', other: net.dense(0, 10, 3, { scale: 3 }), activation });
      await check(classify(net, sum, 9), 5, 13);
    });
    it(`dense with ${activation}`, async () => {
      const net = new Net([6]);
      const hidden = net.dense(0, 7, 1, { scale: 2, ...(activation === 'none' ? {} : { activation }) });
      await check(net.crossEntropy(net.dense(hidden, 3, 4, { bias: false })), 4, 14);
    });
  }

  for (const kernel of [1, 3]) {
    it(`convolutions with batch norms between them, ${kernel}x${kernel}`, async () => {
      const net = new Net([4]);
      const options = { useBias: false, window: [3, 3], padding: [1, 1, 1, 1] } as const;
      const first = convolve(net, image(net, 1), 10, { ...options, op: 'depthwiseConv2d', channels: 1 });
      const second = convolve(net, net.batchNorm(first, 12, { activation: 'relu' }), 14, {
        useBias: false,
        op: 'conv2d',
        window: [kernel, kernel],
        channels: 4,
      });
      const third = convolve(net, net.batchNorm(second, 16), 18, { ...options, op: 'depthwiseConv2d', channels: 1, strides: [2, 2] });
      await check(classify(net, net.batchNorm(third, 22, { activation: 'relu6' }), 26), 4, 16);
    });
  }

  it('batchNorm as the first layer, whose input needs no gradient', async () => {
    const net = new Net([3, 3, 2]);
    await check(classify(net, net.batchNorm(0, 5), 9), 4, 15);
  });

  it('a value used by two layers and by both operands of an add', async () => {
    const net = new Net([4]);
    const shared = net.dense(0, 6, 1);
    const twice = net.add(shared, [6], { op: 'add', other: shared, activation: 'relu' });
    const sum = net.add(net.dense(shared, 6, 3), [6], { op: 'add', other: twice });
    const again = net.add(sum, [6], { op: 'add', other: shared });
    await check(net.crossEntropy(net.dense(again, 3, 5)), 4, 16);
  });

  it('a value used before and after a reshape', async () => {
    const net = new Net([4]);
    const flat = net.dense(0, 12, 1);
    const square = convolve(net, net.reshape(flat, [2, 2, 3]), 3, { op: 'conv2d', window: [1, 1], channels: 3 });
    const sum = net.add(net.reshape(square, [12]), [12], { op: 'add', other: flat });
    await check(net.crossEntropy(net.dense(sum, 3, 5)), 4, 17);
  });

  it('a kernel and bias used by two layers', async () => {
    const net = new Net([5]);
    const kernel = net.parameter('kernel', [5, 5], uniform(25, 1));
    const bias = net.parameter('bias', [5], uniform(5, 2));
    const first = net.add(0, [5], { op: 'dense', kernel, bias, activation: 'relu' });
    const second = net.add(first, [5], { op: 'dense', kernel, bias });
    await check(net.crossEntropy(net.dense(second, 3, 5)), 4, 18);
  });

  for (const op of ['averagePool', 'maxPool'] as const) {
    it(`${op}, VALID with overlap, and SAME`, async () => {
      const net = new Net([4]);
      const a = net.add(image(net, 1), [4, 2, 3], { op, pool: [3, 2], strides: [1, 2], padding: [0, 0, 0, 0] });
      const b = net.add(a, [2, 1, 3], { op, pool: [3, 3], strides: [2, 2], padding: [0, 1, 0, 1] });
      await check(classify(net, b, 9), 3, 19);
    });
  }

  const transposed: [string, Partial<Transposed> & { window: readonly [number, number]; image?: readonly [number, number, number] }][] = [
    ['SAME, stride 2', { window: [3, 3], strides: [2, 2], padding: [0, 1, 0, 1] }],
    ['VALID', { window: [3, 2] }],
    ['1x1', { window: [1, 1] }],
    ['stride beyond the window', { window: [2, 2], strides: [3, 3] }],
    ['a sequence', { window: [1, 4], strides: [1, 2], padding: [0, 0, 1, 1], image: [1, 7, 3] }],
    ['no bias', { window: [3, 3], bias: -1 }],
    ['relu', { window: [3, 3], strides: [2, 1], activation: 'relu' }],
    ['relu6', { window: [3, 3], activation: 'relu6' }],
  ];
  for (const [name, options] of transposed) {
    it(`conv2dTranspose, ${name}`, async () => {
      const net = new Net([4]);
      await check(classify(net, transpose(net, image(net, 1, options.image ?? [3, 4, 3]), 10, options), 20), 3, 31);
    });
  }

  for (const [name, extra] of [['sigmoid'], ['tanh'], ['hardSwish'], ['leakyRelu', { alpha: 0.3 }]] as const) {
    it(`unary ${name}`, async () => {
      const net = new Net([4]);
      const wide = net.dense(0, 21, 1, { scale: 3 }); // passes the bends at -3, 0 and 3
      await check(classify(net, net.add(wide, [21], { op: 'unary', function: name, ...extra }), 9), 5, 32);
    });
  }

  for (const interpolation of ['nearest', 'bilinear'] as const) {
    it(`upSample, ${interpolation}`, async () => {
      const net = new Net([4]);
      const wide = net.add(image(net, 1, [3, 2, 3]), [6, 6, 3], { op: 'upSample', size: [2, 3], interpolation });
      await check(classify(net, wide, 9), 3, 33);
    });
  }

  it('concat of three, one of them twice', async () => {
    const net = new Net([4]);
    const [a, b] = [image(net, 1, [2, 3, 2]), image(net, 2, [2, 3, 5])];
    await check(classify(net, net.add(a, [2, 3, 9], { op: 'concat', others: [b, a] }), 9), 3, 34);
  });

  it('concat of flat values, one of which is also read elsewhere', async () => {
    const net = new Net([4]);
    const [a, b] = [net.dense(0, 5, 1), net.dense(0, 3, 2)];
    const both = net.add(a, [8], { op: 'concat', others: [b] });
    const sum = net.add(net.dense(both, 5, 3), [5], { op: 'add', other: a });
    await check(net.crossEntropy(net.dense(sum, 3, 4)), 4, 35);
  });

  it('multiply of two values, of a value by itself, and of values that are read again', async () => {
    const net = new Net([4]);
    const [a, b] = [net.dense(0, 7, 1, { scale: 1 }), net.dense(0, 7, 2, { scale: 1 })];
    const ab = net.add(a, [7], { op: 'multiply', other: b });
    const square = net.add(ab, [7], { op: 'multiply', other: ab });
    const again = net.add(net.add(square, [7], { op: 'multiply', other: a }), [7], { op: 'add', other: b });
    await check(net.crossEntropy(net.dense(again, 3, 4)), 4, 36);
  });

  for (const gate of [[3], [1, 1, 3]]) {
    it(`multiply by one factor per channel, [${gate.join(', ')}]`, async () => {
      const net = new Net([4]);
      const features = image(net, 1);
      const mean = net.add(features, [3], { op: 'globalAveragePool' });
      const gates = net.reshape(net.add(net.dense(mean, 3, 5), [3], { op: 'unary', function: 'sigmoid' }), gate);
      const gated = net.add(features, [6, 5, 3], { op: 'multiply', other: gates });
      const twice = net.add(gated, [6, 5, 3], { op: 'multiply', other: gates }); // the gate's gradient adds up
      await check(classify(net, twice, 9), 3, 37);
    });
  }

  it('globalAveragePool', async () => {
    const net = new Net([4]);
    await check(classify(net, net.add(image(net, 1), [3], { op: 'globalAveragePool' }), 9), 3, 20);
  });

  it('pad', async () => {
    const net = new Net([4]);
    await check(classify(net, net.add(image(net, 1), [9, 10, 3], { op: 'pad', padding: [1, 2, 3, 2] }), 9), 3, 21);
  });

  it('dropout at a fixed step', async () => {
    const net = new Net([4]);
    await check(classify(net, net.add(net.dense(0, 40, 1), [40], { op: 'dropout', rate: 0.4 }), 9), 3, 22);
  });

  it('softmax', async () => {
    const net = new Net([4]);
    await check(net.meanSquaredError(net.add(net.dense(0, 5, 1, { scale: 2 }), [5], { op: 'softmax' })), 4, 23);
  });

  it('meanSquaredError over a whole image', async () => {
    const net = new Net([4]);
    await check(net.meanSquaredError(convolve(net, image(net, 1), 3, { op: 'conv2d', window: [2, 2], channels: 2 })), 3, 24);
  });

  it('softmaxCrossEntropy with label smoothing, sparse and dense', async () => {
    for (const labels of ['sparse', 'dense'] as const) {
      const net = new Net([4]);
      net.crossEntropy(net.dense(0, 4, 1, { scale: 2 }), { labels, labelSmoothing: 0.1 });
      const dense = Float32Array.of(0.25, 0.25, 0.5, 0, 1, 0, 0, 0, 0.125, 0, 0.125, 0.75);
      await check(net, 3, 25, labels === 'dense' ? dense : undefined);
    }
  });

  it('only trains what the loss depends on', async () => {
    const net = new Net([4]);
    const hidden = net.dense(0, 5, 1);
    const aside = net.dense(hidden, 5, 3);
    net.crossEntropy(net.dense(hidden, 3, 5));
    const session = net.session({ optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-7, weightDecay: 0.1 } });
    const before = session.getTensor(2);
    await session.trainStep(uniform(8, 7), Int32Array.of(0, 2), { learningRate: 0.1, step: 1 });
    expect(aside).to.equal(2);
    expect([...session.getGradient(2)]).to.deep.equal(Array.from({ length: 25 }, () => 0));
    expect([...session.getTensor(2)]).to.deep.equal([...before]);
    expect(distance(session.getTensor(0), net.data[0])).to.be.above(1e-3);
  });

  it('gives no gradient to frozen parameters, and the right one to the others', async () => {
    const net = new Net([4]);
    const x = net.batchNorm(net.dense(0, 6, 1, { activation: 'relu', scale: 1 }), 3);
    net.crossEntropy(net.dense(x, 3, 7));
    for (const name of ['dense0/kernel', 'bn1/gamma'])
      net.tensors[net.tensor(name)] = { ...net.tensors[net.tensor(name)], trainable: false };
    await check(net, 4, 26);
  });
});
