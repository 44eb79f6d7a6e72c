import { convolution, convolution1d, pool1d, pool2d, toPair } from './builder-defaults.js';
import type {
  ActivationName,
  ActivationOptions,
  BatchNormOptions,
  Conv1dOptions,
  Conv2dOptions,
  Conv2dTransposeOptions,
  DenseOptions,
  DepthwiseConv1dOptions,
  DepthwiseConv2dOptions,
  LayerOptions,
  LeakyReluOptions,
  Pool1dOptions,
  Pool2dOptions,
  SeparableConv1dOptions,
  SeparableConv2dOptions,
  UpSampling2dOptions,
  ZeroPad2dOptions,
} from './builder-options.js';
import { NodeList, type Value } from './node-list.js';
import type { Graph, GraphNode, Shape } from './types.js';

export type { PairLike } from './builder-options.js';
export type { Value } from './node-list.js';

/** Operators with one input and no attributes. */
type UnaryOp = Exclude<ActivationName, 'leakyRelu'> | 'globalAveragePool1d' | 'globalAveragePool2d' | 'flatten' | 'softmax';

/**
 * Builds a {@link Graph} layer by layer; every method returns the new value, with its shape. Defaults are Keras'.
 * Images are NHWC, sequences `[length, channels]`; shapes leave the batch out. Methods throw `PcqatError` (`ERR_GRAPH`, `ERR_SHAPE`)
 * naming the layer when an attribute is wrong, a name is used twice or shapes do not fit.
 *
 * @example
 * ```ts
 * import { createModel, GraphBuilder } from 'pcqat';
 * const g = new GraphBuilder('net');
 * let x = g.input([28, 28, 1]);
 * x = g.conv2d(x, { filters: 8, kernelSize: 3, padding: 'same', useBias: false });
 * x = g.relu(g.batchNorm(x));
 * const shortcut = x;
 * x = g.add(g.conv2d(x, { filters: 8, kernelSize: 1 }), shortcut);
 * x = g.dense(g.globalAveragePool2d(x), { units: 10 });
 * const model = createModel(g.build(x));
 * ```
 * @example
 * ```ts
 * // A gated network over sequences.
 * import { GraphBuilder } from 'pcqat';
 * const g = new GraphBuilder('sequence');
 * let x = g.conv1d(g.input([128, 9]), { filters: 16, kernelSize: 5, padding: 'causal', activation: 'hardSwish' });
 * x = g.separableConv1d(x, { name: 'separable', filters: 32, kernelSize: 3, strides: 2, padding: 'same' });
 * const gate = g.dense(g.globalAveragePool1d(x), { units: 32, activation: 'sigmoid' });
 * const graph = g.build(g.globalAveragePool1d(g.multiply(x, gate)));
 * console.log(graph.nodes.length); // 10
 * ```
 */
export class GraphBuilder {
  readonly #list: NodeList;

  /** @param name Of the graph; shown in reports and written into exported files. */
  constructor(name: string) {
    this.#list = new NodeList(name);
  }

  /** The graph's input. Call it once, first. `shape` without the batch, e.g. `[49, 10, 1]`. */
  input(shape: Shape, options: LayerOptions = {}): Value {
    return this.#list.append({ op: 'input', name: options.name ?? 'input', inputs: [], shape: [...shape] });
  }

  /** 2-D convolution: `[h, w, c]` → `[h', w', filters]`. */
  conv2d(x: Value, options: Conv2dOptions): Value {
    const { filters } = options;
    return this.#activate({ op: 'conv2d', ...this.#base('conv2d', [x], options), filters, ...convolution(options) }, options);
  }

  /** Depthwise convolution: `[h, w, c]` → `[h', w', c · depthMultiplier]`. */
  depthwiseConv2d(x: Value, options: DepthwiseConv2dOptions): Value {
    const { depthMultiplier = 1 } = options;
    const base = this.#base('depthwiseConv2d', [x], options);
    return this.#activate({ op: 'depthwiseConv2d', ...base, depthMultiplier, ...convolution(options) }, options);
  }

  /** 1-D convolution: `[length, c]` → `[length', filters]`. */
  conv1d(x: Value, options: Conv1dOptions): Value {
    const { filters } = options;
    return this.#activate({ op: 'conv1d', ...this.#base('conv1d', [x], options), filters, ...convolution1d(options) }, options);
  }

