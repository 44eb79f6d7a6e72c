import { createHash } from 'node:crypto';
import { encodeModel } from '#lib/formats/pcqat/save.js';
import { Random } from '#lib/graph/random.js';
import { createModel, type Dataset, GraphBuilder, type Model } from '#lib/index.js';

/** Noisy 6×6 images of three classes: class c has a bright row 2c. Easy, but not for an untrained net. */
export function toyData(size = 48, seed = 1): Dataset {
  const random = new Random(seed, 'toy');
  const y = Int32Array.from({ length: size }, () => random.integer(3));
  const x = Float32Array.from({ length: size * 36 }, (_, i) => {
    const [example, row] = [Math.floor(i / 36), Math.floor((i % 36) / 6)];
    return random.uniform() - 0.5 + (row === 2 * y[example]! ? 0.8 : 0);
  });
  return { name: 'toy', size, inputShape: [6, 6, 1], x, y, classes: 3 };
}

/** Labels as one-hot rows. */
export function oneHotRows(data: Dataset): Dataset {
  const y = new Float32Array(data.size * 3);
  data.y.forEach((label, i) => (y[3 * i + label] = 1));
  return { ...data, y };
}

/** conv-BN-ReLU, depthwise-BN-ReLU, pool, dense: every kind of weight that techniques treat. */
export function toyModel(options: { dropout?: number; seed?: number; momentum?: number } = {}): Model {
  const { dropout = 0, seed = 1, momentum = 0.8 } = options;
  const g = new GraphBuilder('toy');
  let x = g.conv2d(g.input([6, 6, 1]), { name: 'conv', filters: 8, kernelSize: 3, padding: 'same', useBias: false });
  x = g.relu(g.batchNorm(x, { name: 'conv_bn', momentum }), { name: 'conv_relu' });
  x = g.depthwiseConv2d(x, { name: 'dw', kernelSize: 3, strides: 2, padding: 'same', useBias: false });
  x = g.relu(g.batchNorm(x, { name: 'dw_bn', momentum }), { name: 'dw_relu' });
  x = g.flatten(x, { name: 'flatten' });
  if (dropout > 0) x = g.dropout(x, { name: 'dropout', rate: dropout });
  return createModel(g.build(g.dense(x, { name: 'logits', units: 3 })), { seed });
}

/** Everything in a model's files, as one hash. */
export function fingerprint(model: Model): string {
  const { json, bin } = encodeModel(model);
  return createHash('sha256').update(json).update(bin).digest('hex');
}
