import {
  clusterWeights,
  constantSparsity,
  createModel,
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  GraphBuilder,
  type Model,
  polynomialDecay,
  pruneLowMagnitude,
  pruneOnce,
  quantizeAnnotateModel,
  quantizeApply,
  quantizeModel,
  stripClustering,
  stripPruning,
} from '#lib/index.js';

const onNotice = (): void => undefined;

type Value = ReturnType<GraphBuilder['input']>;

/**
 * conv → BN → ReLU → depthwise → ReLU6 → dense. The gradient of a scale whose channel another batch norm rescales would be a difference of
 * nearly equal sums, of which rounding leaves little, so none follows the depthwise convolution.
 */
export function separableNet(): Model {
  const g = new GraphBuilder('separable');
  let x = g.conv2d(g.input([6, 6, 2]), { name: 'conv', filters: 4, kernelSize: 3, useBias: false });
  x = g.relu(g.batchNorm(x, { name: 'conv_bn', momentum: 0.9 }), { name: 'conv_relu' });
  x = g.relu6(g.depthwiseConv2d(x, { name: 'depthwise', kernelSize: 3, padding: 'same' }));
  x = g.flatten(g.averagePool2d(x, { poolSize: 2 }));
  return createModel(g.build(g.dense(x, { name: 'logits', units: 4 })), { seed: 3 });
}

/** conv → BN → ReLU, a residual block with a strided shortcut, max pool, dense. */
export function residualNet(): Model {
  const g = new GraphBuilder('residual');
  const convolve = (x: Value, name: string, filters: number, kernelSize: number, strides: number): Value =>
    g.batchNorm(g.conv2d(x, { name, filters, kernelSize, strides, padding: 'same', useBias: false }), {
      name: `${name}_bn`,
      momentum: 0.9,
    });
  let x = g.relu(convolve(g.input([6, 6, 2]), 'stem', 4, 3, 1));
  const branch = convolve(g.relu(convolve(x, 'first', 4, 3, 2)), 'second', 4, 3, 1);
  x = g.relu(g.add(branch, convolve(x, 'shortcut', 4, 1, 2)));
  x = g.flatten(g.maxPool2d(x, { poolSize: 2, strides: 1 }));
  return createModel(g.build(g.dense(x, { name: 'logits', units: 4 })), { seed: 3 });
}

export const nets: Readonly<Record<string, () => Model>> = { 'a separable net': separableNet, 'a residual net': residualNet };

const prune = (model: Model): Model =>
  pruneLowMagnitude(model, {
    schedule: polynomialDecay({ initialSparsity: 0.2, finalSparsity: 0.6, beginStep: 1, endStep: 5, frequency: 2 }),
    onNotice,
  });
const sparse = (model: Model): Model => stripPruning(pruneOnce(model, { targetSparsity: 0.5, onNotice }));
const cluster = (model: Model, options: Partial<Parameters<typeof clusterWeights>[1]> = {}): Model =>
  clusterWeights(model, { numberOfClusters: 6, centroidInit: 'linear', onNotice, ...options });
const clusterPreserving = (model: Model, options: ConstructorParameters<typeof Default8BitClusterPreserveQuantizeScheme>[0]): Model =>
  quantizeApply(quantizeAnnotateModel(model), { scheme: new Default8BitClusterPreserveQuantizeScheme(options), onNotice });

export const techniques = ['float', 'prune', 'cluster', 'qat', 'pqat', 'cqat', 'pcqat'] as const;

/** Every technique, and the variants that take another way through the weight chain. */
export const stages: Readonly<Record<string, (model: Model) => Model>> = {
  float: (model) => model,
  prune,
  'prune 2:4': (model) => pruneLowMagnitude(model, { schedule: constantSparsity({ targetSparsity: 0.5 }), mByN: [2, 4], onNotice }),
  cluster: (model) => cluster(model),
  'cluster, mean of gradients': (model) => cluster(model, { gradientAggregation: 'average' }),
  'cluster per channel': (model) => cluster(model, { numberOfClusters: 3, clusterPerChannel: true }),
  'cluster, zeros kept': (model) => cluster(sparse(model), { preserveSparsity: true }),
  qat: (model) => quantizeModel(model, { onNotice }),
  'qat from the reference range': (model) => quantizeModel(model, { rangeInit: 'reference', onNotice }),
  pqat: (model) => quantizeApply(quantizeAnnotateModel(sparse(model)), { scheme: new Default8BitPrunePreserveQuantizeScheme(), onNotice }),
  cqat: (model) => clusterPreserving(stripClustering(cluster(model)), { preserveSparsity: false }),
  'cqat per channel': (model) =>
    clusterPreserving(stripClustering(cluster(model, { numberOfClusters: 3, clusterPerChannel: true })), { preserveSparsity: false }),
  pcqat: (model) => clusterPreserving(stripClustering(cluster(sparse(model), { preserveSparsity: true })), { preserveSparsity: true }),
  'pcqat, one scale per channel': (model) =>
    clusterPreserving(stripClustering(cluster(sparse(model), { preserveSparsity: true })), {
      preserveSparsity: true,
      weightScale: 'channel',
    }),
};
