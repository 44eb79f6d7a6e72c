import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { materializeWeight } from '../../compress/materialize.js';
import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import { validateGraph } from '../../graph/validate.js';
import { atomicWrite } from '../atomic-write.js';
import type { UnsupportedNode } from '../import/types.js';
import { UnsupportedNodesError } from '../import/unsupported.js';
import { type EncodedLayer, type EncodedWeight, encodeNode } from './encode-layers.js';

/** A tfjs LayersModel in memory, as `tf.io.fromMemory` and save handlers have it. */
export interface TfjsArtifacts {
  readonly format: 'layers-model';
  readonly generatedBy: string;
  readonly convertedBy: null;
  readonly modelTopology: object;
  readonly weightSpecs: { name: string; shape: number[]; dtype: 'float32' }[];
  /** The weights one behind the other, little endian. */
  readonly weightData: ArrayBuffer;
}

/** What tfjs and its converter cut weights into, so that browsers cache them. */
const SHARD_BYTES = 4 * 2 ** 20;

/**
 * A model as a float tfjs LayersModel (Functional, as tfjs-layers 4 loads it): `tf.loadLayersModel(tf.io.fromMemory(encodeTfjs(model)))`.
 * Pruned and clustered weights are computed from the present state, so the file has their zeros and shared values.
 *
 * @throws UnsupportedNodesError (`ERR_UNSUPPORTED`) listing the layers that tfjs-layers does not have: hardSwish, bilinear upsampling
 * @throws PcqatError `ERR_UNSUPPORTED` for a model with fake quantization, which a LayersModel cannot express
 * @example
 * ```ts
 * import { encodeTfjs, zoo } from 'pcqat';
 * const { weightSpecs, weightData } = encodeTfjs(zoo.lenet5());
 * console.log(weightSpecs[0], weightData.byteLength);
 * ```
 */
export function encodeTfjs(model: Model): TfjsArtifacts {
  const { layers, weights } = encodeGraph(model);
  const [first, last] = [model.graph.nodes[0]?.name ?? '', model.graph.nodes.at(-1)?.name ?? ''];
  const arrays = weights.map(({ parameter }) => materializeWeight(model, parameter));
  const weightData = new ArrayBuffer(arrays.reduce((sum, array) => sum + array.byteLength, 0));
  let offset = 0;
  for (const array of arrays) {
    new Float32Array(weightData, offset, array.length).set(array);
    offset += array.byteLength;
  }
  return {
    format: 'layers-model',
    generatedBy: 'pcqat',
    convertedBy: null,
    modelTopology: {
      class_name: 'Functional',
      config: { name: model.graph.name, layers, input_layers: [[first, 0, 0]], output_layers: [[last, 0, 0]] },
      keras_version: 'tfjs-layers 4.22.0',
      backend: 'tensor_flow.js',
    },
    weightSpecs: weights.map(({ name, shape }) => ({ name, shape: [...shape], dtype: 'float32' })),
    weightData,
  };
}

function encodeGraph(model: Model): { readonly layers: readonly EncodedLayer[]; readonly weights: readonly EncodedWeight[] } {
  const shapes = validateGraph(model.graph);
  requireFloat(model);
  const names = new Set(model.graph.nodes.map(({ name }) => name));
  const fresh = (wanted: string): string => {
    let name = wanted;
    for (let i = 1; names.has(name); i++) name = `${wanted}_${i}`;
    names.add(name);
    return name;
  };
  const encoded = model.graph.nodes.map((node) => encodeNode(node, { shapes, tensors: model.tensors, fresh }));
  const unsupported = encoded.filter((node): node is UnsupportedNode => 'reason' in node);
  if (unsupported.length > 0) throw new UnsupportedNodesError(unsupported, `model '${model.graph.name}'`);
  const nodes = encoded.filter((node) => 'layers' in node);
  return { layers: nodes.flatMap(({ layers }) => layers), weights: nodes.flatMap(({ weights }) => weights) };
}

function requireFloat({ graph, quantizers, chains }: Model): void {
  const quantized = quantizers.size > 0 || [...chains.values()].some(({ fakeQuant }) => fakeQuant !== undefined);
  if (!quantized) return;
  throw new PcqatError('ERR_UNSUPPORTED', 'a LayersModel cannot express fake quantization', {
    where: `model '${graph.name}'`,
    remedy: 'Export it with exportInt8, or write stripQuantization(model).',
  });
}

/**
 * Writes a model as a float tfjs LayersModel: `model.json` and weight files of at most 4 MB. An interrupted call leaves no `model.json`
 * rather than one whose weights are of another model.
 *
 * @param folder - made if it is missing
 * @throws PcqatError as {@link encodeTfjs}; `ERR_IO` when a file cannot be written
 * @example
 * ```ts
 * import { importModel, writeTfjs, zoo } from 'pcqat';
 * await writeTfjs(zoo.lenet5(), 'lenet5-tfjs');
 * const { model } = await importModel('lenet5-tfjs');
 * console.log(model.graph.name);
 * ```
 */
export async function writeTfjs(model: Model, folder: string): Promise<void> {
  const { weightData, weightSpecs, ...description } = encodeTfjs(model);
  const count = Math.max(Math.ceil(weightData.byteLength / SHARD_BYTES), 1);
  const paths = Array.from({ length: count }, (_, i) => `group1-shard${i + 1}of${count}.bin`);
  const json = path.join(folder, 'model.json');
  try {
    await mkdir(folder, { recursive: true });
    await rm(json, { force: true });
  } catch (cause) {
    throw new PcqatError('ERR_IO', `Cannot write ${folder}: ${(cause as Error).message}`, {
      where: folder,
      remedy: 'Check the path.',
      cause,
    });
  }
  for (const [i, name] of paths.entries()) {
    await atomicWrite(path.join(folder, name), new Uint8Array(weightData.slice(i * SHARD_BYTES, (i + 1) * SHARD_BYTES)));
  }
  await atomicWrite(json, JSON.stringify({ ...description, weightsManifest: [{ paths, weights: weightSpecs }] }));
}
