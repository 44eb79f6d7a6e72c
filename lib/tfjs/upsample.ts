import type { UpSampling2dNode } from '../graph/types.js';
import type { Tfjs, TfTensor } from './tfjs.js';

/** Interpolation of one axis of `size` pixels to `size · factor` between half-pixel centres, as a matrix `[out, in]`; f32 as in TF. */
function bilinearMatrix(tf: Tfjs, size: number, factor: number): TfTensor {
  const f = Math.fround;
  const scale = f(size / (size * factor));
  const weights = new Float32Array(size * factor * size);
  for (let out = 0; out < size * factor; out++) {
    const center = f(f(f(out + 0.5) * scale) - 0.5);
    const below = Math.floor(center);
    const upper = f(center - below);
    const add = (position: number, weight: number): void => {
      const at = out * size + Math.min(Math.max(position, 0), size - 1);
      weights[at] = (weights[at] ?? 0) + weight;
    };
    add(below, f(1 - upper));
    add(Math.ceil(center), upper);
  }
  return tf.tensor(weights, [size * factor, size]);
}

/** `matrix · x` over axis 1 or 2 of `[batch, height, width, channels]`. */
function resizeAxis(tf: Tfjs, x: TfTensor, axis: 1 | 2, matrix: TfTensor): TfTensor {
  const order = axis === 1 ? [1, 0, 2, 3] : [2, 1, 0, 3]; // its own inverse
  const swapped = tf.transpose(x, order);
  const [size = 1, ...rest] = swapped.shape;
  const resized = tf.matMul(matrix, tf.reshape(swapped, [size, x.size / size]));
  return tf.transpose(tf.reshape(resized, [matrix.shape[0] ?? 1, ...rest]), order);
}

/** Copies each slice of an axis `factor` times. */
function repeatAxis(tf: Tfjs, x: TfTensor, axis: 1 | 2, factor: number): TfTensor {
  const shape = [...x.shape];
  const outer = shape.slice(0, axis + 1).reduce((product, size) => product * size, 1);
  shape[axis] = (shape[axis] ?? 1) * factor;
  return tf.reshape(tf.tile(tf.reshape(x, [outer, 1, x.size / outer]), [1, factor, 1]), shape);
}

/** By matrices and copies: the resize operators of tfjs lack the gradient between half-pixel centres. */
export function upSample(tf: Tfjs, { size, interpolation }: UpSampling2dNode, x: TfTensor): TfTensor {
  const [, height = 1, width = 1] = x.shape;
  if (interpolation === 'nearest') return repeatAxis(tf, repeatAxis(tf, x, 1, size[0]), 2, size[1]);
  const rows = resizeAxis(tf, x, 1, bilinearMatrix(tf, height, size[0]));
  return resizeAxis(tf, rows, 2, bilinearMatrix(tf, width, size[1]));
}
