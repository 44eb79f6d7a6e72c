import { PcqatError } from '../../errors.js';
import { GraphBuilder } from '../builder.js';
import { createModel } from '../initialize.js';
import type { Model } from '../model.js';
import type { Pair, Shape } from '../types.js';
import { convBlock, separableBlock } from './blocks.js';

/** Options of {@link dsCnn}. */
export interface DsCnnOptions {
  readonly size: 'S' | 'M' | 'L';
  readonly classes: number;
  /** Frames × MFCC coefficients × 1. Default `[49, 10, 1]`. */
  readonly inputShape?: Shape;
  /** Default 0. */
  readonly seed?: number;
  /** Dropout before the last layer, a fraction in [0, 1). Default 0 (no layer). */
  readonly dropout?: number;
}

const LAYOUTS: Readonly<Record<DsCnnOptions['size'], { channels: number; firstStrides: Pair; blockStrides: readonly number[] }>> = {
  S: { channels: 64, firstStrides: [2, 2], blockStrides: [1, 1, 1, 1] },
  M: { channels: 172, firstStrides: [2, 1], blockStrides: [2, 1, 1, 1] },
  L: { channels: 276, firstStrides: [2, 1], blockStrides: [2, 1, 1, 1, 1] },
};

/**
 * DS-CNN for keyword spotting (Zhang et al., "Hello Edge", 2017, arXiv:1711.07128) in the layout of Arm's ML-KWS-for-MCU: a 10×4
 * convolution, four (L: five) depthwise-separable 3×3 blocks, batch normalization (momentum 0.96) and ReLU after every convolution,
 * global average pool, dense. Kernel weights with 12 classes: S 22,016, L 407,652. Output: logits.
 *
 * @throws PcqatError `ERR_OPTION` for an unknown size.
 *
 * @example
 * ```ts
 * import { inferShapes, zoo } from 'pcqat';
 * const model = zoo.dsCnn({ size: 'S', classes: 10 });
 * console.log(inferShapes(model.graph).get('conv1')); // [ 25, 5, 64 ]
 * ```
 */
export function dsCnn(options: DsCnnOptions): Model {
  const { size, classes, inputShape = [49, 10, 1], seed = 0, dropout = 0 } = options;
  if (!Object.hasOwn(LAYOUTS, size)) {
    throw new PcqatError('ERR_OPTION', `size is '${String(size)}' but must be 'S', 'M' or 'L'`, { where: 'dsCnn size' });
  }
  const { channels, firstStrides, blockStrides } = LAYOUTS[size];
  const momentum = 0.96;
  const g = new GraphBuilder(`ds-cnn-${size.toLowerCase()}`);
  let x = convBlock(g, g.input(inputShape), { name: 'conv1', filters: channels, kernelSize: [10, 4], strides: firstStrides, momentum });
  blockStrides.forEach((strides, i) => {
    x = separableBlock(g, x, { name: `block${i + 1}`, filters: channels, strides, momentum });
  });
  x = g.globalAveragePool2d(x, { name: 'pool' });
  if (dropout !== 0) x = g.dropout(x, { name: 'dropout', rate: dropout });
  return createModel(g.build(g.dense(x, { name: 'logits', units: classes })), { seed });
}
