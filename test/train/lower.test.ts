import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { ActivationQuantizer, WeightChain } from '#lib/compress/chains.js';
import { createModel, GraphBuilder, type Model, softmaxCrossEntropy, meanSquaredError, type Tensor, zoo } from '#lib/index.js';
import { lower, type LowerOptions } from '#lib/train/lower.js';
import { expectCode } from '../support/errors.js';

const quantizer: ActivationQuantizer = { bits: 8, update: 'movingAverage', decay: 0.99, rangeInit: 'data' };

/** The model with quantizers on the named nodes. */
function quantized(model: Model, ...nodes: string[]): Model {
  const tensors = new Map(model.tensors);
  for (const node of nodes) for (const bound of ['min', 'max']) tensors.set(`${node}:${bound}`, { shape: [1], data: new Float32Array(1) });
  return { ...model, tensors, quantizers: new Map(nodes.map((node) => [node, quantizer])) };
}

/** Op, activation and quantizer of each instruction. */
function summary(model: Model, options: LowerOptions = {}): string[] {
  return lower(model, options).program.instructions.map((instruction) => {
    const activation = 'activation' in instruction && instruction.activation !== 'none' ? `+${instruction.activation}` : '';
    return `${instruction.op}${activation}${'fakeQuant' in instruction && instruction.fakeQuant ? '+fq' : ''}`;
  });
}

/** input → conv `c` → BN `b` → ReLU `r` → dense on the flattened result. */
function convNet(options: { batchNorm?: boolean } = {}): Model {
  const g = new GraphBuilder('net');
  let x = g.conv2d(g.input([4, 4, 2]), { name: 'c', filters: 3, kernelSize: 3, strides: 2, padding: 'same' });
  if (options.batchNorm === true) x = g.batchNorm(x, { name: 'b' });
  x = g.relu(x, { name: 'r' });
  return createModel(g.build(g.dense(g.flatten(x, { name: 'f' }), { name: 'd', units: 2 })));
}

describe('lower: requantization', () => {
  const nearest = { rounding: 'nearest', scale: 0.1, zeroPoint: 0 } as const;

  it('takes the place of fake quantization, behind the value it rounds; the input and plain values can have it too', () => {
    const model = quantized(convNet({ batchNorm: true }), 'input', 'r', 'd');
    const requantize = new Map(['input', 'r', 'f'].map((node) => [node, nearest]));
    expect(summary(model, { requantize })).to.deep.equal([
      'requantize',
      'conv2d',
      'batchNorm+relu',
      'requantize',
      'reshape',
      'requantize',
      'dense',
      'fakeQuant+fq',
    ]);
    const { values, program } = lower(model, { requantize });
    expect(program.values[values.get('r')!]).to.deep.equal({ name: 'r', shape: [2, 2, 3] });
    expect(program.tensors.map(({ name }) => name)).not.to.include('r:min');
  });

  it('of a sum replaces it, activation included', () => {
    const g = new GraphBuilder('net');
    const x = g.input([4]);
    const model = quantized(createModel(g.build(g.dense(g.relu(g.add(x, x), { name: 'r' }), { units: 2 }))), 'r');
    const requantize = new Map([['r', { ...nearest, rounding: 'add', inputScale: 0.1, otherScale: 0.2 } as const]]);
    expect(summary(model, { requantize })).to.deep.equal(['requantize+relu', 'dense']);
    expect(lower(model, { requantize }).program.instructions[0]).to.include({ input: 0, other: 0 });
  });
});

