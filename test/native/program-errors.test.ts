import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { PcqatErrorCode } from '#lib/errors.js';
import { expectCode } from '../support/errors.js';
import type { ProgramSpec, SessionOptions } from '../../binding.js';
import { exampleNet } from './example-net.js';
import { adam, binding, Net } from './support.js';

/** A deep copy with `path` (dot separated) set to `value`; `undefined` deletes. */
function changed(spec: unknown, path: string, value: unknown): ProgramSpec {
  const copy = structuredClone(spec) as ProgramSpec;
  const keys = path.split('.');
  const last = keys.pop()!;
  const target = keys.reduce(
    (object, key) => (object as Record<string, Record<string, unknown>>)[key],
    copy as unknown as Record<string, unknown>,
  );
  if (value === undefined) delete target[last];
  else target[last] = value;
  return copy;
}

/** Upsampling, a transposed convolution, leaky ReLU, concat, mean and its product. */
function layersNet(): ProgramSpec {
  const net = new Net([2, 2, 3]);
  const up = net.add(0, [4, 4, 3], { op: 'upSample', size: [2, 2], interpolation: 'nearest' });
  const kernel = net.parameter('kernel', [3, 3, 5, 3], new Float32Array(135));
  const bias = net.parameter('bias', [5], new Float32Array(5));
  const wide = net.add(up, [9, 9, 5], { op: 'conv2dTranspose', kernel, bias, strides: [2, 2], padding: [0, 0, 0, 0] });
  const leaky = net.add(wide, [9, 9, 5], { op: 'unary', function: 'leakyRelu', alpha: 0.3 });
  const both = net.add(wide, [9, 9, 10], { op: 'concat', others: [leaky] });
  net.add(both, [9, 9, 10], { op: 'multiply', other: net.add(both, [10], { op: 'globalAveragePool' }) });
  return net.spec;
}

const options: SessionOptions = { maxBatch: 4, training: true, threads: 1, optimizer: adam };
const base = exampleNet();
const program = base.spec;
const t = (name: string): number => base.tensor(name);
const open = (spec: unknown, o: unknown = options): unknown => new binding.Session(spec as ProgramSpec, o as SessionOptions);

