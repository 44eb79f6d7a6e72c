import type { Tensor } from '../../graph/model.js';
import type { GraphNode, Pair, Padding1d, Shape } from '../../graph/types.js';
import { windowGeometry } from '../../graph/windows.js';
import type { UnsupportedNode } from '../import/types.js';

/** A layer as tfjs' config has it. */
export interface EncodedLayer {
  readonly class_name: string;
  readonly config: Readonly<Record<string, unknown>> & { readonly name: string };
  readonly name: string;
  readonly inbound_nodes: readonly (readonly (readonly [string, 0, 0, object])[])[];
}

/** A layer's array: its name in tfjs, after the layer's, and where it comes from. */
export interface EncodedWeight {
  readonly name: string;
  /** Parameter name in the model. */
  readonly parameter: string;
  readonly shape: Shape;
}

/** Layers, and the arrays of those that have any, in order. */
export interface EncodedNode {
  readonly layers: readonly EncodedLayer[];
  readonly weights: readonly EncodedWeight[];
}

type Config = Readonly<Record<string, unknown>>;

/** What encoding a node needs to know of the graph. */
export interface EncodeContext {
  readonly shapes: ReadonlyMap<string, Shape>;
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** A name that no layer has yet. */
  readonly fresh: (name: string) => string;
}

/** tfjs' name of a kernel, where it is not `kernel`. */
const DEPTHWISE = { kernel: 'depthwise_kernel' };

/** The layers that a node becomes; the last one has the node's name. Or why there are none. */
export function encodeNode(node: GraphNode, context: EncodeContext): EncodedNode | UnsupportedNode {
  const one = (className: string, config: Config, names: Readonly<Record<string, string>> = {}): EncodedNode => ({
    layers: [layer(className, node.name, node.inputs, config)],
    weights: weightsOf(node, context, node.name, names),
  });
  switch (node.op) {
    case 'input':
      return one('InputLayer', { batch_input_shape: [null, ...node.shape], dtype: 'float32', sparse: false });
    case 'conv2d':
      return one('Conv2D', { filters: node.filters, ...window2d(node), use_bias: node.useBias, ...LINEAR });
    case 'depthwiseConv2d':
      if (node.dilation.some((dilation) => dilation !== 1)) return unsupported(node, ...DILATED);
      return one(
        'DepthwiseConv2D',
        { depth_multiplier: node.depthMultiplier, ...window2d(node), use_bias: node.useBias, ...LINEAR },
        DEPTHWISE,
      );
    case 'conv1d':
      // tfjs' Conv1D has no causal padding.
      if (node.padding === 'causal') return asImage(node, context, 'Conv2D', { filters: node.filters }, {});
      return one('Conv1D', {
        filters: node.filters,
        kernel_size: [node.kernelSize],
        strides: [node.strides],
        padding: node.padding,
        dilation_rate: [node.dilation],
        data_format: 'channels_last',
        use_bias: node.useBias,
        ...LINEAR,
      });
    case 'depthwiseConv1d':
      if (node.dilation !== 1) return unsupported(node, ...DILATED);
      return asImage(node, context, 'DepthwiseConv2D', { depth_multiplier: node.depthMultiplier }, DEPTHWISE);
    case 'conv2dTranspose': {
      const { filters, kernelSize, strides, padding, useBias } = node;
      const config = { filters, kernel_size: kernelSize, strides, padding, use_bias: useBias, data_format: 'channels_last' };
      return one('Conv2DTranspose', { ...config, ...LINEAR });
    }
    case 'dense':
      return one('Dense', { units: node.units, use_bias: node.useBias, ...LINEAR });
    case 'batchNorm':
      return one('BatchNormalization', { axis: -1, momentum: node.momentum, epsilon: node.epsilon, center: true, scale: true });
    case 'relu':
      return one('ReLU', { max_value: null });
    case 'relu6':
      return one('ReLU', { max_value: 6 });
    case 'sigmoid':
    case 'tanh':
      return one('Activation', { activation: node.op });
    case 'leakyRelu':
      return one('LeakyReLU', { alpha: node.alpha });
    case 'softmax':
      return one('Softmax', { axis: -1 });
    case 'hardSwish':
      return unsupported(node, 'tfjs-layers has no such activation', 'Use relu6 instead, or export ONNX or TFLite.');
    case 'add':
      return one('Add', {});
    case 'multiply':
      return one('Multiply', {});
    case 'concat':
      return one('Concatenate', { axis: -1 });
    case 'averagePool1d':
    case 'maxPool1d': {
      const config = { pool_size: [node.poolSize], strides: [node.strides], padding: node.padding, data_format: 'channels_last' };
      return one(node.op === 'maxPool1d' ? 'MaxPooling1D' : 'AveragePooling1D', config);
    }
    case 'averagePool2d':
    case 'maxPool2d': {
      const config = { pool_size: node.poolSize, strides: node.strides, padding: node.padding, data_format: 'channels_last' };
      return one(node.op === 'maxPool2d' ? 'MaxPooling2D' : 'AveragePooling2D', config);
    }
    case 'globalAveragePool1d':
      return one('GlobalAveragePooling1D', {});
    case 'globalAveragePool2d':
      return one('GlobalAveragePooling2D', { data_format: 'channels_last' });
    case 'upSampling2d':
      if (node.interpolation === 'bilinear') {
        return unsupported(node, 'tfjs interpolates from the corners of pixels, not from their centres', "Use interpolation 'nearest'.");
      }
      return one('UpSampling2D', { size: node.size, data_format: 'channels_last', interpolation: 'nearest' });
    case 'zeroPad2d':
      return one('ZeroPadding2D', { padding: node.padding, data_format: 'channels_last' });
    case 'flatten':
      return one('Flatten', {});
    case 'reshape':
      return one('Reshape', { target_shape: node.shape });
    case 'dropout':
      return one('Dropout', { rate: node.rate, noise_shape: null, seed: null });
  }
}

