import { materializeWeight } from '../../compress/materialize.js';
import { PcqatError } from '../../errors.js';
import { type Model } from '../../graph/model.js';
import { elementCount } from '../../graph/shapes.js';
import type { GraphNode, Shape } from '../../graph/types.js';
import { validateGraph } from '../../graph/validate.js';
import { transposedGeometry, windowGeometry, type WindowedNode, windowOf } from '../../graph/windows.js';
import type { AttributeValue } from './encode.js';
import { GraphWriter, type OnnxLayout, type OnnxOutput } from './graph-writer.js';
import { permuted } from './tensors.js';
import { sizeOf, transposedAttributes, windowAttributes } from './write-windows.js';

/** Writes a float model: weights as the layers use them (masks and codebooks applied), batch norms as nodes. */
export function encodeFloat(model: Model, layout: OnnxLayout): Uint8Array {
  const shapes = validateGraph(model.graph);
  const writer = new FloatWriter(model, shapes, layout);
  for (const node of model.graph.nodes) writer.add(node);
  return writer.encode();
}

const PLAIN: Readonly<Partial<Record<GraphNode['op'], string>>> = {
  relu: 'Relu',
  sigmoid: 'Sigmoid',
  tanh: 'Tanh',
  hardSwish: 'HardSwish',
  add: 'Add',
};

class FloatWriter {
  readonly #writer = new GraphWriter();
  readonly #values = new Map<string, OnnxOutput>();

  constructor(
    readonly model: Model,
    readonly shapes: ReadonlyMap<string, Shape>,
    readonly layout: OnnxLayout,
  ) {}

  add(node: GraphNode): void {
    this.#values.set(node.name, this.#node(node));
  }

  encode(): Uint8Array {
    const { name, nodes } = this.model.graph;
    const last = nodes.at(-1)?.name ?? '';
    const output = this.#values.get(last);
    if (output === undefined || nodes.every(({ op }) => op === 'input' || op === 'dropout')) {
      throw new PcqatError('ERR_GRAPH', 'the graph has no operator to write', { where: `graph '${name}'` });
    }
    return this.#writer.encode(name, output, last, this.layout);
  }

