import { GraphBuilder } from '../builder.js';
import { createModel } from '../initialize.js';
import type { Model } from '../model.js';
import type { Shape } from '../types.js';

/** Options of {@link lenet5}. */
export interface Lenet5Options {
  /** Default `[28, 28, 1]`. */
  readonly inputShape?: Shape;
  /** Default 10. */
  readonly classes?: number;
  /** Default 0. */
  readonly seed?: number;
}

/**
 * LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998) in today's form: 5×5 convolutions with 6
 * and 16 filters, ReLU, 2×2 max pools, dense 120, 84 and `classes`. 61,706 parameters for MNIST.
 *
 * @example
 * ```ts
 * import { countParameters, zoo } from 'pcqat';
 * console.log(countParameters(zoo.lenet5())); // 61706
 * ```
 */
export function lenet5(options: Lenet5Options = {}): Model {
  const { inputShape = [28, 28, 1], classes = 10, seed = 0 } = options;
  const g = new GraphBuilder('lenet5');
  let x = g.input(inputShape);
  x = g.conv2d(x, { name: 'conv1', filters: 6, kernelSize: 5, padding: 'same', activation: 'relu' });
  x = g.maxPool2d(x, { name: 'pool1' });
  x = g.conv2d(x, { name: 'conv2', filters: 16, kernelSize: 5, activation: 'relu' });
  x = g.maxPool2d(x, { name: 'pool2' });
  x = g.flatten(x, { name: 'flatten' });
  x = g.dense(x, { name: 'dense1', units: 120, activation: 'relu' });
  x = g.dense(x, { name: 'dense2', units: 84, activation: 'relu' });
  x = g.dense(x, { name: 'logits', units: classes });
  return createModel(g.build(x), { seed });
}
