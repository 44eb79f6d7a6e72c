import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import type { CompressionNotice, OnNotice } from '#lib/compress/notice.js';

/** conv1 (no bias) → BN → ReLU → depthwise → BN → ReLU → conv2 (bias) → ReLU → global pool → dense, input 8×8×3. */
export function smallCnn(seed = 1): Model {
  const g = new GraphBuilder('small');
  let x = g.input([8, 8, 3]);
  x = g.relu(g.batchNorm(g.conv2d(x, { name: 'conv1', filters: 6, kernelSize: 3, useBias: false }), { name: 'bn1' }), { name: 'relu1' });
  x = g.relu(g.batchNorm(g.depthwiseConv2d(x, { name: 'dw', kernelSize: 3, padding: 'same', useBias: false }), { name: 'bn2' }), {
    name: 'relu2',
  });
  x = g.conv2d(x, { name: 'conv2', filters: 8, kernelSize: 3, activation: 'relu' });
  x = g.globalAveragePool2d(x, { name: 'pool' });
  return createModel(g.build(g.dense(x, { name: 'logits', units: 4 })), { seed });
}

/** dense1 → ReLU → dense2 with the given widths. */
export function twoDense(inputs: number, hidden: number, outputs: number, seed = 1): Model {
  const g = new GraphBuilder('dense');
  const x = g.dense(g.input([inputs]), { name: 'dense1', units: hidden, activation: 'relu' });
  return createModel(g.build(g.dense(x, { name: 'dense2', units: outputs })), { seed });
}

/** The f32 values of a tensor; the array of the model itself. */
export function valuesOf(model: Model, name: string): Float32Array {
  const data = model.tensors.get(name)?.data;
  if (!(data instanceof Float32Array)) throw new Error(`no f32 tensor ${name}`);
  return data;
}

/** Values of channel `channel` (last axis). */
export function channelOf(data: Float32Array, channels: number, channel: number): Float32Array {
  return data.filter((_, i) => i % channels === channel);
}

/** Number of distinct values; −0 and 0 are one. */
export function distinct(data: Iterable<number>): number {
  return new Set([...data].map((value) => value + 0)).size;
}

/** Sets the smaller half of a kernel to zero. */
export function zeroHalf(model: Model, parameter: string): void {
  const data = valuesOf(model, parameter);
  const order = [...data.keys()].sort((a, b) => Math.abs(data[a]) - Math.abs(data[b]));
  for (const i of order.slice(0, data.length / 2)) data[i] = 0;
}

/** Collects notices. */
export function collect(): { readonly notices: CompressionNotice[]; readonly onNotice: OnNotice; codes(): string[] } {
  const notices: CompressionNotice[] = [];
  return { notices, onNotice: (notice) => notices.push(notice), codes: () => notices.map(({ layer, code }) => `${layer}: ${code}`) };
}
