import { expect } from 'chai';
import { describe, it } from 'mocha';
import { adam, createModel, fit, GraphBuilder, type Model, predict, quantizeModel, type Value } from '#lib/index.js';
import { uniform } from '../native/support.js';
import { fingerprint, toyData } from './toy.js';

const optimizer = adam({ learningRate: 0.01 });

/** Sets the parameters of a model. */
function withValues(model: Model, values: Readonly<Record<string, readonly number[]>>): Model {
  for (const [name, data] of Object.entries(values)) (model.tensors.get(name)!.data as Float32Array).set(data);
  return model;
}

/** One layer over an input of the given shape. */
function single(shape: readonly number[], layer: (g: GraphBuilder, x: Value) => Value): Model {
  const g = new GraphBuilder('single');
  return createModel(g.build(layer(g, g.input(shape))), { seed: 3 });
}

const outputs = async (model: Model, x: readonly number[]): Promise<number[]> => [...(await predict(model, Float32Array.from(x)))];

/** Every layer that came with the one-dimensional, transposed and gated networks. */
function everything(seed = 1): Model {
  const g = new GraphBuilder('everything');
  const x = g.input([6, 6, 1]);
  let s = g.conv1d(g.reshape(x, [36, 1]), { name: 'c1', filters: 6, kernelSize: 5, padding: 'causal', activation: 'leakyRelu' });
  s = g.batchNorm(g.separableConv1d(s, { name: 'sep1', filters: 8, kernelSize: 3, padding: 'causal', dilation: 2 }), { momentum: 0.8 });
  s = g.averagePool1d(g.maxPool1d(g.relu(s), { poolSize: 3, strides: 1, padding: 'same' }));
  const sequence = g.globalAveragePool1d(g.tanh(s));
  const skip = g.conv2d(x, { name: 'conv', filters: 4, kernelSize: 3, padding: 'same', activation: 'hardSwish' });
  let y = g.conv2dTranspose(g.maxPool2d(skip), { name: 'up', filters: 5, kernelSize: 3, strides: 2, padding: 'same', activation: 'relu' });
  y = g.concat([y, skip, g.upSampling2d(g.averagePool2d(skip), { interpolation: 'bilinear' })]);
  const gate = g.dense(g.dense(g.globalAveragePool2d(y), { units: 4, activation: 'leakyRelu' }), { units: 13, activation: 'sigmoid' });
  y = g.separableConv2d(g.multiply(y, gate), {
    name: 'sep2',
    filters: 6,
    kernelSize: 3,
    strides: 2,
    depthMultiplier: 2,
    activation: 'relu6',
  });
  y = g.upSampling2d(y, { size: [1, 2] });
  return createModel(g.build(g.dense(g.concat([g.flatten(y), sequence]), { name: 'logits', units: 3 })), { seed });
}

