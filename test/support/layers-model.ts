import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import type { TfjsArtifacts } from '#lib/formats/tfjs/write.js';

export { layers, tf };

/** Loads a layers model with tfjs-layers. */
export async function loadInTfjs(artifacts: TfjsArtifacts): Promise<layers.LayersModel> {
  return layers.loadLayersModel({ load: () => Promise.resolve(artifacts as unknown as tf.io.ModelArtifacts) });
}

/** Outputs of a tfjs model for one row or more. */
export function runTfjs(model: layers.LayersModel, x: Float32Array, inputShape: readonly number[]): Float32Array {
  const rows = x.length / inputShape.reduce((product, dimension) => product * dimension, 1);
  return tf.tidy(() => (model.predict(tf.tensor(x, [rows, ...inputShape])) as tf.Tensor).dataSync() as Float32Array);
}

/** Largest difference, relative to the largest absolute value expected. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new Error(`${actual.length} values and not ${expected.length}`);
  const list = Array.from(expected);
  const scale = Math.max(...list.map(Math.abs), 1e-30);
  return Math.max(...list.map((value, i) => Math.abs(value - actual[i]!))) / scale;
}
