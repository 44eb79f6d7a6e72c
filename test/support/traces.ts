import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { WeightChain } from '#lib/compress/chains.js';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import {
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  Default8BitQuantizeScheme,
} from '#lib/compress/quantization/schemes.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { polynomialDecay } from '#lib/compress/sparsity/schedules.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { loadBinding } from '#lib/native.js';
import type { Model, Tensor } from '#lib/graph/model.js';
import { kernelOf, weightedNodes } from '#lib/compress/registry.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { zeroHalf } from './models.js';

interface ArrayReference {
  readonly dtype: 'f32' | 'i32';
  readonly shape: readonly number[];
  readonly offset: number;
}

type Arrays = Readonly<Record<string, ArrayReference>>;

/** One recorded run (test/golden/traces/README.md). */
export interface Trace {
  readonly net: 'dense' | 'separable' | 'plain';
  readonly stage: string;
  readonly optimizer: { readonly name: 'adam' | 'sgd'; readonly learningRate: number };
  readonly before: Arrays;
  readonly start: Arrays;
  readonly constants: Arrays;
  readonly steps: readonly {
    readonly x: ArrayReference;
    readonly y: ArrayReference;
    readonly loss: ArrayReference;
    readonly logits: ArrayReference;
    readonly gradients: Arrays;
    readonly after: Arrays;
  }[];
  readonly testX: ArrayReference;
  readonly testLogits: ArrayReference;
  readonly afterEpochEnd?: Arrays;
  readonly stripped: Arrays;
}

const folder = new URL('../../../test/golden/traces/', import.meta.url);
const unpack = (name: string): Buffer => gunzipSync(readFileSync(new URL(name, folder)));
const bytes = unpack('traces.bin.gz');

export const traces: ReadonlyMap<string, Trace> = new Map(
  Object.entries(JSON.parse(unpack('traces.json.gz').toString()) as Record<string, Trace>),
);

/** A copy of a recorded array. */
export function arrayOf(reference: ArrayReference): Float32Array | Int32Array {
  const length = reference.shape.reduce((product, size) => product * size, 1);
  const buffer = bytes.buffer.slice(bytes.byteOffset + reference.offset, bytes.byteOffset + reference.offset + 4 * length);
  return reference.dtype === 'f32' ? new Float32Array(buffer as ArrayBuffer) : new Int32Array(buffer as ArrayBuffer);
}

const prefix = /^(prune_low_magnitude_|cluster_|quant_)/;
const layerOf = (variable: string): string => variable.slice(0, variable.indexOf('/')).replace(prefix, '');

/** A recorded variable under our tensor name; `undefined` for what our models do not have. */
function ourName(model: Model, variable: string, overwritten: boolean): string | undefined {
  const layer = layerOf(variable);
  const name = variable.slice(variable.indexOf('/') + 1);
  const range = /^(.*)_(min|max)$/.exec(name);
  if (range !== null) {
    const [, what, end] = range;
    if (what === 'kernel' || what === 'depthwise_kernel') return `${layer}/kernel:${end}`;
    if (what === 'quantize_layer') return `input:${end}`;
    // The range behind a fused activation belongs to our ReLU node.
    return model.graph.nodes.some((node) => node.name === `${layer}_relu`) ? `${layer}_relu:${end}` : `${layer}:${end}`;
  }
  const states: Readonly<Record<string, string>> = {
    mask: 'mask',
    threshold: 'threshold',
    pruning_step: 'pruning_step',
    cluster_centroids_kernel: 'centroids',
    cluster_centroids_tf: 'centroids',
    pulling_indices_kernel: 'indices',
    pulling_indices_tf: 'indices',
    sparsity_mask: 'mask',
    sparsity_mask_kernel: 'mask',
    centroids_mask: 'zero_index',
    zero_idx_kernel: 'zero_index',
  };
  // The reference counts steps in wrappers of layers that it does not prune, too.
  if (name === 'pruning_step' && !model.chains.has(`${layer}/kernel`)) return undefined;
  if (name in states) return `${layer}/kernel:${states[name]}`;
  if (name === 'ori_weights_vars_tf' || name === 'depthwise_kernel') return `${layer}/kernel`;
  // In (P)CQAT the layer's kernel is only what the last forward pass used; the stored weight is the original.
  if (name === 'kernel' && overwritten) return undefined;
  return `${layer}/${name}`;
}

/** Recorded variables as our tensors. Masks become u8, the zero centroid's mask its index. */
export function tensorsOf(model: Model, arrays: Arrays): Map<string, Tensor> {
  const result = new Map<string, Tensor>();
  for (const [variable, reference] of Object.entries(arrays)) {
    const layer = variable.slice(0, variable.indexOf('/'));
    const name = ourName(model, variable, `${layer}/ori_weights_vars_tf` in arrays);
    if (name === undefined) continue;
    const data = arrayOf(reference);
    const shape = reference.shape.length === 0 ? [1] : reference.shape;
    if (name.endsWith(':mask')) result.set(name, { shape, data: Uint8Array.from(data) });
    else if (variable.endsWith('centroids_mask')) result.set(name, zeroIndexOf(data, shape));
    else result.set(name, { shape, data });
  }
  return result;
}

function zeroIndexOf(mask: Float32Array | Int32Array, shape: readonly number[]): Tensor {
  const k = shape.at(-1) ?? 1;
  const rows = mask.length / k;
  const index = Int32Array.from({ length: rows }, (_, row) => mask.subarray(row * k, (row + 1) * k).indexOf(0));
  return { shape: [rows], data: index };
}

