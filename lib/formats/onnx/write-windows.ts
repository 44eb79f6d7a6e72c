import type { Pair, Shape } from '../../graph/types.js';
import type { Padding4, Window } from '../../graph/windows.js';
import type { AttributeValue } from './encode.js';

/** Attributes of a sliding window over an image or, with one spatial axis, a sequence. */
export function windowAttributes(
  { size, strides, dilation }: Pick<Window, 'size' | 'strides' | 'dilation'>,
  padding: Padding4,
  spatial: number,
): Readonly<Record<'kernel_shape' | 'strides' | 'pads' | 'dilations', AttributeValue>> {
  const [top, bottom, left, right] = padding;
  const ints = (pair: Pair): AttributeValue => ({ ints: pair.slice(2 - spatial) });
  return {
    kernel_shape: ints(size),
    strides: ints(strides),
    pads: { ints: spatial === 1 ? [left, right] : [top, left, bottom, right] },
    dilations: ints(dilation),
  };
}

/** Attributes of a transposed convolution whose gradient's padding is `padding`. */
export function transposedAttributes(
  kernelSize: Pair,
  strides: Pair,
  input: Pair,
  output: Pair,
  padding: Padding4,
): Readonly<Record<string, AttributeValue>> {
  const [top, bottom, left, right] = padding;
  const extra = [0, 1].map((axis) => {
    const cut = axis === 0 ? top + bottom : left + right;
    return (output[axis] ?? 1) - (((input[axis] ?? 1) - 1) * (strides[axis] ?? 1) + (kernelSize[axis] ?? 1) - cut);
  });
  return {
    kernel_shape: { ints: kernelSize },
    strides: { ints: strides },
    pads: { ints: [top, left, bottom, right] },
    output_padding: { ints: extra },
  };
}

/** Height and width; of a sequence 1 and its length. */
export function sizeOf(shape: Shape): Pair {
  return shape.length === 2 ? [1, shape[0] ?? 1] : [shape[0] ?? 1, shape[1] ?? 1];
}
