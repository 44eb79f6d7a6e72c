import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { kernelOf, weightedNodes } from '#lib/compress/registry.js';
import { updateMask } from '#lib/compress/sparsity/mask.js';
import type { Dataset } from '#lib/data/types.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import { inferShapes } from '#lib/graph/shapes.js';
import * as zoo from '#lib/graph/zoo/index.js';
import { calibrate } from '#lib/train/calibrate.js';

const CLASSES = 10;

/** A network of the benchmark. */
export interface Net {
  readonly name: string;
  readonly batch: number;
  make(): Model;
}

export const NETS: readonly Net[] = [
  { name: 'ds-cnn-s', batch: 100, make: () => zoo.dsCnn({ size: 'S', classes: CLASSES }) },
  { name: 'ds-cnn-l', batch: 100, make: () => zoo.dsCnn({ size: 'L', classes: CLASSES }) },
  { name: 'mobilenet-v1-0.25-96', batch: 32, make: () => zoo.mobilenetV1({ classes: CLASSES, inputShape: [96, 96, 3], alpha: 0.25 }) },
  { name: 'mobilenet-v1-1.0-224', batch: 8, make: () => zoo.mobilenetV1({ classes: CLASSES }) },
];

/** Reproducible values, about normal. */
export function noise(length: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return Float32Array.from({ length }, () => 2 * (next() + next() + next()));
}

/** One batch of noise with labels. */
export function noiseBatch(model: Model, rows: number): Dataset & { readonly y: Int32Array } {
  const input = model.graph.nodes.find(({ op }) => op === 'input')!;
  const inputShape = inferShapes(model.graph).get(input.name)!;
  const width = inputShape.reduce((product, length) => product * length, 1);
  const y = Int32Array.from({ length: rows }, (_, i) => i % CLASSES);
  return { name: 'noise', size: rows, inputShape, x: noise(rows * width), y, classes: CLASSES };
}

/** The model with plain fake quantization of weights and activations. Ranges of activations are not set. */
export function qatModel(float: Model): Model {
  return quantizeModel(cloneModel(float));
}

/** The model with a PCQAT chain on every layer: half of the weights pruned, 16 clusters. Ranges of activations are not set. */
export function pcqatModel(float: Model): Model {
  const model = cloneModel(float);
  const layers = weightedNodes(model).map(({ name }) => name);
  for (const node of weightedNodes(model)) {
    const weight = model.tensors.get(kernelOf(node))!;
    const { mask } = updateMask(
      weight,
      {
        schedule: { kind: 'constant', targetSparsity: 0.5, beginStep: 0, endStep: -1, frequency: 1 },
        blockSize: [1, 1],
        blockPooling: 'AVG',
      },
      0.5,
    );
    weight.data.forEach((value, i) => (weight.data[i] = mask[i] === 0 ? 0 : value));
  }
  const clustered = clusterWeights(model, { numberOfClusters: 16, preserveSparsity: true, layers });
  return quantizeModel(stripClustering(clustered), {
    scheme: new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true }),
  });
}

/** {@link pcqatModel} with ranges from the batch. */
export async function pcqatOf(float: Model, batch: Dataset): Promise<Model> {
  const pcqat = pcqatModel(float);
  await calibrate(pcqat, batch);
  return pcqat;
}
