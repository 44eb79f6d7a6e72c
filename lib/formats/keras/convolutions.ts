import type { Padding, Padding1d } from '../../graph/types.js';
import { Refusal } from '../import/attempt.js';
import { activate } from './activations.js';
import { folded } from './affine.js';
import { type LayerReader, type LayerValue, type NodeAttributes, type NodeWeights, type StoredWeight } from './layer.js';

const KERNEL = ['kernel', 'depthwise_kernel'];
const DEPTHWISE_KERNEL = ['depthwise_kernel', 'kernel'];

interface Weighted {
  readonly kernel: StoredWeight;
  readonly bias: StoredWeight | undefined;
}

/** Kernel and bias that a layer has stored. */
function stored(reader: LayerReader, names: readonly string[]): Weighted {
  const weights = reader.weights(reader.config.flag('use_bias', true) ? [names, ['bias']] : [names]);
  return { kernel: weights.get(names[0] ?? '') as StoredWeight, bias: weights.get('bias') };
}

/** An affine that waits before the layer goes into its weights. */
function withAffine(reader: LayerReader, { affine, node }: LayerValue, { kernel, bias }: Weighted, depthwise: boolean): NodeWeights {
  if (affine === undefined) return bias === undefined ? { kernel } : { kernel, bias };
  if (affine.hasOffset && reader.config.text('padding', 'valid') !== 'valid') {
    throw new Refusal(
      `it pads its input with zeros after '${affine.layer}' added to it`,
      `If the model starts with '${affine.layer}', import with input: '${affine.layer}' and apply it to the data.`,
    );
  }
  const channels = reader.shapeOf(node).at(-1) ?? 1;
  return folded(affine, kernel, bias, { channels, last: kernel.shape.at(-1) ?? 1, depthwise });
}

function padding2d(reader: LayerReader): Padding {
  const padding = reader.config.text('padding', 'valid').toLowerCase();
  if (padding === 'same' || padding === 'valid') return padding;
  throw new Refusal(`its padding is '${padding.slice(0, 100)}'`, "Use 'same' or 'valid'.");
}

function padding1d(reader: LayerReader): Padding1d {
  return reader.config.text('padding', 'valid') === 'causal' ? 'causal' : padding2d(reader);
}

/** Strides, padding and dilation, as attributes of nodes over images or over sequences. */
function window(reader: LayerReader, rank: 1 | 2): NodeAttributes {
  const { config } = reader;
  reader.requireChannelsLast();
  const attributes =
    rank === 1
      ? {
          kernelSize: config.single('kernel_size'),
          strides: config.single('strides', 1),
          padding: padding1d(reader),
          dilation: config.single('dilation_rate', 1),
        }
      : {
          kernelSize: config.pair('kernel_size'),
          strides: config.pair('strides', [1, 1]),
          padding: padding2d(reader),
          dilation: config.pair('dilation_rate', [1, 1]),
        };
  return attributes as unknown as NodeAttributes;
}

type Rank = 1 | 2;

/** Conv1D and Conv2D. With one group per channel it is a depthwise convolution, whose kernel has the same bytes. */
export function convolution(reader: LayerReader, rank: Rank): string {
  const { config, value } = reader;
  const filters = config.size('filters');
  const channels = reader.shapeOf(value.node).at(-1) ?? 1;
  const groups = config.number('groups', 1);
  const weights = stored(reader, KERNEL);
  if (groups !== 1 && groups !== channels) throw new Refusal(`it has ${groups} groups`, 'Use one group, or one per channel.');
  if (groups === 1) {
    const attributes = { ...window(reader, rank), op: rank === 1 ? 'conv1d' : 'conv2d', filters };
    return finish(reader, value, attributes, withAffine(reader, value, weights, false));
  }
  const depthMultiplier = filters / channels;
  const shape = [...weights.kernel.shape.slice(0, -2), channels, depthMultiplier];
  const kernel = weights.kernel.shape.at(-1) === filters ? { ...weights.kernel, shape } : weights.kernel;
  const attributes = { ...window(reader, rank), op: rank === 1 ? 'depthwiseConv1d' : 'depthwiseConv2d', depthMultiplier };
  return finish(reader, value, attributes, withAffine(reader, value, { ...weights, kernel }, true));
}

/** DepthwiseConv1D and DepthwiseConv2D. */
export function depthwise(reader: LayerReader, rank: Rank): string {
  const { value } = reader;
  if (reader.isTfjs && reader.config.pair('dilation_rate', [1, 1]).some((dilation) => dilation !== 1)) {
    throw new Refusal('tfjs ignores the dilation of this layer, Keras and pcqat do not', 'Import the Keras file.');
  }
  const depthMultiplier = reader.config.number('depth_multiplier', 1);
  const attributes = { ...window(reader, rank), op: rank === 1 ? 'depthwiseConv1d' : 'depthwiseConv2d', depthMultiplier };
  return finish(reader, value, attributes, withAffine(reader, value, stored(reader, DEPTHWISE_KERNEL), true));
}