describe('Layers against numbers by hand', () => {
  it('conv1d: same, valid, causal, strides and dilation', async () => {
    const conv = (options: { padding: 'same' | 'valid' | 'causal'; strides?: number; dilation?: number }): Promise<number[]> => {
      const model = single([4, 1], (g, x) => g.conv1d(x, { name: 'c', filters: 1, kernelSize: 2, ...options }));
      return outputs(withValues(model, { 'c/kernel': [10, 1], 'c/bias': [0.5] }), [1, 2, 3, 4]);
    };
    expect(await conv({ padding: 'valid' })).to.deep.equal([12.5, 23.5, 34.5]);
    expect(await conv({ padding: 'same' })).to.deep.equal([12.5, 23.5, 34.5, 40.5]); // the odd element of padding is at the end
    expect(await conv({ padding: 'causal' })).to.deep.equal([1.5, 12.5, 23.5, 34.5]);
    expect(await conv({ padding: 'causal', dilation: 2 })).to.deep.equal([1.5, 2.5, 13.5, 24.5]);
    expect(await conv({ padding: 'causal', strides: 2 })).to.deep.equal([1.5, 23.5]);
  });

  it('a causal output does not see later inputs', async () => {
    const model = single([9, 2], (g, x) => g.separableConv1d(x, { filters: 3, kernelSize: 3, dilation: 2, padding: 'causal' }));
    const x = [...uniform(18, 1)];
    const before = await outputs(model, x);
    const after = await outputs(model, [...x.slice(0, 10), ...x.slice(10).map((v) => v + 1)]);
    expect(after.slice(0, 15)).to.deep.equal(before.slice(0, 15));
    expect(after.slice(15, 18)).not.to.deep.equal(before.slice(15, 18));
  });

  it('depthwiseConv1d: output channel = input channel × multiplier + m', async () => {
    const model = single([3, 2], (g, x) => g.depthwiseConv1d(x, { name: 'd', kernelSize: 2, depthMultiplier: 2, useBias: false }));
    // kernel [k, in, multiplier]
    withValues(model, { 'd/kernel': [1, 2, 3, 4, 10, 20, 30, 40] });
    expect(await outputs(model, [1, 2, 3, 4, 5, 6])).to.deep.equal([31, 62, 126, 168, 53, 106, 192, 256]);
  });

  it('pools over sequences', async () => {
    const x = [1, 10, 2, 20, 3, 30, 4, 40, 5, 50];
    expect(
      await outputs(
        single([5, 2], (g, v) => g.maxPool1d(v, { padding: 'same' })),
        x,
      ),
    ).to.deep.equal([2, 20, 4, 40, 5, 50]);
    expect(
      await outputs(
        single([5, 2], (g, v) => g.averagePool1d(v, { padding: 'same' })),
        x,
      ),
    ).to.deep.equal([1.5, 15, 3.5, 35, 5, 50]);
    expect(
      await outputs(
        single([5, 2], (g, v) => g.globalAveragePool1d(v)),
        x,
      ),
    ).to.deep.equal([3, 30]);
  });

  it('conv2dTranspose: valid, same, and a stride beyond the kernel', async () => {
    const transposed = (padding: 'same' | 'valid', stride: number): Promise<number[]> => {
      const options = { name: 't', filters: 1, kernelSize: [1, 3], strides: [1, stride], padding } as const;
      const model = single([1, 2, 1], (g, x) => g.conv2dTranspose(x, options));
      return outputs(withValues(model, { 't/kernel': [1, 10, 100], 't/bias': [0.5] }), [1, 2]);
    };
    expect(await transposed('valid', 2)).to.deep.equal([1.5, 10.5, 102.5, 20.5, 200.5]);
    expect(await transposed('same', 2)).to.deep.equal([1.5, 10.5, 102.5, 20.5]);
    expect(await transposed('same', 1)).to.deep.equal([12.5, 120.5]);
    expect(await transposed('valid', 4)).to.deep.equal([1.5, 10.5, 100.5, 0.5, 2.5, 20.5, 200.5, 0.5]);
  });

  it('conv2dTranspose: the kernel is [kh, kw, out, in]', async () => {
    const model = single([1, 1, 2], (g, x) => g.conv2dTranspose(x, { name: 't', filters: 3, kernelSize: 1, useBias: false }));
    withValues(model, { 't/kernel': [1, 2, 3, 4, 5, 6] });
    expect(await outputs(model, [1, 10])).to.deep.equal([21, 43, 65]);
  });

  it('upSampling2d: nearest copies, bilinear goes between half-pixel centres', async () => {
    const up = (interpolation: 'nearest' | 'bilinear'): Promise<number[]> =>
      outputs(single([2, 2, 1], (g, x) => g.upSampling2d(x, { interpolation })), [0, 4, 8, 12]); // prettier-ignore
    expect(await up('nearest')).to.deep.equal([0, 0, 4, 4, 0, 0, 4, 4, 8, 8, 12, 12, 8, 8, 12, 12]);
    expect(await up('bilinear')).to.deep.equal([0, 1, 3, 4, 2, 3, 5, 6, 6, 7, 9, 10, 8, 9, 11, 12]);
  });

  it('activations', async () => {
    const x = [-4, -3, -1.5, 0, 1, 3, 5];
    const run = (layer: (g: GraphBuilder, v: Value) => Value): Promise<number[]> => outputs(single([7], layer), x);
    expect((await run((g, v) => g.hardSwish(v))).map((v) => v + 0)).to.deep.equal([0, 0, -0.375, 0, Math.fround(4 / 6), 3, 5]);
    expect(await run((g, v) => g.leakyRelu(v, { alpha: 0.5 }))).to.deep.equal([-2, -1.5, -0.75, 0, 1, 3, 5]);
    // The slope is 0.3 in f32, as Keras 2 has it.
    expect(await run((g, v) => g.leakyRelu(v))).to.deep.equal(x.map((v) => Math.fround(v < 0 ? v * Math.fround(0.3) : v)));
    const [sigmoid, tanh] = [await run((g, v) => g.sigmoid(v)), await run((g, v) => g.tanh(v))];
    x.forEach((v, i) => {
      expect(sigmoid[i]).to.be.closeTo(1 / (1 + Math.exp(-v)), 2e-7);
      expect(tanh[i]).to.be.closeTo(Math.tanh(v), 2e-7);
    });
    expect([sigmoid[3], tanh[3]]).to.deep.equal([0.5, 0]);
  });

  it('concat and multiply', async () => {
    const flat = single([2], (g, x) => g.concat([x, g.relu(x), x]));
    expect(await outputs(flat, [-1, 2])).to.deep.equal([-1, 2, 0, 2, -1, 2]);
    const gated = single([1, 2, 2], (g, x) => g.multiply(x, g.globalAveragePool2d(x)));
    expect(await outputs(gated, [1, 2, 3, 6])).to.deep.equal([2, 8, 6, 24]);
    const sequence = single([2, 2], (g, x) => g.multiply(x, g.globalAveragePool1d(x)));
    expect(await outputs(sequence, [1, 2, 3, 6])).to.deep.equal([2, 8, 6, 24]);
    expect(
      await outputs(
        single([2, 2], (g, x) => g.multiply(x, x)),
        [1, 2, 3, -6],
      ),
    ).to.deep.equal([1, 4, 9, 36]);
  });
});

