import { PcqatError } from '../errors.js';
import type { Shape } from '../graph/types.js';
import { sameOrder } from './rows.js';

const channelsLast = ([channels = 1, ...place]: Shape): Shape => [...place, channels];

/** How a file's input lies in memory, and the example's shape with channels last. */
export interface InputLayout {
  readonly file: Shape;
  readonly example: Shape;
  /** The file has channels first, so that examples must be transposed. */
  readonly transpose: boolean;
}

/**
 * Finds the layout of a file's input. A dimension that is no number is open.
 *
 * @param dimensions - as the file says, without the batch
 * @param example - shape of the data's examples, channels last
 * @throws PcqatError `ERR_SHAPE` where the example does not fit, or dimensions are open and there is no example
 */
export function inputLayout(dimensions: readonly (number | string | null)[], example: Shape | undefined, where: string): InputLayout {
  const shown = `[${dimensions.map((dimension) => (typeof dimension === 'number' && dimension > 0 ? dimension : '?')).join(', ')}]`;
  const filled = (shape: Shape): Shape | undefined =>
    shape.length === dimensions.length && shape.every((length, axis) => !isSize(dimensions[axis]) || dimensions[axis] === length)
      ? shape
      : undefined;
  const isImage = dimensions.length >= 2;
  if (example === undefined) {
    if (!dimensions.every(isSize)) {
      throw new PcqatError('ERR_SHAPE', `the file leaves dimensions of its input ${shown} open`, {
        where,
        remedy: 'Say what shape an example has (`exampleShape`).',
      });
    }
    const file = dimensions.map(Number);
    return isImage ? { file, example: channelsLast(file), transpose: true } : { file, example: file, transpose: false };
  }
  const first = [example.at(-1) ?? 1, ...example.slice(0, -1)];
  if (isImage && filled(first)) return { file: first, example, transpose: true };
  if (filled(example)) return { file: example, example, transpose: false };
  // The same numbers in the same order.
  const sizes = dimensions.filter(isSize);
  if (sizes.length === dimensions.length && sameOrder(sizes, example)) return { file: sizes, example: sizes, transpose: false };
  throw new PcqatError('ERR_SHAPE', `examples are [${example.join(', ')}] but the file's input is ${shown}`, { where });
}

const isSize = (dimension: number | string | null | undefined): dimension is number => typeof dimension === 'number' && dimension > 0;

/** Rows with channels last, as rows with channels first. */
export function toChannelsFirst(x: Float32Array, example: Shape): Float32Array {
  const channels = example.at(-1) ?? 1;
  const places = example.slice(0, -1).reduce((product, length) => product * length, 1);
  if (channels === 1 || places === 1) return x;
  const result = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += places * channels) {
    for (let place = 0; place < places; place++) {
      for (let channel = 0; channel < channels; channel++) {
        result[start + channel * places + place] = x[start + place * channels + channel] ?? 0;
      }
    }
  }
  return result;
}
