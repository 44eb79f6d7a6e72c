import type { Activation, ActivationFakeQuant, Instruction, TensorId, ValueId } from '../../binding.js';
import { PcqatError } from '../errors.js';
import { parameterShapes } from '../graph/shapes.js';
import type { GraphNode, Shape } from '../graph/types.js';
import { imageOf, type Padding4, transposedGeometry, type Window, type WindowedNode, windowGeometry, windowOf } from '../graph/windows.js';
import type { TensorTable } from './tensor-table.js';

/** What one instruction needs beside its node. */
export interface NodeContext {
  readonly inputs: readonly ValueId[];
  readonly inputShape: Shape;
  readonly output: ValueId;
  readonly activation: Activation;
  /** Only for instructions that quantize in the same pass ({@link quantizesInPlace}). */
  readonly fakeQuant?: ActivationFakeQuant;
  /** Training keeps the scale of this batch norm positive. */
  readonly positiveScale: boolean;
  readonly table: TensorTable;
}

/** Operators whose instruction can fake-quantize its own output. */
export function quantizesInPlace(op: GraphNode['op']): boolean {
  return QUANTIZES_IN_PLACE.has(op);
}

const QUANTIZES_IN_PLACE: ReadonlySet<GraphNode['op']> = new Set([
  'batchNorm', 'add', 'relu', 'relu6', 'sigmoid', 'tanh', 'hardSwish', 'leakyRelu',
]); // prettier-ignore

/** Small beside any useful γ, and far above what the int32 bias of a folded layer needs of its scale. */
const SMALLEST_SCALE = 2 ** -10;

function parameter(node: GraphNode, name: string, context: NodeContext): TensorId {
  const shape = parameterShapes(node, context.inputShape).get(name) ?? [];
  const trainable = !name.startsWith('moving_');
  const minimum = name === 'gamma' && context.positiveScale ? SMALLEST_SCALE : undefined;
  return context.table.id(`${node.name}/${name}`, { shape, trainable, weightDecay: name === 'kernel', minimum });
}

/** Strides, dilation and explicit padding of a window over images; over a sequence, an image of height 1. */
function windowFields(node: WindowedNode, input: Shape): Pick<Window, 'size' | 'strides' | 'dilation'> & { readonly padding: Padding4 } {
  const [height = 0, width = 0] = imageOf(input);
  const { size, strides, dilation, padding } = windowOf(node);
  return { size, strides, dilation, padding: windowGeometry([height, width], size, strides, dilation, padding).padding };
}

/** The instruction of one node, with the activation and fake quantization fused into it. */
export function lowerNode(node: GraphNode, context: NodeContext): Instruction {
  const { inputShape, activation, output } = context;
  const [input = -1, ...others] = context.inputs;
  const other = others[0] ?? -1;
  const base = { name: node.name, input, output };
  const fakeQuant = context.fakeQuant === undefined ? {} : { fakeQuant: context.fakeQuant };
  const bias = 'useBias' in node && node.useBias ? { bias: parameter(node, 'bias', context) } : {};
  switch (node.op) {
    case 'conv2d':
    case 'conv1d':
    case 'depthwiseConv2d':
    case 'depthwiseConv1d': {
      const { strides, dilation, padding } = windowFields(node, inputShape);
      const op = node.op === 'conv2d' || node.op === 'conv1d' ? 'conv2d' : 'depthwiseConv2d';
      return { ...base, op, kernel: parameter(node, 'kernel', context), ...bias, strides, padding, dilation, activation };
    }
    case 'conv2dTranspose': {
      const [height = 0, width = 0] = inputShape;
      const { padding } = transposedGeometry([height, width], node);
      const { op, strides } = node;
      return { ...base, op, kernel: parameter(node, 'kernel', context), ...bias, strides, padding, activation };
    }
    case 'dense':
      return { ...base, op: 'dense', kernel: parameter(node, 'kernel', context), ...bias, activation };
    case 'batchNorm': {
      const { momentum, epsilon } = node;
      const [gamma, beta] = [parameter(node, 'gamma', context), parameter(node, 'beta', context)];
      const [movingMean, movingVariance] = [parameter(node, 'moving_mean', context), parameter(node, 'moving_variance', context)];
      return { ...base, op: 'batchNorm', gamma, beta, movingMean, movingVariance, momentum, epsilon, activation, ...fakeQuant };
    }
    case 'relu':
    case 'relu6':
      return { ...base, op: 'activation', activation: node.op, ...fakeQuant };
    case 'sigmoid':
    case 'tanh':
    case 'hardSwish':
      return { ...base, op: 'unary', function: node.op, ...fakeQuant };
    case 'leakyRelu':
      return { ...base, op: 'unary', function: node.op, alpha: node.alpha, ...fakeQuant };
    case 'multiply':
      return { ...base, op: 'multiply', other };
    case 'concat':
      return { ...base, op: 'concat', others };
    case 'upSampling2d':
      return { ...base, op: 'upSample', size: node.size, interpolation: node.interpolation };
    case 'add':
      return { ...base, op: 'add', other, activation, ...fakeQuant };
    case 'averagePool1d':
    case 'averagePool2d':
    case 'maxPool1d':
    case 'maxPool2d': {
      const { size: pool, strides, padding } = windowFields(node, inputShape);
      const op = node.op === 'maxPool1d' || node.op === 'maxPool2d' ? 'maxPool' : 'averagePool';
      return { ...base, op, pool, strides, padding };
    }
    case 'globalAveragePool1d':
    case 'globalAveragePool2d':
      return { ...base, op: 'globalAveragePool' };
    case 'zeroPad2d':
      return { ...base, op: 'pad', padding: [...node.padding[0], ...node.padding[1]] };
    case 'flatten':
    case 'reshape':
      return { ...base, op: 'reshape' };
    case 'dropout':
      return { ...base, op: 'dropout', rate: node.rate };
    case 'softmax':
      return { ...base, op: 'softmax' };
    case 'input':
      throw new PcqatError('ERR_INTERNAL', 'an input is no instruction', { where: `layer '${node.name}'` });
  }
}