  #node(node: GraphNode): OnnxOutput {
    const { name } = node;
    const shape = this.shapes.get(name) ?? [];
    if (node.op === 'input') return this.#writer.input(name, 'float', shape, this.layout);
    const inputs = node.inputs.map((input) => this.#values.get(input)).filter((value) => value !== undefined);
    const [x] = inputs;
    if (x === undefined) throw new PcqatError('ERR_INTERNAL', 'the layer has no input', { where: `layer '${name}'` });
    const writer = this.#writer;
    const emit = (op: string, others: readonly string[] = [], attributes: Readonly<Record<string, AttributeValue>> = {}): OnnxOutput =>
      writer.node(op, [...inputs, ...others], { name, shape }, attributes);
    switch (node.op) {
      case 'dropout':
        return x;
      case 'relu':
      case 'sigmoid':
      case 'tanh':
      case 'hardSwish':
      case 'add':
        return emit(PLAIN[node.op] ?? '');
      case 'relu6':
        return emit('Clip', [this.#scalar(`${name}/min`, 0), this.#scalar(`${name}/max`, 6)]);
      case 'leakyRelu':
        return emit('LeakyRelu', [], { alpha: { float: node.alpha } });
      case 'softmax':
        return emit('Softmax', [], { axis: { int: shape.length === 2 || shape.length === 3 ? 1 : -1 } });
      case 'concat':
        return emit('Concat', [], { axis: { int: shape.length <= 3 ? 1 : shape.length } });
      case 'multiply':
        return this.#multiply(name, shape, x, inputs[1] ?? x);
      case 'batchNorm': {
        const parameters = ['gamma', 'beta', 'moving_mean', 'moving_variance'].map((parameter) => this.#vector(name, parameter));
        return emit('BatchNormalization', parameters, { epsilon: { float: node.epsilon }, momentum: { float: node.momentum } });
      }
      case 'dense':
        return this.#dense(name, x, node.units, node.useBias);
      case 'conv1d':
      case 'conv2d': {
        const [height, width] = windowOf(node).size;
        const depth = x.shape.at(-1) ?? 1;
        const kernel = permuted(this.#weight(name), [height, width, depth, node.filters], [3, 2, 0, 1]);
        return emit('Conv', this.#kernelAndBias(node, kernel, [node.filters, depth]), this.#window(node, x.shape));
      }
      case 'depthwiseConv1d':
      case 'depthwiseConv2d': {
        const [height, width] = windowOf(node).size;
        const depth = x.shape.at(-1) ?? 1;
        const filters = depth * node.depthMultiplier;
        const kernel = permuted(this.#weight(name), [height, width, filters], [2, 0, 1]);
        const attributes = { ...this.#window(node, x.shape), group: { int: depth } };
        return emit('Conv', this.#kernelAndBias(node, kernel, [filters, 1]), attributes);
      }
      case 'conv2dTranspose': {
        const { kernelSize, strides } = node;
        const depth = x.shape.at(-1) ?? 1;
        const kernel = permuted(this.#weight(name), [...kernelSize, node.filters, depth], [3, 2, 0, 1]);
        const input = sizeOf(x.shape);
        const { output, padding } = transposedGeometry(input, node);
        const bias = node.useBias ? [this.#vector(name, 'bias')] : [];
        const weights = this.#writer.floats(`${name}/kernel`, [depth, node.filters, ...kernelSize], kernel);
        return emit('ConvTranspose', [weights, ...bias], transposedAttributes(kernelSize, strides, input, output, padding));
      }
      case 'averagePool1d':
      case 'averagePool2d': {
        const { dilations: _, ...attributes } = this.#window(node, x.shape);
        return emit('AveragePool', [], { ...attributes, count_include_pad: { int: 0 } });
      }
      case 'maxPool1d':
      case 'maxPool2d': {
        const { dilations: _, ...attributes } = this.#window(node, x.shape);
        return emit('MaxPool', [], attributes);
      }
      case 'globalAveragePool1d':
      case 'globalAveragePool2d': {
        const ones = x.shape.slice(0, -1).map(() => 1);
        const pooled = writer.node('GlobalAveragePool', [x], { name: `${name}/pooled`, shape: [...ones, ...shape] });
        return writer.node('Flatten', [pooled], { name, shape }, { axis: { int: 1 } });
      }
      case 'upSampling2d':
        return this.#upsample(name, x, shape, node.size, node.interpolation);
      case 'zeroPad2d': {
        const [[top, bottom], [left, right]] = node.padding;
        return emit('Pad', [writer.integers(`${name}/pads`, [0, 0, top, left, 0, 0, bottom, right])], { mode: { string: 'constant' } });
      }
      case 'flatten':
      case 'reshape':
        return writer.reshape(x, shape, name);
    }
  }

  #window(node: WindowedNode, input: Shape): ReturnType<typeof windowAttributes> {
    const window = windowOf(node);
    const { padding } = windowGeometry(sizeOf(input), window.size, window.strides, window.dilation, window.padding);
    return windowAttributes(window, padding, input.length - 1);
  }

  #kernelAndBias(node: Extract<WindowedNode, { useBias: boolean }>, kernel: Float32Array, channels: readonly number[]): string[] {
    const spatial = typeof node.kernelSize === 'number' ? [node.kernelSize] : node.kernelSize;
    const weights = this.#writer.floats(`${node.name}/kernel`, [...channels, ...spatial], kernel);
    return node.useBias ? [weights, this.#vector(node.name, 'bias')] : [weights];
  }

  #dense(name: string, x: OnnxOutput, units: number, useBias: boolean): OnnxOutput {
    const kernel = this.#writer.floats(`${name}/kernel`, [elementCount(x.shape), units], this.#weight(name));
    const output = { name, shape: [units] };
    return useBias
      ? this.#writer.node('Gemm', [x, kernel, this.#vector(name, 'bias')], output)
      : this.#writer.node('MatMul', [x, kernel], output);
  }

  /** One factor per channel gets as many dimensions as what it multiplies. */
  #multiply(name: string, shape: Shape, x: OnnxOutput, factor: OnnxOutput): OnnxOutput {
    const ones: Shape = [...shape.slice(0, -1).map(() => 1), factor.shape.at(-1) ?? 1];
    const isSmaller = elementCount(factor.shape) < elementCount(shape) || factor.shape.length !== shape.length;
    const aligned = isSmaller && factor.shape.length !== shape.length ? this.#writer.reshape(factor, ones, `${name}/factor`) : factor;
    return this.#writer.node('Mul', [x, aligned], { name, shape });
  }

  #upsample(name: string, x: OnnxOutput, shape: Shape, size: readonly [number, number], interpolation: 'nearest' | 'bilinear'): OnnxOutput {
    const scales = this.#writer.floats(`${name}/scales`, [4], Float32Array.of(1, 1, ...size));
    const attributes: Readonly<Record<string, AttributeValue>> =
      interpolation === 'nearest'
        ? { mode: { string: 'nearest' }, coordinate_transformation_mode: { string: 'asymmetric' }, nearest_mode: { string: 'floor' } }
        : { mode: { string: 'linear' }, coordinate_transformation_mode: { string: 'half_pixel' } };
    return this.#writer.node('Resize', [x, '', scales], { name, shape }, attributes);
  }

  #scalar(name: string, value: number): string {
    return this.#writer.floats(name, [], Float32Array.of(value));
  }

  #vector(layer: string, parameter: string): string {
    const data = this.#finite(`${layer}/${parameter}`, this.model.tensors.get(`${layer}/${parameter}`)?.data);
    return this.#writer.floats(`${layer}/${parameter}`, [data.length], data);
  }

  /** The kernel as the layer uses it, without fake quantization. */
  #weight(layer: string): Float32Array {
    return this.#finite(`${layer}/kernel`, materializeWeight(this.model, `${layer}/kernel`));
  }

  #finite(parameter: string, data: ArrayLike<number> | undefined): Float32Array {
    const where = `parameter '${parameter}'`;
    if (!(data instanceof Float32Array)) throw new PcqatError('ERR_INVARIANT', 'it is missing', { where });
    const bad = data.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new PcqatError('ERR_NON_FINITE', `element ${bad} is ${data[bad]}`, { where });
    return data;
  }
}
