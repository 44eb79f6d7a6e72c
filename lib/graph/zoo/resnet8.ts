import { GraphBuilder, type Value } from '../builder.js';
import { createModel } from '../initialize.js';
import type { Model } from '../model.js';
import type { Shape } from '../types.js';
import { convBlock } from './blocks.js';

/** Options of {@link resnet8}. */
export interface Resnet8Options {
  /** Default 10. */
  readonly classes?: number;
  /** Default `[32, 32, 3]`. */
  readonly inputShape?: Shape;
  /** Default 0. */
  readonly seed?: number;
}

/** conv-BN-ReLU, conv-BN, plus the input (through a strided 1×1 convolution where the shape changes), ReLU. */
function residualBlock(g: GraphBuilder, x: Value, name: string, filters: number, strides: number): Value {
  const y = convBlock(g, x, { name: `${name}_conv1`, filters, kernelSize: 3, strides });
  const conv2 = g.conv2d(y, { name: `${name}_conv2`, filters, kernelSize: 3, padding: 'same', useBias: false });
  const branch = g.batchNorm(conv2, { name: `${name}_conv2_bn` });
  const shortcut = strides === 1 ? x : g.conv2d(x, { name: `${name}_shortcut`, filters, kernelSize: 1, strides, padding: 'same' });
  return g.relu(g.add(shortcut, branch, { name: `${name}_add` }), { name: `${name}_relu` });
}

/**
 * The ResNet of MLPerf Tiny's image classification (Banbury et al. 2021, arXiv:2106.07597): three residual blocks with 16, 32 and 64
 * filters on 32×32×3 images, global average pool, dense (logits). 77,360 kernel weights. Convolutions before a batch normalization
 * have no bias (it would be cancelled), unlike the benchmark's Keras code.
 *
 * @example
 * ```ts
 * import { inferShapes, zoo } from 'pcqat';
 * const model = zoo.resnet8({ classes: 10 });
 * console.log(inferShapes(model.graph).get('block3_relu')); // [ 8, 8, 64 ]
 * ```
 */
export function resnet8(options: Resnet8Options = {}): Model {
  const { classes = 10, inputShape = [32, 32, 3], seed = 0 } = options;
  const g = new GraphBuilder('resnet8');
  let x = convBlock(g, g.input(inputShape), { name: 'conv1', filters: 16, kernelSize: 3 });
  x = residualBlock(g, x, 'block1', 16, 1);
  x = residualBlock(g, x, 'block2', 32, 2);
  x = residualBlock(g, x, 'block3', 64, 2);
  x = g.globalAveragePool2d(x, { name: 'pool' });
  return createModel(g.build(g.dense(x, { name: 'logits', units: classes })), { seed });
}