describe('Q23: separable convolutions', () => {
  const cases = [
    { kernelSize: 3 },
    { kernelSize: 3, padding: 'same', strides: 2 },
    { kernelSize: 2, dilation: 2, useBias: false },
    { kernelSize: 3, depthMultiplier: 3, padding: 'same' },
  ] as const;
  for (const options of cases) {
    it(`equal the convolution by the product of their kernels: ${JSON.stringify(options)}`, async () => {
      for (const rank of [1, 2] as const) {
        const filters = 4;
        const { depthMultiplier: multiplier = 1, ...window } = { depthMultiplier: 1, ...options };
        const shape = rank === 1 ? [9, 2] : [7, 8, 2];
        const all = { ...window, name: 'x', filters };
        const separable = single(shape, (g, x) => {
          const layer = { ...all, depthMultiplier: multiplier };
          return rank === 1 ? g.separableConv1d(x, layer) : g.separableConv2d(x, layer);
        });
        const plain = single(shape, (g, x) => (rank === 1 ? g.conv1d(x, all) : g.conv2d(x, all)));
        const bias = uniform(filters, 5);
        if (separable.tensors.has('x/bias')) for (const model of [separable, plain]) withValues(model, { 'x/bias': [...bias] });
        const [depthwise, pointwise] = ['x_depthwise/kernel', 'x/kernel'].map((name) => separable.tensors.get(name)!.data);
        const kernel = plain.tensors.get('x/kernel')!.data.map((_, i) => {
          const [tap, input, out] = [Math.floor(i / (2 * filters)), Math.floor(i / filters) % 2, i % filters];
          const terms = Array.from({ length: multiplier }, (_unused, m) => {
            const channel = input * multiplier + m;
            return depthwise[tap * 2 * multiplier + channel]! * pointwise[channel * filters + out]!;
          });
          return terms.reduce((sum, term) => sum + term, 0);
        });
        withValues(plain, { 'x/kernel': [...kernel] });
        const x = [...uniform(shape.reduce((a, b) => a * b), 7)]; // prettier-ignore
        const [a, b] = [await outputs(separable, x), await outputs(plain, x)];
        expect(a.length).to.equal(b.length);
        a.forEach((v, i) => expect(v).to.be.closeTo(b[i]!, 1e-5));
      }
    });
  }
});

describe('fit with every layer', () => {
  it('learns, and ends with the same bytes for any number of threads', async () => {
    const prints = new Set<string>();
    for (const threads of [1, 2, 4]) {
      const model = everything();
      const { epochs } = await fit(model, { train: toyData(64), epochs: 6, batchSize: 16, optimizer, threads });
      expect(epochs.at(-1)!.loss).to.be.lessThan(0.5 * epochs[0]!.loss);
      expect(epochs.at(-1)!.accuracy).to.be.greaterThan(0.9);
      prints.add(fingerprint(model));
    }
    expect(prints.size).to.equal(1);
  });

  it('trains with fake quantization everywhere, with the same bytes for any number of threads', async () => {
    const float = everything();
    await fit(float, { train: toyData(64), epochs: 4, batchSize: 16, optimizer });
    const prints = new Set<string>();
    for (const threads of [1, 3]) {
      const model = quantizeModel(float);
      const { epochs } = await fit(model, { train: toyData(64), epochs: 2, batchSize: 16, optimizer, threads });
      expect(epochs.at(-1)!.accuracy).to.be.greaterThan(0.9);
      prints.add(fingerprint(model));
    }
    expect(prints.size).to.equal(1);
  });
});
