import { PcqatError } from '../errors.js';
import { inferNodeShape } from './shapes.js';
import type { Graph, GraphNode, Padding, Pair, Shape } from './types.js';
import { validateGraph, validateNode } from './validate.js';

/** A value while a graph is built: the output of a layer. */
export interface Value {
  /** Name of the layer. */
  readonly name: string;
  /** Without the batch dimension. */
  readonly shape: Shape;
}

/** One number for both axes, or `[height, width]`. */
export type PairLike = number | Pair;

export interface LayerOptions {
  /** Default: the operator and a number, e.g. `conv2d_1`. */
  readonly name?: string;
}

export interface ActivationOptions {
  /** Adds a layer `<name>_relu` after this one. */
  readonly activation?: 'relu' | 'relu6';
}

export interface WindowOptions {
  /** Default 1 for convolutions, the pool size for pools. */
  readonly strides?: PairLike;
  /** Default `valid`, as in Keras. */
  readonly padding?: Padding;
}

export interface ConvolutionOptions extends LayerOptions, ActivationOptions, WindowOptions {
  readonly kernelSize: PairLike;
  /** Default 1. */
  readonly dilation?: PairLike;
  /** Default `true`. */
  readonly useBias?: boolean;
}

export interface Conv2dOptions extends ConvolutionOptions {
  readonly filters: number;
}

export interface DepthwiseConv2dOptions extends ConvolutionOptions {
  /** Output channels per input channel. Default 1. */
  readonly depthMultiplier?: number;
}

export interface DenseOptions extends LayerOptions, ActivationOptions {
  readonly units: number;
  /** Default `true`. */
  readonly useBias?: boolean;
}

export interface BatchNormOptions extends LayerOptions {
  /** Of the moving statistics. Default 0.99. */
  readonly momentum?: number;
  /** Added to the variance. Default 1e-3. */
  readonly epsilon?: number;
}

export interface Pool2dOptions extends LayerOptions, WindowOptions {
  /** Default 2. */
  readonly poolSize?: PairLike;
}

export interface ZeroPad2dOptions extends LayerOptions {
  /** `[[top, bottom], [left, right]]`. */
  readonly padding: readonly [Pair, Pair];
}

function toPair(value: PairLike): Pair {
  return typeof value === 'number' ? [value, value] : value;
}

/**
 * Builds a {@link Graph} layer by layer; every method returns the new value, with its shape. Defaults are Keras'.
 * Activations are NHWC; shapes leave the batch out. Methods throw `PcqatError` (`ERR_GRAPH`, `ERR_SHAPE`) naming the layer
 * when an attribute is wrong, a name is used twice or shapes do not fit.
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
 */
export class GraphBuilder {
  readonly #name: string;
  readonly #nodes = new Map<string, GraphNode>();
  readonly #values = new Map<string, Value>();
  readonly #counters = new Map<string, number>();

  /** @param name Of the graph; shown in reports and written into exported files. */
  constructor(name: string) {
    this.#name = name;
  }

  /** The graph's input. Call it once, first. `shape` without the batch, e.g. `[49, 10, 1]`. */
  input(shape: Shape, options: LayerOptions = {}): Value {
    return this.#append({ op: 'input', name: options.name ?? 'input', inputs: [], shape: [...shape] });
  }

