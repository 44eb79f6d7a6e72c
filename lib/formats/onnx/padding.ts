import type { Pair, Padding } from '../../graph/types.js';
import { windowGeometry } from '../../graph/windows.js';
import { type ImportContext, integer, refuse, string } from './context.js';
import type { OnnxNode } from './types.js';

/** `[[top, bottom], [left, right]]`. */
export type Borders = readonly [Pair, Pair];

/** A sliding window of the file over two axes; a sequence is an image of height 1. */
export interface FileWindow {
  readonly kernel: Pair;
  readonly strides: Pair;
  readonly dilations: Pair;
  readonly borders: Borders;
  /** The last of these zeros are there only because of `ceil_mode`. */
  readonly ceilBorders: Pair;
}

const REMEDY = 'Export the model with two-dimensional windows.';

/** A list of one number per spatial axis as `[height, width]`. */
function pairOf(node: OnnxNode, attribute: string, spatial: number, fallback?: readonly number[]): Pair {
  const ints = node.attributes.get(attribute)?.ints;
  const list = ints === undefined || ints.length === 0 ? (fallback ?? [1, 1].slice(0, spatial)) : ints;
  if (list.length !== spatial || list.some((value) => value < 1)) return refuse(`its ${attribute} are [${list.join(', ')}]`, REMEDY);
  const [first = 1, second = 1] = list;
  return spatial === 1 ? [1, first] : [first, second];
}

/**
 * The window of a convolution or pool.
 *
 * @param spatial - number of the file's spatial axes, 1 or 2
 * @param size - of the input, `[height, width]`
 * @param kernel - of the weights, where the attribute is left out
 */
export function fileWindow(node: OnnxNode, spatial: number, size: Pair, kernel?: readonly number[]): FileWindow {
  const window = pairOf(node, 'kernel_shape', spatial, kernel);
  if (kernel !== undefined && kernel.some((value, i) => value !== (spatial === 1 ? window[1] : window[i])))
    refuse(`its kernel_shape is not that of its weights`, 'The file is damaged.');
  const strides = pairOf(node, 'strides', spatial);
  const dilations = pairOf(node, 'dilations', spatial);
  const automatic = string(node, 'auto_pad', 'NOTSET');
  if (!['NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'].includes(automatic)) refuse(`its auto_pad is '${automatic}'`, 'Use explicit pads.');
  const pads = automatic === 'NOTSET' ? (node.attributes.get('pads')?.ints ?? []) : [];
  if (![0, 2 * spatial].includes(pads.length)) refuse(`its pads are [${pads.join(', ')}]`, REMEDY);
  if (pads.some((pad) => pad < 0)) refuse('it has negative pads', 'Cut the image before it enters the model.');
  const borders = [0, 1].map((axis): Pair => {
    const own = axis - 2 + spatial; // a sequence has only the second
    if (own < 0) return [0, 0];
    if (automatic.startsWith('SAME')) return sameBorders(size[axis] ?? 1, axis, automatic === 'SAME_LOWER');
    return [pads[own] ?? 0, pads[own + spatial] ?? 0];
  }) as unknown as Borders;
  const isCeiled = integer(node, 'ceil_mode', 0) === 1 && !automatic.startsWith('SAME');
  const ceilBorders = [0, 1].map((axis) => (isCeiled ? ceilBorder(axis) : 0)) as unknown as Pair;
  return { kernel: window, strides, dilations, borders, ceilBorders };

  function sameBorders(length: number, axis: number, isLower: boolean): Pair {
    const stride = strides[axis] ?? 1;
    const total = Math.max((Math.ceil(length / stride) - 1) * stride + extent(axis) - length, 0);
    const [small, large] = [Math.floor(total / 2), Math.ceil(total / 2)];
    return isLower ? [large, small] : [small, large];
  }

  function extent(axis: number): number {
    return ((window[axis] ?? 1) - 1) * (dilations[axis] ?? 1) + 1;
  }

  /** Further zeros at the end that make `ceil` of the output size; a window that would begin in them is none. */
  function ceilBorder(axis: number): number {
    const [before, after] = borders[axis] ?? [0, 0];
    const [length, stride] = [size[axis] ?? 1, strides[axis] ?? 1];
    let last = Math.ceil((length + before + after - extent(axis)) / stride) * stride;
    if (last >= length + before) last -= stride;
    return Math.max(last + extent(axis) - length - before - after, 0);
  }
}

/** The borders with those of `ceil_mode`. */
export function allBorders({ borders, ceilBorders }: FileWindow): Borders {
  return [
    [borders[0][0], borders[0][1] + ceilBorders[0]],
    [borders[1][0], borders[1][1] + ceilBorders[1]],
  ];
}

export function isZero(borders: Borders): boolean {
  return borders.every(([before, after]) => before === 0 && after === 0);
}

/** TensorFlow's padding that does the same as these zeros, or undefined. */
export function paddingOf(size: Pair, { kernel, strides, dilations }: FileWindow, borders: Borders): Padding | undefined {
  if (isZero(borders)) return 'valid';
  const same = windowGeometry(size, kernel, strides, dilations, 'same').padding;
  return borders.flat().every((border, i) => border === same[i]) ? 'same' : undefined;
}

/** Zeros around an image as a node of their own. */
export function padded(context: ImportContext, name: string, input: string, borders: Borders): string {
  if (isZero(borders)) return input;
  return context.add({ op: 'zeroPad2d', name, inputs: [input], padding: borders });
}