describe('A session is not made from', () => {
  it('anything but a valid program', () => {
    expect(() => open(program)).not.to.throw();
  });

  const cases: [string, unknown, PcqatErrorCode, RegExp][] = [
    // the parser: types, missing and unknown fields
    ['tensors', undefined, 'ERR_OPTION', /tensors is missing/],
    ['tensors', 7, 'ERR_DTYPE', /tensors must be an array, but is a number/],
    ['tensors.0', null, 'ERR_DTYPE', /tensors\[0\] must be an object, but is null/],
    ['tensors.0.name', 5, 'ERR_DTYPE', /tensors\[0\]\.name must be a string/],
    ['tensors.0.dtype', 'f64', 'ERR_OPTION', /tensors\[0\]\.dtype is 'f64', but must be one of 'f32', 'u8', 'i32'/],
    ['tensors.0.shape.1', '3', 'ERR_DTYPE', /tensors\[0\]\.shape\[1\] must be a number/],
    ['tensors.0.shape.1', 2.5, 'ERR_OPTION', /tensors\[0\]\.shape\[1\] must be an integer/],
    ['tensors.0.colour', 'red', 'ERR_OPTION', /tensors\[0\]\.colour is not a known field/],
    ['instructions.0.kernel', undefined, 'ERR_OPTION', /instructions\[0\]\.kernel is missing/],
    ['instructions.0.op', 'conv3d', 'ERR_OPTION', /instructions\[0\]\.op is 'conv3d'/],
    ['instructions.0.strides', [1], 'ERR_SHAPE', /instructions\[0\]\.strides must have 2 elements/],
    ['instructions.0.padding', [1, 1, 1, 1, 1], 'ERR_SHAPE', /instructions\[0\]\.padding has more than 4/],
    ['instructions.0.activation', 'tanh', 'ERR_OPTION', /activation is 'tanh'/],
    ['instructions.1.epsilon', NaN, 'ERR_OPTION', /instructions\[1\]\.epsilon must be finite/],
    ['instructions.1.fakeQuant.update', 'sometimes', 'ERR_OPTION', /instructions\[1\]\.fakeQuant\.update/],
    ['instructions.1.fakeQuant.bits', 9, 'ERR_OPTION', /bits is 9, but must be between 2 and 8/],
    ['instructions.1.fakeQuant.bits', 1, 'ERR_OPTION', /bits is 1/],
    ['chains.0.codebook.perChannel', 1, 'ERR_DTYPE', /chains\[0\]\.codebook\.perChannel must be a boolean/],
    ['chains.0.codebook.zeroIndex', undefined, 'ERR_OPTION', /zeroPin needs zeroIndex/],
    ['chains.0.codebook.zeroPin', undefined, 'ERR_OPTION', /zeroIndex needs zeroPin/],
    ['chains.0.mask.tensor', -2, 'ERR_GRAPH', /chains\[0\]\.mask\.tensor is -2/],
    ['loss.kind', 'hinge', 'ERR_OPTION', /loss\.kind/],
    ['loss.labelSmoothing', 1, 'ERR_OPTION', /labelSmoothing must be in \[0, 1\)/],
    // structure
    ['tensors.1.name', 'conv', 'ERR_OPTION', /name of tensor 'conv' \(tensors\[1\]\) is used twice/],
    ['instructions.0.kernel', 99, 'ERR_GRAPH', /kernel of layer 'layer0' \(instructions\[0\]\) is tensor 99/],
    ['instructions.0.input', 3, 'ERR_GRAPH', /layer 'layer0' \(instructions\[0\]\) reads value 'layer2:out' before it is written/],
    ['instructions.0.input', 1, 'ERR_GRAPH', /reads value 'layer0:out' before it is written/],
    ['instructions.2.output', 1, 'ERR_GRAPH', /layer 'layer2' \(instructions\[2\]\) writes value 'layer0:out', which is already written/],
    ['instructions.0.output', 77, 'ERR_GRAPH', /output of layer 'layer0' \(instructions\[0\]\) is value 77/],
    ['input', 60, 'ERR_GRAPH', /program's input is value 60/],
    ['output', 60, 'ERR_GRAPH', /program's output is value 60/],
    ['values.7', { name: 'orphan', shape: [1] }, 'ERR_GRAPH', /value 'orphan' \(values\[7\]\) is never written/],
    ['loss.logits', 70, 'ERR_GRAPH', /loss's logits is value 70/],
    ['loss.logits', 2, 'ERR_SHAPE', /logits 'layer1:out' must have the shape \[classes\]/],
    ['instructions.1.beta', t('bn1/gamma'), 'ERR_OPTION', /'bn1\/gamma' is the gamma of .* and cannot also be the beta/],
    ['chains.1', { weight: t('dense5/kernel') }, 'ERR_OPTION', /more than one chain; the second is chains\[1\]/],
    ['instructions.1.fakeQuant.max', t('bn:min'), 'ERR_OPTION', /'bn:min' is the fakeQuant.min of .* and cannot also be the fakeQuant.max/],
    // shapes
    ['tensors.0.shape', [], 'ERR_SHAPE', /shape of tensor 'conv' \(tensors\[0\]\) is empty/],
    ['tensors.0.shape.1', 0, 'ERR_SHAPE', /has a dimension below 1/],
    ['tensors.0.shape', [1e6, 1e6, 1e6, 1e6], 'ERR_SHAPE', /too many elements/],
    ['tensors.0.shape', [9007199254740991, 9007199254740991, 3, 3], 'ERR_SHAPE', /too many elements/],
    ['tensors.0.shape', [1, 1, 1, 1, 1, 1, 1, 1, 1], 'ERR_SHAPE', /shape has more than 8/],
    ['values.0.shape', [1e5, 1e4, 2], 'ERR_SHAPE', /value 'x' \(values\[0\]\) has too many elements for 4 rows/],
    ['tensors.0.shape', [3, 3, 3, 3], 'ERR_SHAPE', /does not fit the 2 channels of the input 'x'/],
    ['tensors.0.shape', [3, 18], 'ERR_SHAPE', /kernel of layer 'layer0' .* must have rank 4/],
    ['tensors.0.shape', [7, 7, 2, 3], 'ERR_SHAPE', /window does not fit/],
    ['values.1.shape', [4, 4, 4], 'ERR_SHAPE', /output 'layer0:out' must have the shape \[4, 4, 3\], but has \[4, 4, 4\]/],
    [
      `tensors.${t('bn1/gamma')}.shape`,
      [4],
      'ERR_SHAPE',
      /gamma of layer 'layer1' .*'bn1\/gamma', must have the shape \[3\], but has \[4\]/,
    ],
    ['values.4.shape', [13], 'ERR_SHAPE', /cannot reshape \[2, 2, 3\] to \[13\]/],
    ['values.6.shape', [5], 'ERR_SHAPE', /must have the shape \[3\], but has \[5\]/],
    [`tensors.${t('dense5/kernel')}.shape`, [5], 'ERR_SHAPE', /kernel of layer 'layer5'/],
    [
      'chains.0.codebook.perChannel',
      true,
      'ERR_SHAPE',
      /codebook\.centroids of chains\[0\] \(weight 'dense5\/kernel'\).* must have the shape \[3, K\]/,
    ],
    ['chains.0.fakeQuant.perChannel', false, 'ERR_SHAPE', /must have the shape \[1\], but has \[3\]/],
    // dtypes
    ['tensors.0.dtype', 'u8', 'ERR_DTYPE', /tensor 'conv' \(tensors\[0\]\) is trainable, so its dtype must be f32/],
    ['chains.0.mask.tensor', t('w:min'), 'ERR_DTYPE', /mask\.tensor of chains\[0\].* must have the dtype u8, but has f32/],
    ['chains.0.codebook.indices', t('mask'), 'ERR_DTYPE', /must have the dtype i32, but has u8/],
    // attributes
    ['instructions.0.strides', [0, 1], 'ERR_OPTION', /strides must be between 1 and 65536, but is 0/],
    ['instructions.0.dilation', [1, 1e9], 'ERR_OPTION', /dilation must be between/],
    ['instructions.0.padding', [-1, 0, 0, 0], 'ERR_OPTION', /padding must be between 0/],
    ['instructions.0.padding', [3, 1, 1, 1], 'ERR_OPTION', /padding must be smaller than the \(dilated\) window of 3 x 3/],
    ['instructions.2.padding', [2, 0, 0, 0], 'ERR_OPTION', /padding must be smaller/],
    ['instructions.1.momentum', 1.5, 'ERR_OPTION', /momentum must be in \[0, 1\]/],
    ['instructions.1.epsilon', 0, 'ERR_OPTION', /epsilon must be in \(0, 1\]/],
    ['instructions.1.fakeQuant.decay', 2, 'ERR_OPTION', /decay must be in \[0, 1\]/],
    ['instructions.4.rate', 1, 'ERR_OPTION', /layer 'layer4' .*rate must be in \[0, 1\)/],
    [
      `tensors.${t('bn1/moving_mean')}.trainable`,
      true,
      'ERR_OPTION',
      /movingMean, tensor 'bn1\/moving_mean', is state and cannot be trainable/,
    ],
  ];
  for (const [path, value, code, message] of cases) {
    it(`program.${path} = ${JSON.stringify(value)} (${String(message)})`, () => {
      expectCode(() => open(changed(program, path, value)), code, message);
    });
  }

  const small = layersNet();
  it('anything but a valid program of upsampling, transposed, unary, joined and multiplied values', () => {
    expect(() => open(small)).not.to.throw();
  });

  const layerCases: [string, unknown, PcqatErrorCode, RegExp][] = [
    ['instructions.0.size', [2, 0], 'ERR_OPTION', /size must be between 1 and 65536, but is 0/],
    ['instructions.0.size', [3, 2], 'ERR_SHAPE', /output 'layer0:out' must have the shape \[6, 4, 3\], but has \[4, 4, 3\]/],
    ['instructions.0.interpolation', 'cubic', 'ERR_OPTION', /interpolation is 'cubic', but must be one of 'nearest', 'bilinear'/],
    ['instructions.1.kernel', undefined, 'ERR_OPTION', /instructions\[1\]\.kernel is missing/],
    ['instructions.1.dilation', [1, 1], 'ERR_OPTION', /dilation is not a known field/],
    [
      'instructions.1.strides',
      [3, 3],
      'ERR_SHAPE',
      /a convolution of the output \[9, 9, 5\] gives \[3, 3\] pixels, but the input .* \[4, 4, 3\]/,
    ],
    ['instructions.1.padding', [3, 0, 0, 0], 'ERR_OPTION', /padding must be smaller/],
    ['tensors.0.shape', [3, 3, 3, 5], 'ERR_SHAPE', /kernel .* does not fit the 3 channels of the input 'layer0:out'/],
    ['tensors.0.shape', [3, 3, 4, 3], 'ERR_SHAPE', /output 'layer1:out' must have the shape \[height, width, 4\]/],
    ['tensors.1.shape', [3], 'ERR_SHAPE', /bias of layer 'layer1'.* must have the shape \[5\]/],
    ['instructions.2.function', 'gelu', 'ERR_OPTION', /function is 'gelu'/],
    ['instructions.2.alpha', undefined, 'ERR_OPTION', /instructions\[2\]\.alpha is missing/],
    ['instructions.2.alpha', -1, 'ERR_OPTION', /layer 'layer2' .*alpha must be at least 0/],
    ['instructions.2.function', 'tanh', 'ERR_OPTION', /alpha is not a known field/],
    ['instructions.3.others', [], 'ERR_OPTION', /layer 'layer3' .*others must name at least one value/],
    ['instructions.3.others', [77], 'ERR_GRAPH', /other input of layer 'layer3' .*value 77/],
    ['instructions.3.others', [-1], 'ERR_GRAPH', /instructions\[3\]\.others has -1, which is no index/],
    ['instructions.3.others', [5], 'ERR_GRAPH', /reads value 'layer4:out' before it is written/],
    ['instructions.3.others', [0], 'ERR_SHAPE', /operands differ in more than their last dimension: \[9, 9, 5\] and \[2, 2, 3\]/],
    ['instructions.3.others', 2, 'ERR_DTYPE', /others must be an array/],
    ['values.4.shape', [9, 9, 9], 'ERR_SHAPE', /output 'layer3:out' must have the shape \[9, 9, 10\]/],
    [
      'instructions.5.other',
      1,
      'ERR_SHAPE',
      /layer 'layer5' .*same shape, or the second one value per channel.* \[9, 9, 10\] and \[4, 4, 3\]/,
    ],
    ['instructions.5.other', undefined, 'ERR_OPTION', /instructions\[5\]\.other is missing/],
  ];
  for (const [path, value, code, message] of layerCases) {
    it(`layers.${path} = ${JSON.stringify(value)} (${String(message)})`, () => {
      expectCode(() => open(changed(small, path, value)), code, message);
    });
  }

  const optionCases: [string, unknown, PcqatErrorCode, RegExp][] = [
    ['maxBatch', 0, 'ERR_OPTION', /options\.maxBatch is 0, but must be between 1/],
    ['maxBatch', 1.5, 'ERR_OPTION', /options\.maxBatch must be an integer/],
    ['maxBatch', undefined, 'ERR_OPTION', /options\.maxBatch is missing/],
    ['training', 'yes', 'ERR_DTYPE', /options\.training must be a boolean/],
    ['threads', 0, 'ERR_OPTION', /options\.threads is 0/],
    ['seed', -1, 'ERR_OPTION', /options\.seed/],
    ['clipNorm', 0, 'ERR_OPTION', /options\.clipNorm must be positive/],
    ['clipValue', -1, 'ERR_OPTION', /options\.clipValue must be positive/],
    ['isa', 'sse9', 'ERR_ISA', /'sse9' is not available/],
    ['isa', 3, 'ERR_DTYPE', /isa must be a string/],
    ['speed', 1, 'ERR_OPTION', /options\.speed is not a known field/],
    ['optimizer.kind', 'adagrad', 'ERR_OPTION', /optimizer\.kind/],
    ['optimizer.beta1', 1, 'ERR_OPTION', /optimizer\.beta1 must be in \[0, 1\)/],
    ['optimizer.epsilon', 0, 'ERR_OPTION', /optimizer\.epsilon/],
    ['optimizer.weightDecay', -1, 'ERR_OPTION', /optimizer\.weightDecay/],
    ['optimizer.momentum', 0.9, 'ERR_OPTION', /optimizer\.momentum is not a known field/],
  ];
  for (const [path, value, code, message] of optionCases) {
    it(`options.${path} = ${JSON.stringify(value)}`, () => expectCode(() => open(program, changed(options, path, value)), code, message));
  }

  it('arguments that are no objects, and a call without new', () => {
    expectCode(() => open(undefined), 'ERR_DTYPE', /must be an object/);
    expectCode(() => open(program, 5), 'ERR_DTYPE', /options must be an object/);
    expect(() => (binding.Session as unknown as (a: unknown, b: unknown) => void)(program, options)).to.throw();
  });

  it('a session larger than the machine, without allocating it', () => {
    const net = new Net([40000]);
    net.add(0, [50000], { op: 'dense', kernel: net.parameter('k', [40000, 50000], new Float32Array(0)) });
    const before = process.memoryUsage().rss;
    const spec = {
      ...net.spec,
      tensors: [
        ...net.tensors,
        ...Array.from({ length: 300 }, (_, i) => ({ name: `t${i}`, shape: [2000000000], dtype: 'f32', trainable: false })),
      ],
    };
    expectCode(() => open(spec), 'ERR_OUT_OF_MEMORY', /needs \d+ MiB, but this machine has \d+ MiB/);
    expect(process.memoryUsage().rss - before).to.be.below(50 << 20);
  });
});
