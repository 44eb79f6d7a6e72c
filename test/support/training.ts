import { createHash } from 'node:crypto';
import { arrayDataset } from '#lib/data/arrays.js';
import type { Dataset } from '#lib/data/types.js';
import { decodeModel } from '#lib/formats/pcqat/load.js';
import { encodeModel } from '#lib/formats/pcqat/save.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { Random } from '#lib/graph/random.js';
import { fit } from '#lib/train/fit.js';
import type { FitOptions } from '#lib/train/fit-options.js';
import { adam } from '#lib/train/optimizers.js';

/** Images whose class is told by which quarter is brightest, plus noise. */
export function quarters(size: number, shape: readonly [number, number, number]): Dataset {
  const random = new Random(7, 'quarters');
  const [height, width, channels] = shape;
  const y = Int32Array.from({ length: size }, () => Math.floor(random.uniform() * 4));
  const x = Float32Array.from({ length: size * height * width * channels }, (_, i) => {
    const pixel = Math.floor(i / channels);
    const [row, column] = [Math.floor(pixel / width) % height, pixel % width];
    const quarter = (row * 2 >= height ? 2 : 0) + (column * 2 >= width ? 1 : 0);
    return random.uniform() * 0.5 + (quarter === y[Math.floor(pixel / (height * width))] ? 0.5 : 0);
  });
  return arrayDataset({ x, y, inputShape: shape, classes: 4 });
}

/** 64 examples of 8×8×3 for `smallCnn`: four batches of 16. */
export const images = quarters(64, [8, 8, 3]);

/** The same numbers as `size` rows of any shape, four classes. */
export function rowsOf(inputShape: readonly number[], size = 64): Dataset {
  const width = inputShape.reduce((product, length) => product * length, 1);
  const x = Float32Array.from({ length: size * width }, (_, i) => images.x[i % images.x.length]);
  return arrayDataset({ x, y: (images.y as Int32Array).slice(0, size), inputShape, classes: 4 });
}

/** Adam 0.01, batches of 16, one thread, one epoch unless said otherwise. */
export function train(model: Model, data: Dataset, options: Partial<FitOptions> = {}) {
  return fit(model, { train: data, epochs: 1, batchSize: 16, optimizer: adam({ learningRate: 0.01 }), threads: 1, ...options });
}

/** As saved and loaded again. */
export function reload(model: Model): Model {
  const { json, bin } = encodeModel(model);
  return decodeModel(json, bin);
}

/** Everything in a model's files, as one hash. */
export function fingerprint(model: Model): string {
  const { json, bin } = encodeModel(model);
  return createHash('sha256').update(json).update(bin).digest('hex');
}

/** Every layer type with a kernel over sequences `[16, 3]`: conv1d, its depthwise and separable forms, dense. */
export function sequenceNet(): Model {
  const g = new GraphBuilder('sequence');
  let x = g.conv1d(g.input([16, 3]), { name: 'conv1d', filters: 8, kernelSize: 3, activation: 'relu' });
  x = g.separableConv1d(x, { name: 'separable1d', filters: 8, kernelSize: 3, activation: 'relu' });
  x = g.globalAveragePool1d(x, { name: 'pool' });
  return createModel(g.build(g.dense(x, { name: 'logits', units: 4 })), { seed: 4 });
}

/** Every layer type with a kernel over images `[8, 8, 3]` but transposed ones: conv2d, depthwise, separable, dense. */
export function imageNet(): Model {
  const g = new GraphBuilder('image');
  let x = g.conv2d(g.input([8, 8, 3]), { name: 'conv2d', filters: 8, kernelSize: 3, useBias: false });
  x = g.relu(g.batchNorm(x, { name: 'bn' }), { name: 'relu' });
  x = g.depthwiseConv2d(x, { name: 'depthwise2d', kernelSize: 3, padding: 'same', activation: 'relu' });
  x = g.separableConv2d(x, { name: 'separable2d', filters: 8, kernelSize: 3, activation: 'relu' });
  x = g.globalAveragePool2d(x, { name: 'pool' });
  return createModel(g.build(g.dense(x, { name: 'logits', units: 4 })), { seed: 4 });
}

/** A transposed convolution 2 → 4 channels behind an input of 4×4×2, then a dense layer. */
export function transposedNet(): Model {
  const g = new GraphBuilder('transposed');
  const x = g.conv2dTranspose(g.input([4, 4, 2]), { name: 'transposed', filters: 4, kernelSize: 3, strides: 2, activation: 'relu' });
  return createModel(g.build(g.dense(g.globalAveragePool2d(x), { name: 'logits', units: 4 })), { seed: 4 });
}

/** Two dense branches of one input, added. */
export function twoBranches(inputs = 16, units = 4): Model {
  const g = new GraphBuilder('branches');
  const x = g.input([inputs]);
  return createModel(g.build(g.add(g.dense(x, { name: 'left', units }), g.dense(x, { name: 'right', units }), { name: 'sum' })), {
    seed: 6,
  });
}