  /** 1-D depthwise convolution: `[length, c]` → `[length', c · depthMultiplier]`. */
  depthwiseConv1d(x: Value, options: DepthwiseConv1dOptions): Value {
    const { depthMultiplier = 1 } = options;
    const base = this.#base('depthwiseConv1d', [x], options);
    return this.#activate({ op: 'depthwiseConv1d', ...base, depthMultiplier, ...convolution1d(options) }, options);
  }

  /**
   * Transposed 2-D convolution: `[h, w, c]` → `[h', w', filters]` with h' = h · stride for `same`,
   * h · stride + max(kernel − stride, 0) for `valid`, as in Keras.
   */
  conv2dTranspose(x: Value, options: Conv2dTransposeOptions): Value {
    const { filters, kernelSize, strides = 1, padding = 'valid', useBias = true } = options;
    const base = this.#base('conv2dTranspose', [x], options);
    const attributes = { filters, kernelSize: toPair(kernelSize), strides: toPair(strides), padding, useBias };
    return this.#activate({ op: 'conv2dTranspose', ...base, ...attributes }, options);
  }

  /**
   * Depthwise separable convolution as two layers, which are compressed and quantized each by its own rule (spec 3.6, row 3):
   * `<name>_depthwise`, without bias and activation, then a 1×1 convolution `<name>` with them.
   */
  separableConv2d(x: Value, options: SeparableConv2dOptions): Value {
    const { kernelSize, strides = 1, padding = 'valid', dilation = 1, depthMultiplier = 1, ...pointwise } = options;
    const name = options.name ?? this.#list.freshName('separableConv2d');
    const window = { kernelSize, strides, padding, dilation };
    const depthwise = this.depthwiseConv2d(x, { ...window, name: `${name}_depthwise`, depthMultiplier, useBias: false });
    return this.conv2d(depthwise, { ...pointwise, name, kernelSize: 1 });
  }

  /**
   * Depthwise separable convolution of a sequence, as {@link GraphBuilder.separableConv2d}. Causal padding is allowed
   * (the reference refuses it, spec 3.6, row 2).
   */
  separableConv1d(x: Value, options: SeparableConv1dOptions): Value {
    const { kernelSize, strides = 1, padding = 'valid', dilation = 1, depthMultiplier = 1, ...pointwise } = options;
    const name = options.name ?? this.#list.freshName('separableConv1d');
    const window = { kernelSize, strides, padding, dilation };
    const depthwise = this.depthwiseConv1d(x, { ...window, name: `${name}_depthwise`, depthMultiplier, useBias: false });
    return this.conv1d(depthwise, { ...pointwise, name, kernelSize: 1 });
  }

  /** Fully connected layer: `[n]` → `[units]`. */
  dense(x: Value, options: DenseOptions): Value {
    const { units, useBias = true } = options;
    return this.#activate({ op: 'dense', ...this.#base('dense', [x], options), units, useBias }, options);
  }

  /** Batch normalization over the last axis. */
  batchNorm(x: Value, options: BatchNormOptions = {}): Value {
    const { momentum = 0.99, epsilon = 1e-3 } = options;
    return this.#list.append({ op: 'batchNorm', ...this.#base('batchNorm', [x], options), momentum, epsilon });
  }

  /** max(x, 0). */
  relu(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('relu', x, options);
  }

  /** min(max(x, 0), 6). */
  relu6(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('relu6', x, options);
  }

  /** 1 / (1 + e⁻ˣ). */
  sigmoid(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('sigmoid', x, options);
  }

  /** Hyperbolic tangent. */
  tanh(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('tanh', x, options);
  }

  /** x · relu6(x + 3) / 6 (Howard et al. 2019). */
  hardSwish(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('hardSwish', x, options);
  }

  /** x, or `alpha · x` where x is negative. */
  leakyRelu(x: Value, options: LeakyReluOptions = {}): Value {
    const { alpha = 0.3 } = options;
    return this.#list.append({ op: 'leakyRelu', ...this.#base('leakyRelu', [x], options), alpha });
  }

  /** Element-wise sum of two values of the same shape. */
  add(a: Value, b: Value, options: LayerOptions = {}): Value {
    return this.#list.append({ op: 'add', ...this.#base('add', [a, b], options) });
  }

