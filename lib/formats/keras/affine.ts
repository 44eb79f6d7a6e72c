import { elementCount } from '../../graph/shapes.js';
import { Refusal } from '../import/attempt.js';
import type { LayerReader, StoredWeight } from './layer.js';

/** x · scale + offset on the last axis: a Rescaling or Normalization layer on its way into the kernel of the layer that reads it. */
export interface Affine {
  /** The (last) layer that it comes from. */
  readonly layer: string;
  readonly className: string;
  readonly hasOffset: boolean;
  /** Entry `c % length` is that of channel c. */
  readonly read: () => { readonly scale: Float64Array; readonly offset: Float64Array };
}

/** What waits before the layer, if anything, then the layer. */
function composed(reader: LayerReader, hasOffset: boolean, read: Affine['read']): Affine {
  const { name: layer, className, value } = reader;
  const before = value.affine;
  if (before === undefined) return { layer, className, hasOffset, read };
  return {
    layer,
    className,
    hasOffset: hasOffset || before.hasOffset,
    read: () => {
      const [a, b] = [before.read(), read()];
      const length = Math.max(a.scale.length, b.scale.length);
      const at = (values: Float64Array, c: number): number => values[c % values.length] ?? 0;
      return {
        scale: Float64Array.from({ length }, (_, c) => at(a.scale, c) * at(b.scale, c)),
        offset: Float64Array.from({ length }, (_, c) => at(a.offset, c) * at(b.scale, c) + at(b.offset, c)),
      };
    },
  };
}

/** How the elements of a kernel relate to input channels and outputs: `[receptive field, channels, outputs per channel or filters]`. */
export interface KernelLayout {
  readonly channels: number;
  /** Size of the last axis. */
  readonly last: number;
  /** In a depthwise kernel every element belongs to one output of its channel. */
  readonly depthwise: boolean;
}

/**
 * A kernel and bias that compute from x what the stored ones compute from x · scale + offset. Exact where the layer pads nothing, or where
 * there is no offset.
 */
export function folded(
  affine: Affine,
  kernel: StoredWeight,
  bias: StoredWeight | undefined,
  layout: KernelLayout,
): { readonly kernel: StoredWeight; readonly bias?: StoredWeight } {
  const { channels, last, depthwise } = layout;
  const outputs = depthwise ? channels * last : last;
  const channelOf = (i: number): number => Math.floor(i / last) % channels;
  const scaled: StoredWeight = {
    shape: kernel.shape,
    read: () => {
      const { scale } = affine.read();
      return kernel.read().map((value, i) => value * (scale[channelOf(i) % scale.length] ?? 0));
    },
  };
  if (!affine.hasOffset) return bias === undefined ? { kernel: scaled } : { kernel: scaled, bias };
  const shifted = (): Float32Array => {
    const { offset } = affine.read();
    const sums = Float64Array.from(bias?.read() ?? new Float64Array(outputs));
    kernel.read().forEach((value, i) => {
      const output = depthwise ? i % outputs : i % last;
      sums[output] = (sums[output] ?? 0) + value * (offset[channelOf(i) % offset.length] ?? 0);
    });
    return Float32Array.from(sums);
  };
  return { kernel: scaled, bias: { shape: [outputs], read: shifted } };
}

/** Rescaling: x · scale + offset. */
export function rescaling(reader: LayerReader): Affine {
  const numbers = (key: string, fallback: number): Float64Array => {
    const value = reader.config.get(key);
    const list = Array.isArray(value) ? (value as unknown[]) : [reader.config.number(key, fallback)];
    const channels = reader.shapeOf(reader.value.node).at(-1);
    const fits = (list.length === 1 || list.length === channels) && list.every((element) => typeof element === 'number');
    if (!fits) throw new Refusal(`its ${key} is neither one number nor one per channel`, 'Apply it to the data instead.');
    return Float64Array.from(list);
  };
  const [scale, offset] = [numbers('scale', 1), numbers('offset', 0)];
  const read = (): { scale: Float64Array; offset: Float64Array } => {
    const length = Math.max(scale.length, offset.length);
    const spread = (values: Float64Array): Float64Array => Float64Array.from({ length }, (_, c) => values[c % values.length] ?? 0);
    return { scale: spread(scale), offset: spread(offset) };
  };
  return composed(
    reader,
    offset.some((value) => value !== 0),
    read,
  );
}

/** What Keras puts in place of a smaller standard deviation. */
const EPSILON = 1e-7;

/** Normalization over the last axis: (x − mean) / √variance. */
export function normalization(reader: LayerReader): Affine {
  const shape = reader.shapeOf(reader.value.node);
  const axis = reader.config.get('axis') ?? -1;
  const axes = Array.isArray(axis) ? (axis as unknown[]) : [axis];
  if (axes.length > 1 || !axes.every((value) => value === -1 || value === shape.length)) {
    throw new Refusal('it has another axis than the last', 'Apply it to the data instead.');
  }
  if (reader.config.flag('invert', false)) throw new Refusal('it is inverted', 'Apply it to the data instead.');
  const statistics = statisticsOf(reader, axes.length === 0 ? 1 : (shape.at(-1) ?? 1));
  const read = (): { scale: Float64Array; offset: Float64Array } => {
    const { mean, variance } = statistics();
    const scale = Float64Array.from(variance, (value) => 1 / Math.max(Math.sqrt(value), EPSILON));
    return { scale, offset: scale.map((value, c) => -value * (mean[c] ?? 0)) };
  };
  return composed(reader, true, read);
}

function statisticsOf(
  reader: LayerReader,
  channels: number,
): () => { readonly mean: readonly number[]; readonly variance: readonly number[] } {
  const fixed = (key: string): readonly number[] | undefined => {
    const value = reader.config.get(key);
    if (value === undefined) return undefined;
    const list = (Array.isArray(value) ? value.flat(4) : [value]) as unknown[];
    if ((list.length === 1 || list.length === channels) && list.every((element) => typeof element === 'number')) {
      return Array.from({ length: channels }, (_, c) => list[c % list.length] as number);
    }
    throw new Refusal(`its ${key} is not one number per channel`, 'Apply it to the data instead.');
  };
  const [mean, variance] = [fixed('mean'), fixed('variance')];
  if (mean !== undefined && variance !== undefined) return () => ({ mean, variance });
  const stored = reader.weights([['mean'], ['variance'], []]);
  for (const name of ['mean', 'variance']) {
    const size = elementCount(stored.get(name)?.shape ?? []);
    if (size !== channels) throw new Refusal(`its ${name} has ${size} values and not ${channels}`, 'Apply it to the data instead.');
  }
  return () => ({ mean: [...(stored.get('mean')?.read() ?? [])], variance: [...(stored.get('variance')?.read() ?? [])] });
}