/** SeparableConv1D and SeparableConv2D: a depthwise convolution, then a pointwise one with bias and activation. */
export function separable(reader: LayerReader, rank: Rank): string {
  const { config, value } = reader;
  const useBias = config.flag('use_bias', true);
  const weights = reader.weights([['depthwise_kernel'], ['pointwise_kernel'], ...(useBias ? [['bias']] : [])]);
  const first = withAffine(reader, value, { kernel: weights.get('depthwise_kernel') as StoredWeight, bias: undefined }, true);
  const depthMultiplier = config.number('depth_multiplier', 1);
  const op = rank === 1 ? 'depthwiseConv1d' : 'depthwiseConv2d';
  const middle = reader.add([value.node], { ...window(reader, rank), op, depthMultiplier, useBias: 'bias' in first } as NodeAttributes, {
    suffix: '_depthwise',
    weights: first,
  });
  const kernel = weights.get('pointwise_kernel') as StoredWeight;
  const bias = weights.get('bias');
  const one = rank === 1 ? 1 : [1, 1];
  const attributes = {
    op: rank === 1 ? 'conv1d' : 'conv2d',
    filters: config.size('filters'),
    kernelSize: one,
    strides: one,
    padding: 'valid',
    dilation: one,
  };
  return finish(reader, { node: middle }, attributes, bias === undefined ? { kernel } : { kernel, bias });
}

/** Conv2DTranspose. */
export function transposed(reader: LayerReader): string {
  const { config, value } = reader;
  reader.plain(value);
  reader.requireChannelsLast();
  if (config.get('output_padding') !== undefined) throw new Refusal('it has an output_padding', 'Use output_padding None.');
  const dilation = config.pair('dilation_rate', [1, 1]);
  if (dilation[0] !== 1 || dilation[1] !== 1) throw new Refusal('it is dilated', 'Use a dilation_rate of 1.');
  const { kernel, bias } = stored(reader, KERNEL);
  const attributes = {
    op: 'conv2dTranspose',
    filters: config.size('filters'),
    kernelSize: config.pair('kernel_size'),
    strides: config.pair('strides', [1, 1]),
    padding: padding2d(reader),
  };
  return finish(reader, value, attributes, bias === undefined ? { kernel } : { kernel, bias });
}

function finish(reader: LayerReader, { node }: LayerValue, attributes: object, weights: NodeWeights): string {
  const output = reader.add([node], { ...attributes, useBias: 'bias' in weights } as unknown as NodeAttributes, { weights });
  return activate(reader, output, reader.config.get('activation'));
}

/** Dense, which works on the last axis: a dense node on `[c]` and `[1, 1, c]`, a pointwise convolution on longer shapes. */
export function dense(reader: LayerReader): string {
  const { config, value } = reader;
  const units = config.size('units');
  const shape = reader.shapeOf(value.node);
  const channels = shape.at(-1) ?? 1;
  const { kernel, bias, ...rest } = withAffine(reader, value, stored(reader, ['kernel']), false) as Required<NodeWeights>;
  if (kernel === undefined) throw new Refusal('it has no kernel', 'Save the model again.');
  const weights = { kernel, ...(bias === undefined ? {} : { bias }), ...rest };
  const useBias = bias !== undefined;
  if (shape.length === 1) return finish(reader, value, { op: 'dense', units }, weights);
  if (shape.slice(0, -1).every((dimension) => dimension === 1)) {
    const flat = reader.add([value.node], { op: 'reshape', shape: [channels] }, { suffix: '_flat' });
    const product = reader.add([flat], { op: 'dense', units, useBias }, { weights });
    const output = reader.add([product], { op: 'reshape', shape: [...shape.slice(0, -1), units] }, { suffix: '_unflat' });
    return activate(reader, output, config.get('activation'));
  }
  if (shape.length > 3) throw new Refusal(`its input has the shape [${shape.join(', ')}]`, 'Flatten it before.');
  const one = shape.length === 2 ? 1 : [1, 1];
  const pointwise = { ...kernel, shape: [...(shape.length === 2 ? [1] : [1, 1]), ...kernel.shape] };
  const attributes = {
    op: shape.length === 2 ? 'conv1d' : 'conv2d',
    filters: units,
    kernelSize: one,
    strides: one,
    padding: 'valid',
    dilation: one,
  };
  return finish(reader, value, attributes, { ...weights, kernel: pointwise });
}

/** BatchNormalization over the last axis. */
export function batchNorm(reader: LayerReader): string {
  const { config, input } = reader;
  const axis = config.get('axis') ?? -1;
  const axes = Array.isArray(axis) ? (axis as unknown[]) : [axis];
  const rank = reader.shapeOf(input).length;
  if (axes.length !== 1 || (axes[0] !== -1 && axes[0] !== rank)) throw new Refusal('its axis is not the last', 'Use axis -1.');
  if (config.flag('renorm', false)) throw new Refusal('it is a batch renormalization', 'Use renorm=False.');
  const names = [
    ...(config.flag('scale', true) ? ['gamma'] : []),
    ...(config.flag('center', true) ? ['beta'] : []),
    'moving_mean',
    'moving_variance',
  ];
  const weights = reader.weights(names.map((name) => [name]));
  const attributes = { momentum: config.number('momentum', 0.99), epsilon: config.number('epsilon', 1e-3) };
  return reader.add([input], { op: 'batchNorm', ...attributes }, { weights: Object.fromEntries(weights) });
}