describe('lower: fusion', () => {
  it('fuses a ReLU into a convolution', () => expect(summary(convNet())).to.deep.equal(['conv2d+relu', 'reshape', 'dense']));

  it('fuses batch normalization, ReLU and fake quantization', () => {
    expect(summary(quantized(convNet({ batchNorm: true }), 'r'))).to.deep.equal(['conv2d', 'batchNorm+relu+fq', 'reshape', 'dense']);
  });

  it('fuses a quantized ReLU after a convolution into one activation instruction', () => {
    expect(summary(quantized(convNet(), 'r'))).to.deep.equal(['conv2d', 'activation+relu+fq', 'reshape', 'dense']);
  });

  it('keeps a quantizer between batch normalization and ReLU where it is', () => {
    expect(summary(quantized(convNet({ batchNorm: true }), 'b'))).to.deep.equal([
      'conv2d',
      'batchNorm+fq',
      'activation+relu',
      'reshape',
      'dense',
    ]);
  });

  it('keeps a quantizer between convolution and ReLU where it is', () => {
    expect(summary(quantized(convNet(), 'c', 'd'))).to.deep.equal([
      'conv2d',
      'fakeQuant+fq',
      'activation+relu',
      'reshape',
      'dense',
      'fakeQuant+fq',
    ]);
  });

  it('quantizes the input', () => {
    const { program, values } = lower(quantized(convNet(), 'input'));
    const [first, second] = program.instructions;
    expect(first).to.deep.include({ op: 'fakeQuant', input: program.input, output: values.get('input') });
    expect(second!.input).to.equal(values.get('input'));
  });

  it('does not fuse a ReLU when something else reads the value before it', () => {
    const g = new GraphBuilder('net');
    const conv = g.conv2d(g.input([2, 2, 1]), { filters: 1, kernelSize: 1, name: 'c' });
    const model = createModel(g.build(g.add(g.relu(conv), conv)));
    expect(summary(model)).to.deep.equal(['conv2d', 'activation+relu', 'add']);
  });

  it('fuses add, ReLU6 and fake quantization', () => {
    const g = new GraphBuilder('net');
    const x = g.input([2, 2, 1]);
    const model = createModel(g.build(g.relu6(g.add(x, x, { name: 'a' }), { name: 'r' })));
    expect(summary(quantized(model, 'r'))).to.deep.equal(['add+relu6+fq']);
    const [add] = lower(model).program.instructions;
    expect(add).to.deep.include({ op: 'add', input: 0, other: 0, activation: 'relu6' });
  });

  it('lowers DS-CNN to one instruction per convolution and norm', () => {
    expect(summary(zoo.dsCnn({ size: 'S', classes: 10 }))).to.deep.equal([
      'conv2d', 'batchNorm+relu',
      ...Array(4).fill(['depthwiseConv2d', 'batchNorm+relu', 'conv2d', 'batchNorm+relu']).flat(),
      'globalAveragePool', 'dense',
    ]); // prettier-ignore
  });
});

