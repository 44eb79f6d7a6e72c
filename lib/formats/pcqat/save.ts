import { createHash } from 'node:crypto';
import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import { atomicWrite, moveFile } from '../atomic-write.js';
import { modelPaths } from './paths.js';
import { FORMAT, modelSchema, type TensorEntry, VERSION } from './schema.js';

/** Collects arrays for the `.bin` file, each aligned to 8 bytes. */
class Packer {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  /** Appends an array and returns its offset. */
  add(data: Float32Array | Uint8Array | Int32Array): number {
    const offset = this.#length;
    const padding = -data.byteLength & 7;
    this.#parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), new Uint8Array(padding));
    this.#length += data.byteLength + padding;
    return offset;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts, this.#length);
  }
}

function dtype(data: Float32Array | Uint8Array | Int32Array): TensorEntry['dtype'] {
  if (data instanceof Float32Array) return 'f32';
  return data instanceof Uint8Array ? 'u8' : 'i32';
}

/** The two files of a model. The same model gives the same bytes. */
export function encodeModel(model: Model): { readonly json: string; readonly bin: Uint8Array } {
  const packer = new Packer();
  const tensors = Array.from(model.tensors, ([name, { shape, data }]) => ({
    name,
    dtype: dtype(data),
    shape: [...shape],
    offset: packer.add(data),
  }));
  const slots = Array.from(model.optimizer?.slots ?? [], ([tensor, arrays]) => ({
    tensor,
    offsets: arrays.map((array) => packer.add(array)),
  }));
  const bin = packer.bytes();
  // Parsing checks what is about to be written, and puts its fields in one order, so that equal models give equal bytes.
  const file = modelSchema.safeParse({
    format: FORMAT,
    version: VERSION,
    graph: model.graph,
    chains: Array.from(model.chains, ([weight, chain]) => ({ weight, ...chain })),
    quantizers: Array.from(model.quantizers, ([node, quantizer]) => ({ node, ...quantizer })),
    tensors,
    ...(model.optimizer === undefined ? {} : { optimizer: { kind: model.optimizer.kind, step: model.optimizer.step, slots } }),
    data: { bytes: bin.length, sha256: createHash('sha256').update(bin).digest('hex') },
  });
  if (!file.success) {
    const [issue] = file.error.issues;
    throw new PcqatError('ERR_FORMAT', issue?.message ?? 'the model cannot be saved', { where: issue?.path.join('.') ?? 'model' });
  }
  return { json: `${JSON.stringify(file.data, null, 1)}\n`, bin };
}

/**
 * Saves a model with everything training needs to go on: parameters, masks, codebooks, ranges, pruning steps and optimizer state.
 * Writes `<path>.json` and `<path>.bin` (little endian); whatever interrupts it, the old model or
 * the new one can be loaded.
 *
 * @param path - with or without `.json`; the folder must exist
 * @throws PcqatError `ERR_IO` when it cannot be written; `ERR_FORMAT` for chains or quantizers that no pcqat function makes.
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { loadModel, saveModel, zoo } from 'pcqat';
 * const path = join(await mkdtemp(join(tmpdir(), 'pcqat-')), 'lenet5');
 * await saveModel(zoo.lenet5(), path);
 * const model = await loadModel(path);
 * ```
 */
export async function saveModel(model: Model, path: string): Promise<void> {
  const { json, bin } = encodeModel(model);
  const files = modelPaths(path);
  // The old data stay until the new description is in place, so that a crash at any moment leaves one whole model.
  await atomicWrite(files.next, bin);
  await atomicWrite(files.json, json);
  await moveFile(files.next, files.bin);
}