  /** 2-D convolution: `[h, w, c]` → `[h', w', filters]`. */
  conv2d(x: Value, options: Conv2dOptions): Value {
    const { filters } = options;
    return this.#activate(
      this.#append({ op: 'conv2d', ...this.#base('conv2d', [x], options), filters, ...this.#convolution(options) }),
      options,
    );
  }

  /** Depthwise convolution: `[h, w, c]` → `[h', w', c · depthMultiplier]`. */
  depthwiseConv2d(x: Value, options: DepthwiseConv2dOptions): Value {
    const { depthMultiplier = 1 } = options;
    const base = this.#base('depthwiseConv2d', [x], options);
    return this.#activate(this.#append({ op: 'depthwiseConv2d', ...base, depthMultiplier, ...this.#convolution(options) }), options);
  }

  /** Fully connected layer: `[n]` → `[units]`. */
  dense(x: Value, options: DenseOptions): Value {
    const { units, useBias = true } = options;
    return this.#activate(this.#append({ op: 'dense', ...this.#base('dense', [x], options), units, useBias }), options);
  }

  /** Batch normalization over the last axis. */
  batchNorm(x: Value, options: BatchNormOptions = {}): Value {
    const { momentum = 0.99, epsilon = 1e-3 } = options;
    return this.#append({ op: 'batchNorm', ...this.#base('batchNorm', [x], options), momentum, epsilon });
  }

  /** max(x, 0). */
  relu(x: Value, options: LayerOptions = {}): Value {
    return this.#append({ op: 'relu', ...this.#base('relu', [x], options) });
  }

  /** min(max(x, 0), 6). */
  relu6(x: Value, options: LayerOptions = {}): Value {
    return this.#append({ op: 'relu6', ...this.#base('relu6', [x], options) });
  }

  /** Element-wise sum of two values of the same shape. */
  add(a: Value, b: Value, options: LayerOptions = {}): Value {
    return this.#append({ op: 'add', ...this.#base('add', [a, b], options) });
  }

  /** Mean of each window; padding does not count. */
  averagePool2d(x: Value, options: Pool2dOptions = {}): Value {
    return this.#append({ op: 'averagePool2d', ...this.#base('averagePool2d', [x], options), ...this.#pool(options) });
  }

  /** Maximum of each window. */
  maxPool2d(x: Value, options: Pool2dOptions = {}): Value {
    return this.#append({ op: 'maxPool2d', ...this.#base('maxPool2d', [x], options), ...this.#pool(options) });
  }

  /** Mean over height and width: `[h, w, c]` → `[c]`. */
  globalAveragePool2d(x: Value, options: LayerOptions = {}): Value {
    return this.#append({ op: 'globalAveragePool2d', ...this.#base('globalAveragePool2d', [x], options) });
  }

  /** Zeros around height and width. */
  zeroPad2d(x: Value, options: ZeroPad2dOptions): Value {
    return this.#append({ op: 'zeroPad2d', ...this.#base('zeroPad2d', [x], options), padding: options.padding });
  }

  /** Row-major flattening to one dimension. */
  flatten(x: Value, options: LayerOptions = {}): Value {
    return this.#append({ op: 'flatten', ...this.#base('flatten', [x], options) });
  }

  /** Row-major reshape to the same number of elements. */
  reshape(x: Value, shape: Shape, options: LayerOptions = {}): Value {
    return this.#append({ op: 'reshape', ...this.#base('reshape', [x], options), shape: [...shape] });
  }

  /** Drops the fraction `rate` of elements in training and scales the others by 1 / (1 − rate). */
  dropout(x: Value, options: LayerOptions & { readonly rate: number }): Value {
    return this.#append({ op: 'dropout', ...this.#base('dropout', [x], options), rate: options.rate });
  }

  /** Softmax over the last axis. As the last layer, training leaves it out and takes the loss on its input. */
  softmax(x: Value, options: LayerOptions = {}): Value {
    return this.#append({ op: 'softmax', ...this.#base('softmax', [x], options) });
  }

  /** The graph that ends in `output`; layers that do not lead to it are left out. */
  build(output: Value): Graph {
    this.#own(output);
    const needed = new Set([output.name]);
    // Inputs always come earlier, so one backward pass finds every ancestor.
    for (const node of [...this.#nodes.values()].reverse()) {
      if (needed.has(node.name)) node.inputs.forEach((input) => needed.add(input));
    }
    const graph: Graph = { name: this.#name, nodes: [...this.#nodes.values()].filter((node) => needed.has(node.name)) };
    validateGraph(graph);
    return graph;
  }

  #convolution(
    options: ConvolutionOptions,
  ): Pick<Extract<GraphNode, { op: 'conv2d' }>, 'kernelSize' | 'strides' | 'padding' | 'dilation' | 'useBias'> {
    const { kernelSize, strides = 1, padding = 'valid', dilation = 1, useBias = true } = options;
    return { kernelSize: toPair(kernelSize), strides: toPair(strides), padding, dilation: toPair(dilation), useBias };
  }

  #pool(options: Pool2dOptions): Pick<Extract<GraphNode, { op: 'averagePool2d' | 'maxPool2d' }>, 'poolSize' | 'strides' | 'padding'> {
    const { poolSize = 2, strides = poolSize, padding = 'valid' } = options;
    return { poolSize: toPair(poolSize), strides: toPair(strides), padding };
  }

  #activate(value: Value, options: ActivationOptions): Value {
    if (options.activation === undefined) return value;
    const name = `${value.name}_${options.activation}`;
    return options.activation === 'relu' ? this.relu(value, { name }) : this.relu6(value, { name });
  }

  #base(op: string, inputs: readonly Value[], options: LayerOptions): { name: string; inputs: string[] } {
    inputs.forEach((value) => this.#own(value));
    return { name: options.name ?? this.#freshName(op), inputs: inputs.map((value) => value.name) };
  }

  #freshName(op: string): string {
    for (;;) {
      const number = (this.#counters.get(op) ?? 0) + 1;
      this.#counters.set(op, number);
      if (!this.#nodes.has(`${op}_${number}`)) return `${op}_${number}`;
    }
  }

  #own(value: Value): void {
    if (this.#values.get(value.name) !== value) {
      throw new PcqatError('ERR_GRAPH', `value '${value.name}' belongs to another graph`, { where: `graph '${this.#name}'` });
    }
  }

  #append(node: GraphNode): Value {
    if (this.#nodes.has(node.name)) {
      throw new PcqatError('ERR_GRAPH', `two layers are named '${node.name}'`, {
        where: `graph '${this.#name}'`,
        remedy: 'Layer names must be unique.',
      });
    }
    validateNode(node);
    const shape = inferNodeShape(
      node,
      node.inputs.map((input) => this.#values.get(input)?.shape ?? []),
    );
    const value: Value = { name: node.name, shape };
    this.#nodes.set(node.name, node);
    this.#values.set(node.name, value);
    return value;
  }
}