function buildNet(net: Trace['net']): Model {
  const g = new GraphBuilder(net);
  const norm = (x: Value, i: number): Value =>
    g.relu(g.batchNorm(x, { name: `bn${i}`, momentum: 0.9, epsilon: 1e-3 }), { name: `relu${i}` });
  let x: Value;
  if (net === 'dense') {
    x = g.dense(g.input([10]), { name: 'dense1', units: 12, activation: 'relu' });
    return createModel(g.build(g.dense(x, { name: 'dense2', units: 5 })));
  }
  x = g.input([8, 8, 3]);
  if (net === 'separable') {
    x = norm(g.conv2d(x, { name: 'conv1', filters: 8, kernelSize: 3, padding: 'same', useBias: false }), 1);
    x = norm(g.depthwiseConv2d(x, { name: 'dw2', kernelSize: 3, padding: 'same', useBias: false }), 2);
    x = norm(g.conv2d(x, { name: 'conv3', filters: 12, kernelSize: 1, useBias: false }), 3);
  } else {
    x = g.conv2d(x, { name: 'conv1', filters: 6, kernelSize: 3, activation: 'relu' });
    x = g.conv2d(x, { name: 'conv2', filters: 8, kernelSize: 3, activation: 'relu' });
  }
  x = g.globalAveragePool2d(x, { name: 'gap' });
  return createModel(g.build(g.dense(x, { name: 'dense', units: 5 })));
}

/** Overwrites a model's tensors with recorded ones; every name and length must be one of the model's. */
export function load(model: Model, arrays: Arrays): void {
  for (const [name, tensor] of tensorsOf(model, arrays)) {
    const own = model.tensors.get(name);
    if (own?.data.length !== tensor.data.length) throw new Error(`the model has no tensor ${name} of ${tensor.data.length} elements`);
    own.data.set(tensor.data);
  }
}

/** The model before a trace's stage touched it. */
export function modelBefore(trace: Trace): Model {
  const model = buildNet(trace.net);
  load(model, trace.before);
  return model;
}

/** A trace's stage, built by our own facade with the reference's options. */
export function wrap(trace: Trace): Model {
  const [technique = '', ...rest] = trace.stage.split('-');
  const model = modelBefore(trace);
  const sparse = technique === 'pqat' || technique === 'pcqat' || rest.includes('sparse');
  if (sparse) for (const node of weightedNodes(model)) if (node.op !== 'depthwiseConv2d') zeroHalf(model, kernelOf(node));
  const cluster = (): Model => {
    const options = {
      numberOfClusters: rest.includes('k8') ? 8 : 4,
      preserveSparsity: sparse,
      zeros: 'reference',
      clusterPerChannel: rest.includes('channel'),
    } as const;
    return clusterWeights(model, { ...options, normalizeSigns: false, onNotice: () => undefined });
  };
  const quantize = (source: Model, scheme: Default8BitQuantizeScheme): Model =>
    quantizeModel(source, { scheme, rangeInit: 'reference', onNotice: () => undefined });
  switch (technique) {
    case 'float':
      return model;
    case 'prune':
      if (rest[0] === '2by4') return pruneLowMagnitude(model, { mByN: [2, 4], onNotice: () => undefined });
      return pruneLowMagnitude(model, {
        schedule: polynomialDecay({ initialSparsity: 0.2, finalSparsity: 0.6, beginStep: 0, endStep: 4, frequency: 2 }),
        onNotice: () => undefined,
      });
    case 'cluster':
      return cluster();
    case 'qat':
      return quantize(model, new Default8BitQuantizeScheme());
    case 'pqat':
      return quantize(model, new Default8BitPrunePreserveQuantizeScheme());
    case 'cqat':
    case 'pcqat': {
      const options = { preserveSparsity: sparse, weightScale: 'channel', codebook: 'reference' } as const;
      return quantize(stripClustering(cluster()), new Default8BitClusterPreserveQuantizeScheme(options));
    }
    default:
      throw new Error(`unknown stage ${trace.stage}`);
  }
}

/** Chains of a model whose weights are fake-quantized. */
export function quantizedChains(model: Model): [string, WeightChain][] {
  return [...model.chains].filter(([, chain]) => chain.fakeQuant !== undefined);
}

/**
 * The model whose inference a trace recorded. The reference quantizes the stored kernel with the range of the last training step
 * (W28), where we compute both from the final state; so that weight is put in as it was used, without a chain.
 */
export function recordedInference(trace: Trace): Model {
  const model = wrap(trace);
  const { after } = trace.steps[trace.steps.length - 1];
  load(model, after);
  load(model, trace.constants);
  const quantized = quantizedChains(model);
  const chains = new Map(model.chains);
  for (const [parameter, chain] of quantized) {
    const layer = layerOf(parameter);
    const variable = [`quant_${layer}/kernel`, `quant_${layer}/depthwise_kernel`].find((name) => name in after) ?? '';
    const kernel = arrayOf(after[variable]) as Float32Array;
    const mask = chain.codebook === undefined ? model.tensors.get(`${parameter}:mask`)?.data : undefined;
    if (mask !== undefined) loadBinding().applyMask(kernel, mask as Uint8Array);
    const [min, max] = ['min', 'max'].map((end) => arrayOf(after[`${variable}_${end}`]) as Float32Array);
    loadBinding().fakeQuantize(kernel, min, max, 8, true, kernel);
    model.tensors.get(parameter)?.data.set(kernel);
    chains.delete(parameter);
  }
  return { ...model, chains };
}
