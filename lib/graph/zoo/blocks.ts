import type { GraphBuilder, PairLike, Value } from '../builder.js';

/** What the convolution blocks share. */
export interface BlockOptions {
  readonly name: string;
  readonly filters: number;
  readonly strides?: PairLike;
  /** Default `relu`. */
  readonly activation?: 'relu' | 'relu6';
  /** Of batch normalization. Default 0.99. */
  readonly momentum?: number;
}

/** Normalization and activation after the convolution `name`: layers `<name>_bn` and `<name>_relu`. */
function normalize(g: GraphBuilder, x: Value, { name, activation = 'relu', momentum = 0.99 }: Omit<BlockOptions, 'filters'>): Value {
  return g[activation](g.batchNorm(x, { name: `${name}_bn`, momentum }), { name: `${name}_relu` });
}

/** SAME convolution, batch normalization and activation. No bias: the normalization has one. */
export function convBlock(g: GraphBuilder, x: Value, options: BlockOptions & { readonly kernelSize: PairLike }): Value {
  const { name, filters, kernelSize, strides = 1 } = options;
  return normalize(g, g.conv2d(x, { name, filters, kernelSize, strides, padding: 'same', useBias: false }), options);
}

/** Depthwise 3×3 and pointwise convolution, each with batch normalization and activation: layers `<name>_dw…`, `<name>_pw…`. */
export function separableBlock(g: GraphBuilder, x: Value, options: BlockOptions): Value {
  const { strides = 1 } = options;
  const depthwise = { ...options, name: `${options.name}_dw` };
  const y = g.depthwiseConv2d(x, { name: depthwise.name, kernelSize: 3, strides, padding: 'same', useBias: false });
  return convBlock(g, normalize(g, y, depthwise), { ...options, name: `${options.name}_pw`, kernelSize: 1, strides: 1 });
}