describe('lower: program', () => {
  it('resolves SAME padding and names parameters', () => {
    const { program, tensors } = lower(convNet());
    const [conv] = program.instructions;
    expect(conv).to.deep.include({ name: 'c', op: 'conv2d', strides: [2, 2], padding: [0, 1, 0, 1], dilation: [1, 1] });
    expect(conv).to.deep.include({ kernel: tensors.get('c/kernel'), bias: tensors.get('c/bias') });
    expect(program.values.map((value) => value.shape)).to.deep.equal([[4, 4, 2], [2, 2, 3], [12], [2]]);
  });

  it('marks what trains and what decays', () => {
    const flags = Object.fromEntries(
      lower(convNet({ batchNorm: true })).program.tensors.map((t) => [t.name, [t.trainable, t.weightDecay]]),
    );
    expect(flags).to.deep.include({
      'c/kernel': [true, true], 'c/bias': [true, false], 'b/gamma': [true, false], 'b/beta': [true, false],
      'b/moving_mean': [false, false], 'b/moving_variance': [false, false], 'd/kernel': [true, true],
    }); // prettier-ignore
  });

  it('lowers every kind of layer', () => {
    const g = new GraphBuilder('all');
    let x = g.zeroPad2d(g.input([6, 6, 2]), { padding: [[1, 0], [0, 1]] }); // prettier-ignore
    x = g.maxPool2d(g.depthwiseConv2d(x, { kernelSize: 2, depthMultiplier: 2, useBias: false }), { padding: 'same' });
    x = g.averagePool2d(x, { poolSize: [2, 1] });
    x = g.reshape(x, [3, 1, 4]);
    x = g.dropout(g.globalAveragePool2d(x), { rate: 0.5 });
    const { program } = lower(createModel(g.build(g.softmax(g.relu(x)))));
    expect(program.instructions.map((instruction) => instruction.op)).to.deep.equal([
      'pad', 'depthwiseConv2d', 'maxPool', 'averagePool', 'reshape', 'globalAveragePool', 'dropout', 'activation', 'softmax',
    ]); // prettier-ignore
    expect(program.instructions[0]).to.deep.include({ padding: [1, 0, 0, 1] });
  });

  it('lowers sequences as images of height 1', () => {
    const g = new GraphBuilder('sequence');
    let x = g.conv1d(g.input([9, 2]), { name: 'c', filters: 3, kernelSize: 4, padding: 'causal', dilation: 2, activation: 'relu' });
    x = g.depthwiseConv1d(x, { name: 'd', kernelSize: 3, strides: 2, padding: 'same' });
    x = g.averagePool1d(g.maxPool1d(x, { poolSize: 3, strides: 2, padding: 'same' }));
    const { program, inputShape } = lower(createModel(g.build(g.globalAveragePool1d(x))));
    expect(inputShape).to.deep.equal([9, 2]);
    expect(program.values.map(({ shape }) => shape)).to.deep.equal([[1, 9, 2], [1, 9, 3], [1, 5, 3], [1, 3, 3], [1, 1, 3], [3]]);
    expect(program.tensors.map(({ shape }) => shape)).to.deep.equal([[3], [1, 4, 2, 3], [3], [1, 3, 3, 1]]);
    const [conv, depthwise, max, average, mean] = program.instructions;
    expect(conv).to.deep.include({ op: 'conv2d', strides: [1, 1], dilation: [1, 2], padding: [0, 0, 6, 0], activation: 'relu' });
    expect(depthwise).to.deep.include({ op: 'depthwiseConv2d', strides: [1, 2], dilation: [1, 1], padding: [0, 0, 1, 1] });
    expect(max).to.deep.include({ op: 'maxPool', pool: [1, 3], strides: [1, 2], padding: [0, 0, 1, 1] });
    expect(average).to.deep.include({ op: 'averagePool', pool: [1, 2], strides: [1, 2], padding: [0, 0, 0, 0] });
    expect(mean).to.deep.include({ op: 'globalAveragePool' });
  });

  it('lowers transposed convolutions, upsampling, joins, gates and activations', () => {
    const g = new GraphBuilder('all');
    const x = g.input([4, 4, 2]);
    const up = g.conv2dTranspose(x, { name: 'up', filters: 3, kernelSize: 3, strides: 2, padding: 'same', activation: 'relu' });
    const both = g.concat([g.upSampling2d(x, { interpolation: 'bilinear' }), up, up], { name: 'both' });
    const gated = g.multiply(both, g.sigmoid(g.globalAveragePool2d(both)));
    const { program, values } = lower(createModel(g.build(g.tanh(g.leakyRelu(g.hardSwish(gated), { alpha: 0.2 })))));
    expect(program.instructions.map((instruction) => instruction.op)).to.deep.equal([
      'conv2dTranspose', 'upSample', 'concat', 'globalAveragePool', 'unary', 'multiply', 'unary', 'unary', 'unary',
    ]); // prettier-ignore
    const [transposed, upSample, concat, , sigmoid, multiply, swish, leaky, tanh] = program.instructions;
    expect(transposed).to.deep.include({ strides: [2, 2], padding: [0, 1, 0, 1], activation: 'relu' });
    expect(transposed).not.to.have.property('dilation');
    expect(upSample).to.deep.include({ size: [2, 2], interpolation: 'bilinear' });
    expect(concat).to.deep.include({ input: values.get('upSampling2d_1'), others: Array(2).fill(values.get('up_relu')) });
    expect(sigmoid).to.deep.include({ function: 'sigmoid' });
    expect(multiply).to.deep.include({ input: values.get('both'), other: values.get('sigmoid_1') });
    expect(swish).to.deep.include({ function: 'hardSwish' });
    expect(leaky).to.deep.include({ function: 'leakyRelu', alpha: 0.2 });
    expect(tanh).to.deep.include({ function: 'tanh' });
  });

  it('fake-quantizes sigmoid, tanh, hard-swish and leaky ReLU in their own instruction', () => {
    for (const activation of ['sigmoid', 'tanh', 'hardSwish', 'leakyRelu'] as const) {
      const g = new GraphBuilder('net');
      const model = createModel(g.build(g.dense(g.input([3]), { units: 2, name: 'd', activation })));
      expect(summary(quantized(model, `d_${activation}`))).to.deep.equal(['dense', 'unary+fq']);
    }
  });

  it('leaves a final softmax out for cross-entropy only', () => {
    const g = new GraphBuilder('net');
    const model = quantized(createModel(g.build(g.softmax(g.dense(g.input([3]), { units: 2, name: 'd' })))), 'd', 'softmax_1');
    const ops = (options = {}): string[] => lower(model, options).program.instructions.map((instruction) => instruction.op);
    expect(ops()).to.deep.equal(['dense', 'fakeQuant', 'softmax', 'fakeQuant']);
    expect(ops({ loss: softmaxCrossEntropy() })).to.deep.equal(['dense', 'fakeQuant']);
    expect(ops({ loss: meanSquaredError() })).to.deep.equal(['dense', 'fakeQuant', 'softmax', 'fakeQuant']);
    const { program, values } = lower(model, { loss: softmaxCrossEntropy({ labelSmoothing: 0.1 }), labels: 'dense' });
    expect(program.loss).to.deep.equal({ kind: 'softmaxCrossEntropy', logits: values.get('d'), labels: 'dense', labelSmoothing: 0.1 });
  });

  it('removes layers that the output does not need', () => {
    const input = { op: 'input', name: 'x', inputs: [], shape: [3] } as const;
    const dense = (name: string) => ({ op: 'dense', name, inputs: ['x'], units: 2, useBias: false }) as const;
    const { program } = lower(createModel({ name: 'g', nodes: [input, dense('unused'), dense('used')] }));
    expect(program.instructions.map((instruction) => instruction.name)).to.deep.equal(['used']);
    expect(program.tensors.map((tensor) => tensor.name)).to.deep.equal(['used/kernel']);
  });
});