  /**
   * Element-wise product of two values of the same shape; or `factor` has one value per channel of `x` (`[c]` or `[1, 1, c]` beside
   * `[h, w, c]`), as the gate of a squeeze-and-excitation block.
   */
  multiply(x: Value, factor: Value, options: LayerOptions = {}): Value {
    return this.#list.append({ op: 'multiply', ...this.#base('multiply', [x, factor], options) });
  }

  /** Two or more values side by side on the last axis. */
  concat(values: readonly Value[], options: LayerOptions = {}): Value {
    return this.#list.append({ op: 'concat', ...this.#base('concat', values, options) });
  }

  /** Mean of each window; padding does not count. */
  averagePool2d(x: Value, options: Pool2dOptions = {}): Value {
    return this.#list.append({ op: 'averagePool2d', ...this.#base('averagePool2d', [x], options), ...pool2d(options) });
  }

  /** Maximum of each window. */
  maxPool2d(x: Value, options: Pool2dOptions = {}): Value {
    return this.#list.append({ op: 'maxPool2d', ...this.#base('maxPool2d', [x], options), ...pool2d(options) });
  }

  /** Mean of each window of a sequence `[length, c]`; padding does not count. */
  averagePool1d(x: Value, options: Pool1dOptions = {}): Value {
    return this.#list.append({ op: 'averagePool1d', ...this.#base('averagePool1d', [x], options), ...pool1d(options) });
  }

  /** Maximum of each window of a sequence `[length, c]`. */
  maxPool1d(x: Value, options: Pool1dOptions = {}): Value {
    return this.#list.append({ op: 'maxPool1d', ...this.#base('maxPool1d', [x], options), ...pool1d(options) });
  }

  /** Mean over height and width: `[h, w, c]` → `[c]`. */
  globalAveragePool2d(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('globalAveragePool2d', x, options);
  }

  /** Mean over the length: `[length, c]` → `[c]`. */
  globalAveragePool1d(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('globalAveragePool1d', x, options);
  }

  /** Each pixel becomes `size` pixels: `[h, w, c]` → `[h · size, w · size, c]`. */
  upSampling2d(x: Value, options: UpSampling2dOptions = {}): Value {
    const { size = 2, interpolation = 'nearest' } = options;
    return this.#list.append({ op: 'upSampling2d', ...this.#base('upSampling2d', [x], options), size: toPair(size), interpolation });
  }

  /** Zeros around height and width. */
  zeroPad2d(x: Value, options: ZeroPad2dOptions): Value {
    return this.#list.append({ op: 'zeroPad2d', ...this.#base('zeroPad2d', [x], options), padding: options.padding });
  }

  /** Row-major flattening to one dimension. */
  flatten(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('flatten', x, options);
  }

  /** Row-major reshape to the same number of elements. */
  reshape(x: Value, shape: Shape, options: LayerOptions = {}): Value {
    return this.#list.append({ op: 'reshape', ...this.#base('reshape', [x], options), shape: [...shape] });
  }

  /** Drops the fraction `rate` of elements in training and scales the others by 1 / (1 − rate). */
  dropout(x: Value, options: LayerOptions & { readonly rate: number }): Value {
    return this.#list.append({ op: 'dropout', ...this.#base('dropout', [x], options), rate: options.rate });
  }

  /** Softmax over the last axis. As the last layer, training leaves it out and takes the loss on its input. */
  softmax(x: Value, options: LayerOptions = {}): Value {
    return this.#unary('softmax', x, options);
  }

  /** The graph that ends in `output`; layers that do not lead to it are left out. */
  build(output: Value): Graph {
    return this.#list.build(output);
  }

  #base(op: string, inputs: readonly Value[], options: LayerOptions): { name: string; inputs: string[] } {
    return this.#list.base(op, inputs, options.name);
  }

  #unary(op: UnaryOp, x: Value, options: LayerOptions): Value {
    return this.#list.append({ op, ...this.#base(op, [x], options) });
  }

  /** Appends a layer, and its activation as one of its own. */
  #activate(node: GraphNode, { activation }: ActivationOptions): Value {
    const value = this.#list.append(node);
    if (activation === undefined) return value;
    const name = `${value.name}_${activation}`;
    return activation === 'leakyRelu' ? this.leakyRelu(value, { name }) : this.#unary(activation, value, { name });
  }
}
