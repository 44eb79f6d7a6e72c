import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { arrayDataset } from '#lib/data/arrays.js';
import { loadFsdd } from '#lib/data/fsdd.js';
import { readIdx } from '#lib/data/idx.js';
import type { Dataset } from '#lib/data/types.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';

/** A small real data set. */
export interface RealData {
  readonly name: string;
  /** Undefined where the data is not at hand. */
  readonly load: () => Promise<{ readonly train: Dataset; readonly test: Dataset } | undefined>;
}

const mnist = fileURLToPath(new URL('../../../../shared/data/mnist', import.meta.url));

/** Images `from` to `to` of MNIST's test file, which is read much faster than the training file. */
function mnistPart(from: number, to: number): Dataset {
  const read = (file: string) => readIdx(gunzipSync(readFileSync(`${mnist}/t10k-first3000-${file}-ubyte.gz`)), file).data;
  const [images, labels] = [read('images-idx3'), read('labels-idx1')];
  const x = Float32Array.from(images.subarray(from * 784, to * 784), (value) => value / 255);
  return arrayDataset({ name: 'mnist', x, y: Int32Array.from(labels.subarray(from, to)), inputShape: [28, 28, 1], classes: 10 });
}

/** The spoken digits that the project carries, and 1,000 images of MNIST where they are at hand, as the reference's tests use them. */
export const realData: readonly RealData[] = [
  { name: 'spoken digits', load: () => loadFsdd() },
  {
    name: '1,000 images of MNIST',
    load: async () => (existsSync(mnist) ? { train: mnistPart(0, 1000), test: mnistPart(1000, 3000) } : undefined),
  },
];

/** The network of those tests: convolution of 12 filters with ReLU, max pool, dense. */
export function smallClassifier(inputShape: Dataset['inputShape'], seed = 1): Model {
  const g = new GraphBuilder('small-classifier');
  const x = g.conv2d(g.input(inputShape), { name: 'conv', filters: 12, kernelSize: 3, activation: 'relu' });
  return createModel(g.build(g.dense(g.flatten(g.maxPool2d(x)), { name: 'dense', units: 10 })), { seed });
}
