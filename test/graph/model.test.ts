import { expect } from 'chai';
import { describe, it } from 'mocha';
import { cloneModel, countParameters, createModel, GraphBuilder, type Model, parameterNames, zoo } from '#lib/index.js';
import { Random } from '#lib/graph/random.js';
import { expectCode } from '../support/errors.js';

const kernelWeights = (model: Model): number =>
  [...model.tensors].filter(([name]) => name.endsWith('/kernel')).reduce((sum, [, tensor]) => sum + tensor.data.length, 0);

describe('zoo', () => {
  // Published counts: kernels only (no biases, no batch normalization).
  const counts: [string, Model, number][] = [
    ['DS-CNN-S', zoo.dsCnn({ size: 'S', classes: 12 }), 22_016],
    ['DS-CNN-M', zoo.dsCnn({ size: 'M', classes: 12 }), 40 * 172 + 4 * (9 * 172 + 172 * 172) + 172 * 12],
    ['DS-CNN-L', zoo.dsCnn({ size: 'L', classes: 12 }), 407_652],
    ['MobileNet v1 0.25 at 96×96', zoo.mobilenetV1({ alpha: 0.25, inputShape: [96, 96, 3], classes: 2 }), 208_112],
    ['MobileNet v1 0.25, 1001 classes', zoo.mobilenetV1({ alpha: 0.25, inputShape: [128, 128, 3], classes: 1001 }), 463_856],
    ['MobileNet v1 0.75, 1001 classes', zoo.mobilenetV1({ alpha: 0.75, inputShape: [192, 192, 3], classes: 1001 }), 2_568_912],
    ['ResNet-8', zoo.resnet8(), 77_360],
    ['the MNIST CNN', zoo.mnistCnn(), 108 + 20_280],
    ['LeNet-5', zoo.lenet5(), 61_706 - 236],
  ];
  for (const [name, model, weights] of counts) {
    it(`${name} has ${weights} kernel weights`, () => expect(kernelWeights(model)).to.equal(weights));
  }

  it('counts all parameters, and the trainable ones', () => {
    expect(countParameters(zoo.lenet5())).to.equal(61_706);
    const model = zoo.dsCnn({ size: 'S', classes: 12 });
    expect(countParameters(model)).to.equal(22_016 + 12 + 9 * 4 * 64);
    expect(countParameters(model, { trainableOnly: true })).to.equal(22_016 + 12 + 9 * 2 * 64);
  });

  it('takes options', () => {
    const model = zoo.dsCnn({ size: 'S', classes: 3, inputShape: [20, 8, 1], dropout: 0.25 });
    expect(model.graph.nodes.find((node) => node.op === 'dropout')).to.deep.include({ rate: 0.25 });
    expectCode(() => zoo.dsCnn({ size: 'XL' as 'L', classes: 3 }), 'ERR_OPTION', /size/);
    expectCode(() => zoo.mobilenetV1({ alpha: 0 }), 'ERR_OPTION', /alpha/);
    expectCode(() => zoo.lenet5({ classes: 0 }), 'ERR_GRAPH', /units/);
  });
});