const LINEAR = { activation: 'linear' };
const DILATED = ["tfjs-layers' DepthwiseConv2D ignores its dilation", 'Use a larger kernel without dilation.'] as const;

function unsupported(node: GraphNode, reason: string, remedy: string): UnsupportedNode {
  return { name: node.name, op: node.op, reason, remedy };
}

function layer(className: string, name: string, inputs: readonly string[], config: Config): EncodedLayer {
  return {
    class_name: className,
    config: { name, trainable: true, ...config },
    name,
    inbound_nodes: inputs.length === 0 ? [] : [inputs.map((input) => [input, 0, 0, {}] as const)],
  };
}

function window2d(node: { readonly kernelSize: Pair; readonly strides: Pair; readonly padding: string; readonly dilation: Pair }): Config {
  const { kernelSize, strides, padding, dilation } = node;
  return { kernel_size: kernelSize, strides, padding, dilation_rate: dilation, data_format: 'channels_last' };
}

function weightsOf(
  node: GraphNode,
  { tensors }: EncodeContext,
  layerName: string,
  names: Readonly<Record<string, string>>,
  image = false,
): EncodedWeight[] {
  return ['kernel', 'bias', 'gamma', 'beta', 'moving_mean', 'moving_variance'].flatMap((short) => {
    const parameter = `${node.name}/${short}`;
    const tensor = tensors.get(parameter);
    if (tensor === undefined) return [];
    const shape = image && short === 'kernel' ? [1, ...tensor.shape] : tensor.shape;
    return [{ name: `${layerName}/${Object.hasOwn(names, short) ? names[short] : short}`, parameter, shape }];
  });
}

interface Sequence {
  readonly kernelSize: number;
  readonly strides: number;
  readonly padding: Padding1d;
  readonly dilation: number;
  readonly useBias: boolean;
}

/** A layer that tfjs has for images only, on an image of height 1, with causal padding as zeros before it. */
function asImage(
  node: Extract<GraphNode, { op: 'conv1d' | 'depthwiseConv1d' }>,
  context: EncodeContext,
  className: string,
  config: Config,
  names: Readonly<Record<string, string>>,
): EncodedNode {
  const { kernelSize, strides, padding, dilation, useBias }: Sequence = node;
  const [input = ''] = node.inputs;
  const [length = 1, channels = 1] = context.shapes.get(input) ?? [];
  const image = layer('Reshape', context.fresh(`${node.name}_image`), [input], { target_shape: [1, length, channels] });
  const layers = [image];
  if (padding === 'causal') {
    const { padding: sides } = windowGeometry([1, length], [1, kernelSize], [1, strides], [1, dilation], padding);
    const config = {
      padding: [
        [0, 0],
        [sides[2], sides[3]],
      ],
      data_format: 'channels_last',
    };
    layers.push(layer('ZeroPadding2D', context.fresh(`${node.name}_causal`), [image.name], config));
  }
  const window = {
    kernel_size: [1, kernelSize],
    // tfjs' depthwise convolution wants one stride for both axes; along a height of 1 it says nothing.
    strides: [strides, strides],
    padding: padding === 'causal' ? 'valid' : padding,
    dilation_rate: dilation === 1 ? [1, 1] : [dilation, dilation],
    data_format: 'channels_last',
  };
  const name = context.fresh(`${node.name}_conv`);
  const before = layers.at(-1) as EncodedLayer;
  layers.push(layer(className, name, [before.name], { ...config, ...window, use_bias: useBias, ...LINEAR }));
  const shape = context.shapes.get(node.name) ?? [];
  layers.push(layer('Reshape', node.name, [name], { target_shape: shape }));
  return { layers, weights: weightsOf(node, context, name, names, true) };
}
