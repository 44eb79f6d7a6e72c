import { PcqatError } from '../../errors.js';
import { GraphBuilder } from '../builder.js';
import { createModel } from '../initialize.js';
import type { Model } from '../model.js';
import type { Shape } from '../types.js';
import { convBlock, separableBlock } from './blocks.js';

/** Options of {@link mobilenetV1}. */
export interface MobilenetV1Options {
  /** Width multiplier, above 0. Default 1. */
  readonly alpha?: number;
  /** Default `[224, 224, 3]`. Any size of at least 1. */
  readonly inputShape?: Shape;
  /** Default 1000. */
  readonly classes?: number;
  /** Default 0. */
  readonly seed?: number;
}

const BLOCKS: readonly (readonly [filters: number, strides: number])[] = [
  [64, 1], [128, 2], [128, 1], [256, 2], [256, 1], [512, 2], [512, 1], [512, 1], [512, 1], [512, 1], [512, 1], [1024, 2], [1024, 1],
]; // prettier-ignore

/**
 * MobileNet v1 (Howard et al. 2017, arXiv:1704.04861) with ReLU6, global average pool and a dense classifier (logits). All strided
 * convolutions use SAME padding, as the original and MLPerf Tiny's person detection; Keras' own copy pads explicitly instead.
 * 208,112 kernel weights at alpha 0.25 with 96×96×3 inputs and 2 classes.
 *
 * @throws PcqatError `ERR_OPTION` when alpha leaves no channel.
 *
 * @example
 * ```ts
 * import { inferShapes, zoo } from 'pcqat';
 * const model = zoo.mobilenetV1({ alpha: 0.25, inputShape: [96, 96, 3], classes: 2 });
 * console.log(inferShapes(model.graph).get('pool')); // [ 256 ]
 * ```
 */
export function mobilenetV1(options: MobilenetV1Options = {}): Model {
  const { alpha = 1, inputShape = [224, 224, 3], classes = 1000, seed = 0 } = options;
  if (!(alpha * 32 >= 1)) {
    throw new PcqatError('ERR_OPTION', `alpha is ${String(alpha)} but must be at least 1/32`, { where: 'mobilenetV1 alpha' });
  }
  const width = (filters: number): number => Math.floor(filters * alpha);
  const g = new GraphBuilder(`mobilenet-v1-${alpha}`);
  let x = convBlock(g, g.input(inputShape), { name: 'conv1', filters: width(32), kernelSize: 3, strides: 2, activation: 'relu6' });
  BLOCKS.forEach(([filters, strides], i) => {
    x = separableBlock(g, x, { name: `block${i + 1}`, filters: width(filters), strides, activation: 'relu6' });
  });
  x = g.globalAveragePool2d(x, { name: 'pool' });
  return createModel(g.build(g.dense(x, { name: 'logits', units: classes })), { seed });
}
