import { elementCount } from '../../graph/shapes.js';
import type { Pair, Shape } from '../../graph/types.js';
import { Refusal } from '../import/attempt.js';
import { asValueAndFactor, type LayerReader, type NodeAttributes } from './layer.js';

/** AveragePooling1D and so on: `op` is the node's. */
export function pool(reader: LayerReader, op: 'averagePool1d' | 'maxPool1d' | 'averagePool2d' | 'maxPool2d'): string {
  const { config, input } = reader;
  reader.requireChannelsLast();
  const padding = config.text('padding', 'valid').toLowerCase();
  if (padding !== 'same' && padding !== 'valid') throw new Refusal(`its padding is '${padding.slice(0, 100)}'`, "Use 'same' or 'valid'.");
  if (op === 'averagePool1d' || op === 'maxPool1d') {
    const poolSize = config.single('pool_size', 2);
    return reader.add([input], { op, poolSize, strides: config.single('strides', poolSize), padding });
  }
  const poolSize = config.pair('pool_size', [2, 2]);
  return reader.add([input], { op, poolSize, strides: config.pair('strides', poolSize), padding });
}

/** Global pooling, by mean or maximum, over one or two axes. */
export function globalPool(reader: LayerReader, kind: 'average' | 'max', axes: 1 | 2): string {
  const { config, input } = reader;
  reader.requireChannelsLast();
  const shape = reader.shapeOf(input);
  const channels = shape.at(-1) ?? 1;
  const kept = [...(axes === 1 ? [1] : [1, 1]), channels];
  const keeps = config.flag('keepdims', false);
  if (kind === 'average') {
    const mean = reader.add([input], { op: axes === 1 ? 'globalAveragePool1d' : 'globalAveragePool2d' });
    return keeps ? reader.add([mean], { op: 'reshape', shape: kept }, { suffix: '_keepdims' }) : mean;
  }
  const maximum = reader.add([input], maxOverAll(shape, axes));
  return keeps ? maximum : reader.add([maximum], { op: 'reshape', shape: [channels] }, { suffix: '_flat' });
}

function maxOverAll(shape: Shape, axes: 1 | 2): NodeAttributes {
  const [height = 1, width = 1] = shape;
  if (axes === 1) return { op: 'maxPool1d', poolSize: height, strides: height, padding: 'valid' };
  return { op: 'maxPool2d', poolSize: [height, width], strides: [height, width], padding: 'valid' };
}

/** UpSampling2D. */
export function upSampling(reader: LayerReader): string {
  const { config, input } = reader;
  reader.requireChannelsLast();
  const interpolation = config.text('interpolation', 'nearest');
  if (interpolation !== 'nearest' && interpolation !== 'bilinear') {
    throw new Refusal(`its interpolation is '${interpolation.slice(0, 100)}'`, "Use 'nearest' or 'bilinear'.");
  }
  if (interpolation === 'bilinear' && reader.isTfjs) {
    throw new Refusal(
      'tfjs interpolates from the corners of pixels, pcqat and Keras from their centres',
      "Use interpolation 'nearest', or import the Keras file.",
    );
  }
  return reader.add([input], { op: 'upSampling2d', size: config.pair('size', [2, 2]), interpolation });
}

/** ZeroPadding2D. */
export function zeroPadding(reader: LayerReader): string {
  const { config, input } = reader;
  reader.requireChannelsLast();
  const value = config.get('padding') ?? 1;
  const [vertical, horizontal] = Array.isArray(value) ? (value as unknown[]) : [value, value];
  const padding = [vertical, horizontal].map((side) => (Array.isArray(side) ? (side as unknown[]) : [side, side]));
  return reader.add([input], { op: 'zeroPad2d', padding: padding as unknown as readonly [Pair, Pair] });
}

/** Flatten; of a vector it is nothing. */
export function flatten(reader: LayerReader): string {
  reader.requireChannelsLast();
  return reader.shapeOf(reader.input).length === 1 ? reader.input : reader.add([reader.input], { op: 'flatten' });
}

/** Reshape; one dimension may be -1. */
export function reshape(reader: LayerReader): string {
  const target = reader.config.get('target_shape');
  const elements = elementCount(reader.shapeOf(reader.input));
  const list = (Array.isArray(target) ? (target as unknown[]) : [target]) as number[];
  const known = list.filter((dimension) => dimension !== -1).reduce((product, dimension) => product * dimension, 1);
  const shape = list.map((dimension) => (dimension === -1 ? elements / known : dimension));
  if (shape.length < 1 || shape.length > 4)
    throw new Refusal(`its target has ${shape.length} dimensions`, 'Use one to four, the batch apart.');
  return reader.add([reader.input], { op: 'reshape', shape });
}

/** Add of two values or more. */
export function add(reader: LayerReader): string {
  const [first = '', ...others] = several(reader);
  const shape = reader.shapeOf(first).join(', ');
  if (others.some((other) => reader.shapeOf(other).join(', ') !== shape)) {
    throw new Refusal('it adds values of different shapes', 'Bring them to one shape before.');
  }
  const last = others.length - 1;
  return others.reduce((sum, other, i) => reader.add([sum, other], { op: 'add' }, { suffix: i === last ? '' : `_${i + 1}` }), first);
}

/** Multiply of two values or more; a factor may be one per channel. */
export function multiply(reader: LayerReader): string {
  const [first = '', ...others] = several(reader);
  const last = others.length - 1;
  return others.reduce((product, other, i) => {
    const pair = asValueAndFactor(reader, product, other);
    if (pair === undefined)
      throw new Refusal('it multiplies values of different shapes', 'Bring them to one shape, or to one factor per channel.');
    return reader.add(pair, { op: 'multiply' }, { suffix: i === last ? '' : `_${i + 1}` });
  }, first);
}

/** Concatenate on the last axis. */
export function concatenate(reader: LayerReader): string {
  const inputs = several(reader);
  const axis = reader.config.number('axis', -1);
  const rank = reader.shapeOf(inputs[0] ?? '').length;
  if (axis !== -1 && axis !== rank) throw new Refusal(`its axis is ${axis}`, 'Only the last axis can be concatenated.');
  return reader.add(inputs, { op: 'concat' });
}

function several(reader: LayerReader): readonly string[] {
  if (reader.inputs.length < 2) throw new Refusal('it has fewer than two inputs', 'Leave it out.');
  return reader.inputs.map((value) => reader.plain(value));
}