describe('createModel', () => {
  it('initialises as Keras: Glorot uniform kernels, zero biases, 1/0/0/1 norms', () => {
    const model = zoo.dsCnn({ size: 'S', classes: 10, seed: 3 });
    const kernel = model.tensors.get('conv1/kernel')!.data;
    const limit = Math.fround(Math.sqrt(6 / (40 * (1 + 64))));
    expect(Math.max(...kernel)).to.be.within(limit * 0.99, limit);
    expect(Math.min(...kernel)).to.be.within(-limit, -limit * 0.99);
    const pointwise = model.tensors.get('block2_pw/kernel')!.data as Float32Array;
    const variance = pointwise.reduce((sum, w) => sum + w * w, 0) / pointwise.length;
    expect(variance).to.be.closeTo(2 / 128, 0.03 * (2 / 128));
    const depthwise = model.tensors.get('block1_dw/kernel')!.data;
    expect(Math.max(...depthwise)).to.be.within(0.95 * Math.sqrt(6 / (9 * 65)), Math.sqrt(6 / (9 * 65)) + 1e-7);
    for (const [name, value] of [
      ['logits/bias', 0],
      ['conv1_bn/gamma', 1],
      ['conv1_bn/beta', 0],
      ['conv1_bn/moving_mean', 0],
      ['conv1_bn/moving_variance', 1],
    ] as const) {
      expect(
        model.tensors.get(name)!.data.every((element) => element === value),
        name,
      ).to.equal(true);
    }
  });

  it('C2: kernels have the layouts of Keras, and Glorot ranges of their fans', () => {
    const g = new GraphBuilder('net');
    let x = g.conv1d(g.input([6, 3]), { name: 'conv1d', filters: 20, kernelSize: 5, padding: 'same' });
    x = g.depthwiseConv1d(x, { name: 'depthwise1d', kernelSize: 3, depthMultiplier: 2, padding: 'same' });
    x = g.conv2dTranspose(g.reshape(x, [2, 3, 40]), { name: 'transposed', filters: 7, kernelSize: [4, 5] });
    const model = createModel(g.build(g.dense(g.flatten(x), { name: 'dense', units: 10 })));
    // [kernel shape, (fan in + fan out) / 2] with Keras' fans: receptive field × the last two axes.
    const expected: Record<string, [number[], number]> = {
      conv1d: [[5, 3, 20], (5 * (3 + 20)) / 2],
      depthwise1d: [[3, 20, 2], (3 * (20 + 2)) / 2],
      transposed: [[4, 5, 7, 40], (20 * (7 + 40)) / 2],
      dense: [[5 * 7 * 7, 10], (5 * 7 * 7 + 10) / 2],
    };
    for (const [name, [shape, fan]] of Object.entries(expected)) {
      const kernel = model.tensors.get(`${name}/kernel`)!;
      expect(kernel.shape, name).to.deep.equal(shape);
      const limit = Math.sqrt(3 / fan);
      expect(Math.max(...kernel.data), name).to.be.within(0.9 * limit, limit + 1e-7);
    }
    expect(model.tensors.get('transposed/bias')!.shape).to.deep.equal([7]);
    expect(model.tensors.get('depthwise1d/bias')!.shape).to.deep.equal([40]);
  });

  it('repeats with the seed and differs without', () => {
    const bytes = (seed: number) => zoo.mnistCnn({ seed }).tensors.get('conv1/kernel')!.data;
    expect(bytes(5)).to.deep.equal(bytes(5));
    expect(bytes(5)).not.to.deep.equal(bytes(6));
    expect(bytes(2 ** 40 + 5)).not.to.deep.equal(bytes(5));
  });

  it('rejects a seed that is no integer', () => {
    expectCode(() => createModel(zoo.mnistCnn().graph, { seed: Number.NaN }), 'ERR_OPTION', /seed/);
  });

  it('lists parameters in layer order', () => {
    expect(parameterNames(zoo.mnistCnn())).to.deep.equal(['conv1/kernel', 'conv1/bias', 'dense/kernel', 'dense/bias']);
  });
});

describe('cloneModel', () => {
  it('shares no array with the source', () => {
    const model = zoo.mnistCnn();
    model.optimizer = { kind: 'sgd', step: 3, slots: new Map([['dense/bias', [new Float32Array(10)]]]) };
    const copy = cloneModel(model);
    expect(copy).to.deep.equal(model);
    for (const [name, tensor] of model.tensors) expect(copy.tensors.get(name)!.data, name).not.to.equal(tensor.data);
    expect(copy.optimizer!.slots.get('dense/bias')![0]).not.to.equal(model.optimizer.slots.get('dense/bias')![0]);
  });
});

describe('Random', () => {
  it('is uniform, and its streams are independent', () => {
    const a = new Random(1, 'a');
    const b = new Random(1, 'b');
    const n = 100_000;
    let sum = 0;
    let product = 0;
    const buckets = new Array<number>(7).fill(0);
    for (let i = 0; i < n; i++) {
      const u = a.uniform();
      sum += u;
      product += (u - 0.5) * (b.uniform() - 0.5);
      buckets[a.integer(7)]!++;
    }
    expect(sum / n).to.be.closeTo(0.5, 0.005);
    expect(product / n).to.be.closeTo(0, 0.002);
    for (const count of buckets) expect(count).to.be.closeTo(n / 7, 700);
  });

  it('repeats with the seed and does not fall into a short cycle', () => {
    const sequence = (): number[] =>
      Array.from(
        { length: 1000 },
        (
          (r) => () =>
            r.uint32()
        )(new Random(42)),
      );
    expect(sequence()).to.deep.equal(sequence());
    expect(new Set(sequence()).size).to.be.greaterThan(990);
  });
});