describe('lower: chains', () => {
  const chain: WeightChain = {
    technique: 'pcqat',
    mask: { writeBack: true, maskGradient: false },
    codebook: { perChannel: true, zeroPin: 'index', aggregation: 'sum' },
    fakeQuant: { bits: 8, perChannel: true },
  };
  const state: [string, Tensor][] = [
    ['mask', { shape: [12, 2], data: new Uint8Array(24) }],
    ['centroids', { shape: [2, 4], data: new Float32Array(8) }],
    ['indices', { shape: [12, 2], data: new Int32Array(24) }],
    ['zero_index', { shape: [2], data: new Int32Array(2) }],
    ['min', { shape: [2], data: new Float32Array(2) }],
    ['max', { shape: [2], data: new Float32Array(2) }],
  ];
  const withChain = (changes: [string, Tensor | undefined][] = []): Model => {
    const model = convNet();
    for (const [name, tensor] of [...state, ...changes]) {
      if (tensor === undefined) model.tensors.delete(`d/kernel:${name}`);
      else model.tensors.set(`d/kernel:${name}`, tensor);
    }
    return { ...model, chains: new Map([['d/kernel', chain]]) };
  };

  it('lowers mask, codebook and fake quantization with their state', () => {
    const { program, tensors, chains } = lower(withChain());
    const id = (name: string): number => tensors.get(name)!;
    expect(chains).to.deep.equal(['d/kernel']);
    expect(program.chains).to.deep.equal([
      {
        weight: id('d/kernel'),
        mask: { tensor: id('d/kernel:mask'), writeBack: true, maskGradient: false },
        codebook: {
          centroids: id('d/kernel:centroids'), indices: id('d/kernel:indices'), perChannel: true, aggregation: 'sum',
          zeroPin: 'index', zeroIndex: id('d/kernel:zero_index'),
        },
        fakeQuant: { min: id('d/kernel:min'), max: id('d/kernel:max'), perChannel: true, bits: 8 },
      },
    ]); // prettier-ignore
    expect(program.tensors[id('d/kernel:centroids')]!.trainable).to.equal(true);
    expect(program.tensors[id('d/kernel:mask')]).to.deep.include({ dtype: 'u8', trainable: false });
  });

  it('rejects state that is missing or does not fit', () => {
    expectCode(() => lower(withChain([['mask', undefined]])), 'ERR_GRAPH', /d\/kernel:mask/);
    expectCode(() => lower(withChain([['centroids', undefined]])), 'ERR_SHAPE', /d\/kernel:centroids/);
    expectCode(() => lower(withChain([['centroids', { shape: [8], data: new Float32Array(8) }]])), 'ERR_SHAPE', /centroids/);
    expectCode(() => lower(withChain([['min', { shape: [1], data: new Float32Array(1) }]])), 'ERR_SHAPE', /d\/kernel:min/);
    expectCode(() => lower(withChain([['mask', { shape: [12, 2], data: new Float32Array(24) }]])), 'ERR_DTYPE', /mask/);
    expectCode(() => lower(withChain([['indices', { shape: [12, 2], data: new Int32Array(23) }]])), 'ERR_SHAPE', /indices/);
  });

  it('rejects chains, quantizers and losses that fit nothing', () => {
    const model = convNet();
    for (const weight of ['nowhere/kernel', 'd/bias', 'r/kernel']) {
      expectCode(() => lower({ ...model, chains: new Map([[weight, chain]]) }), 'ERR_GRAPH', new RegExp(weight));
    }
    expectCode(() => lower({ ...model, quantizers: new Map([['nowhere', quantizer]]) }), 'ERR_GRAPH', /nowhere/);
    expectCode(() => lower({ ...model, quantizers: new Map([['r', quantizer]]) }), 'ERR_GRAPH', /r:min/);
    const g = new GraphBuilder('image');
    const image = createModel(g.build(g.relu(g.input([2, 2, 1]))));
    expectCode(() => lower(image, { loss: softmaxCrossEntropy() }), 'ERR_SHAPE', /loss/);
  });
});
