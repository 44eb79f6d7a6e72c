import type { GraphNode } from './types.js';

/** Says what was expected when a value is wrong. */
type Check = (value: unknown) => string | undefined;

function expects(what: string, test: (value: unknown) => boolean): Check {
  return (value) => (test(value) ? undefined : what);
}

const MAX_DIMENSION = 2 ** 31 - 1;

function isInteger(value: unknown, low: number): boolean {
  return Number.isInteger(value) && (value as number) >= low && (value as number) <= MAX_DIMENSION;
}

function isPair(value: unknown, low: number): boolean {
  return Array.isArray(value) && value.length === 2 && value.every((element) => isInteger(element, low));
}

const count = expects('an integer of at least 1', (value) => isInteger(value, 1));
const pair = expects('[height, width], two integers of at least 1', (value) => isPair(value, 1));
const flag = expects('true or false', (value) => typeof value === 'boolean');
const padding = expects("'same' or 'valid'", (value) => value === 'same' || value === 'valid');
const padding1d = expects("'same', 'valid' or 'causal'", (value) => value === 'same' || value === 'valid' || value === 'causal');
const interpolation = expects("'nearest' or 'bilinear'", (value) => value === 'nearest' || value === 'bilinear');
const fraction = expects('a number in [0, 1)', (value) => typeof value === 'number' && value >= 0 && value < 1);
const positive = expects('a number above 0', (value) => typeof value === 'number' && value > 0 && Number.isFinite(value));
const slope = expects('a number of at least 0', (value) => typeof value === 'number' && value >= 0 && Number.isFinite(value));
const shape = expects(
  'a list of 1 to 4 integers of at least 1',
  (value) => Array.isArray(value) && value.length >= 1 && value.length <= 4 && value.every((element) => isInteger(element, 1)),
);
const borders = expects(
  '[[top, bottom], [left, right]], integers of at least 0',
  (value) => Array.isArray(value) && value.length === 2 && value.every((element) => isPair(element, 0)),
);

type Op = GraphNode['op'];
type NodeOf<O extends Op, N = GraphNode> = N extends { readonly op: infer P } ? (O extends P ? N : never) : never;
type Attributes<O extends Op> = Exclude<keyof NodeOf<O>, 'op' | 'name' | 'inputs'>;

interface OperatorRule {
  /** Exactly that many, or two and more. */
  readonly inputs: number | 'several';
  readonly attributes: Readonly<Record<string, Check>>;
}

const window = { strides: pair, padding };
const convolution = { kernelSize: pair, ...window, dilation: pair, useBias: flag };
const convolution1d = { kernelSize: count, strides: count, padding: padding1d, dilation: count, useBias: flag };
const pool1d = { poolSize: count, strides: count, padding };

/** Every operator of the graph: how many inputs it takes, and a check for each attribute. */
export const OPERATORS: { readonly [O in Op]: OperatorRule & { readonly attributes: Readonly<Record<Attributes<O>, Check>> } } = {
  input: { inputs: 0, attributes: { shape } },
  conv2d: { inputs: 1, attributes: { ...convolution, filters: count } },
  depthwiseConv2d: { inputs: 1, attributes: { ...convolution, depthMultiplier: count } },
  conv1d: { inputs: 1, attributes: { ...convolution1d, filters: count } },
  depthwiseConv1d: { inputs: 1, attributes: { ...convolution1d, depthMultiplier: count } },
  conv2dTranspose: { inputs: 1, attributes: { kernelSize: pair, ...window, useBias: flag, filters: count } },
  dense: { inputs: 1, attributes: { units: count, useBias: flag } },
  batchNorm: { inputs: 1, attributes: { momentum: fraction, epsilon: positive } },
  relu: { inputs: 1, attributes: {} },
  relu6: { inputs: 1, attributes: {} },
  sigmoid: { inputs: 1, attributes: {} },
  tanh: { inputs: 1, attributes: {} },
  hardSwish: { inputs: 1, attributes: {} },
  leakyRelu: { inputs: 1, attributes: { alpha: slope } },
  add: { inputs: 2, attributes: {} },
  multiply: { inputs: 2, attributes: {} },
  concat: { inputs: 'several', attributes: {} },
  averagePool1d: { inputs: 1, attributes: pool1d },
  maxPool1d: { inputs: 1, attributes: pool1d },
  globalAveragePool1d: { inputs: 1, attributes: {} },
  averagePool2d: { inputs: 1, attributes: { poolSize: pair, ...window } },
  maxPool2d: { inputs: 1, attributes: { poolSize: pair, ...window } },
  globalAveragePool2d: { inputs: 1, attributes: {} },
  upSampling2d: { inputs: 1, attributes: { size: pair, interpolation } },
  zeroPad2d: { inputs: 1, attributes: { padding: borders } },
  flatten: { inputs: 1, attributes: {} },
  reshape: { inputs: 1, attributes: { shape } },
  dropout: { inputs: 1, attributes: { rate: fraction } },
  softmax: { inputs: 1, attributes: {} },
};
