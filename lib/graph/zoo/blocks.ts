import type { GraphBuilder, PairLike, Value } from '../builder.js';
import type { Padding } from '../types.js';

type Activation = 'relu' | 'relu6';

/** Convolution, batch normalization and activation: layers `<name>`, `<name>_bn`, `<name>_relu`. No bias, the norm has one. */
export function convBlock(
  g: GraphBuilder,
  x: Value,
  options: { name: string; filters: number; kernelSize: PairLike; strides?: PairLike; padding?: Padding; activation?: Activation },
): Value {
  const { name, filters, kernelSize, strides = 1, padding = 'same', activation = 'relu' } = options;
  const y = g.batchNorm(g.conv2d(x, { name, filters, kernelSize, strides, padding, useBias: false }), { name: `${name}_bn` });
  return g[activation](y, { name: `${name}_relu` });
}

/** Depthwise 3×3 and pointwise convolution, each with batch normalization and activation: layers `<name>_dw…`, `<name>_pw…`. */
export function separableBlock(
  g: GraphBuilder,
  x: Value,
  options: { name: string; filters: number; strides?: PairLike; activation?: Activation },
): Value {
  const { name, filters, strides = 1, activation = 'relu' } = options;
  const depthwise = g.depthwiseConv2d(x, { name: `${name}_dw`, kernelSize: 3, strides, padding: 'same', useBias: false });
  const y = g[activation](g.batchNorm(depthwise, { name: `${name}_dw_bn` }), { name: `${name}_dw_relu` });
  return convBlock(g, y, { name: `${name}_pw`, filters, kernelSize: 1, activation });
}
