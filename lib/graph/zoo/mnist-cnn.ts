import { GraphBuilder } from '../builder.js';
import { createModel } from '../initialize.js';
import type { Model } from '../model.js';

/** Options of {@link mnistCnn}. */
export interface MnistCnnOptions {
  /** Default 10. */
  readonly classes?: number;
  /** Default 0. */
  readonly seed?: number;
}

/**
 * The small MNIST network of TensorFlow Model Optimization's guides: 28×28 images (pixels / 255), 3×3 convolution with 12 filters,
 * ReLU, 2×2 max pool, dense. 108 + 20,280 weights.
 *
 * @example
 * ```ts
 * import { inferShapes, zoo } from 'pcqat';
 * const { graph } = zoo.mnistCnn();
 * console.log(inferShapes(graph).get('flatten')); // [ 2028 ]
 * ```
 */
export function mnistCnn(options: MnistCnnOptions = {}): Model {
  const { classes = 10, seed = 0 } = options;
  const g = new GraphBuilder('mnist-cnn');
  let x = g.reshape(g.input([28, 28]), [28, 28, 1], { name: 'reshape' });
  x = g.conv2d(x, { name: 'conv1', filters: 12, kernelSize: 3, activation: 'relu' });
  x = g.maxPool2d(x, { name: 'pool1' });
  x = g.dense(g.flatten(x, { name: 'flatten' }), { name: 'dense', units: classes });
  return createModel(g.build(x), { seed });
}
