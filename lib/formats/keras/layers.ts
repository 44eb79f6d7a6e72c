import { Refusal } from '../import/attempt.js';
import { activate, activationLayer } from './activations.js';
import { normalization, rescaling } from './affine.js';
import { batchNorm, convolution, dense, depthwise, separable, transposed } from './convolutions.js';
import { type LayerReader, type LayerValue } from './layer.js';
import { add, concatenate, flatten, globalPool, multiply, pool, reshape, upSampling, zeroPadding } from './shapes.js';

const same = (reader: LayerReader): string => reader.input;

/** Every class of layers that can be taken: adds its nodes and returns the last. */
const LAYERS: ReadonlyMap<string, (reader: LayerReader) => string> = new Map<string, (reader: LayerReader) => string>([
  ['Conv1D', (reader) => convolution(reader, 1)],
  ['Conv2D', (reader) => convolution(reader, 2)],
  ['Convolution2D', (reader) => convolution(reader, 2)],
  ['Conv2DTranspose', transposed],
  ['DepthwiseConv1D', (reader) => depthwise(reader, 1)],
  ['DepthwiseConv2D', (reader) => depthwise(reader, 2)],
  ['SeparableConv1D', (reader) => separable(reader, 1)],
  ['SeparableConv2D', (reader) => separable(reader, 2)],
  ['Dense', dense],
  ['BatchNormalization', batchNorm],
  ['BatchNormalizationV1', batchNorm],
  ['BatchNormalizationV2', batchNorm],
  ['Activation', (reader) => activate(reader, reader.input, reader.config.get('activation'), true)],
  ['ReLU', (reader) => activationLayer(reader, reader.input, 'ReLU', reader.config)],
  ['LeakyReLU', (reader) => activationLayer(reader, reader.input, 'LeakyReLU', reader.config)],
  ['Softmax', (reader) => activationLayer(reader, reader.input, 'Softmax', reader.config)],
  ['Add', add],
  ['Multiply', multiply],
  ['Concatenate', concatenate],
  ['AveragePooling1D', (reader) => pool(reader, 'averagePool1d')],
  ['AveragePooling2D', (reader) => pool(reader, 'averagePool2d')],
  ['MaxPooling1D', (reader) => pool(reader, 'maxPool1d')],
  ['MaxPooling2D', (reader) => pool(reader, 'maxPool2d')],
  ['GlobalAveragePooling1D', (reader) => globalPool(reader, 'average', 1)],
  ['GlobalAveragePooling2D', (reader) => globalPool(reader, 'average', 2)],
  ['GlobalMaxPooling1D', (reader) => globalPool(reader, 'max', 1)],
  ['GlobalMaxPooling2D', (reader) => globalPool(reader, 'max', 2)],
  ['UpSampling2D', upSampling],
  ['ZeroPadding2D', zeroPadding],
  ['Flatten', flatten],
  ['Reshape', reshape],
  ['Dropout', (reader) => reader.add([reader.input], { op: 'dropout', rate: reader.config.number('rate', 0) })],
  ['ActivityRegularization', same], // a loss in training, like the regularizers of weights, which are not kept either
]);

/** What to do about layers that people often have. */
const REMEDIES: ReadonlyMap<string, string> = new Map([
  ...['SpatialDropout1D', 'SpatialDropout2D', 'GaussianNoise', 'GaussianDropout', 'AlphaDropout'].map((name): [string, string] => [
    name,
    'It does nothing at inference: build the model without it, or with Dropout, and copy the weights.',
  ]),
  ...['GRU', 'LSTM', 'SimpleRNN', 'Bidirectional', 'Embedding'].map((name): [string, string] => [name, 'Use convolutions.']),
  ...['Lambda', 'TFOpLambda', 'SlicingOpLambda', 'TensorFlowOpLayer'].map((name): [string, string] => [
    name,
    'Use layers instead of functions.',
  ]),
]);

/** The value of a layer, whose nodes are added. */
export function readLayer(reader: LayerReader): LayerValue {
  if (reader.className === 'Rescaling') return { node: reader.value.node, affine: rescaling(reader) };
  if (reader.className === 'Normalization') return { node: reader.value.node, affine: normalization(reader) };
  const read = LAYERS.get(reader.className);
  if (read !== undefined) return { node: read(reader) };
  throw new Refusal(
    'there is no such layer in pcqat',
    REMEDIES.get(reader.className) ?? 'Replace it, or cut the model before it with output.',
  );
}
