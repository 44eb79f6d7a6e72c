import type { LossSpec } from '../../binding.js';
import { elementCount } from '../graph/shapes.js';
import type { Shape } from '../graph/types.js';
import type { Tfjs, TfTensor } from './tfjs.js';

/** Class numbers `[rows]` (`int32`), or rows of the shape of the outputs. */
export function targetsOf(tf: Tfjs, y: Int32Array | Float32Array, outputShape: Shape): TfTensor {
  if (y instanceof Int32Array) return tf.tensor(y, [y.length], 'int32');
  return tf.tensor(y, [y.length / elementCount(outputShape), ...outputShape]);
}

/** The mean loss of the batch, a scalar. */
export function lossOf(tf: Tfjs, loss: LossSpec, outputs: TfTensor, targets: TfTensor): TfTensor {
  if (loss.kind === 'meanSquaredError') return tf.mean(tf.square(tf.sub(outputs, targets)));
  const { labelSmoothing = 0 } = loss;
  const classes = outputs.shape.at(-1) ?? 1;
  const rows = targets.dtype === 'int32' ? tf.cast(tf.oneHot(targets as never, classes), 'float32') : targets;
  const wanted = tf.add(tf.mul(rows, 1 - labelSmoothing), labelSmoothing / classes);
  return tf.neg(tf.div(tf.sum(tf.mul(wanted, tf.logSoftmax(outputs))), outputs.shape[0] ?? 1));
}

/** How many rows have their largest output at the label's class; 0 for a squared error. A scalar. */
export function correctOf(tf: Tfjs, loss: LossSpec, outputs: TfTensor, targets: TfTensor): TfTensor {
  if (loss.kind === 'meanSquaredError') return tf.scalar(0);
  const labels = targets.dtype === 'int32' ? targets : tf.argMax(targets, -1);
  return tf.sum(tf.cast(tf.equal(tf.argMax(outputs, -1), labels), 'float32'));
}
