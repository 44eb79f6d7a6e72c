import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { checkChain } from '../../compress/invariants.js';
import { validateSchedule } from '../../compress/sparsity/schedules.js';
import { PcqatError } from '../../errors.js';
import { listParameters, type Model, type OptimizerState, type Tensor } from '../../graph/model.js';
import { elementCount, sameShape } from '../../graph/shapes.js';
import type { Graph } from '../../graph/types.js';
import { validateGraph } from '../../graph/validate.js';
import { modelPaths } from './paths.js';
import { type ModelFile, modelSchema } from './schema.js';

/** A structure of even the largest networks is far below this. */
const MAX_JSON_BYTES = 64 * 2 ** 20;

function formatError(message: string, where: string, cause?: unknown): PcqatError {
  return new PcqatError('ERR_FORMAT', message, { where, remedy: 'The file is damaged or not from saveModel.', cause });
}

/** Hands out the arrays of the `.bin` file in order; allocates only what the file really holds. */
class Unpacker {
  readonly #bin: Uint8Array;
  #position = 0;

  constructor(bin: Uint8Array) {
    this.#bin = bin;
  }

  take(dtype: 'f32' | 'u8' | 'i32', count: number, offset: number, where: string): Tensor['data'] {
    const bytes = count * (dtype === 'u8' ? 1 : 4);
    if (offset !== this.#position) throw formatError(`its offset is ${offset} but must be ${this.#position}`, where);
    if (!(bytes <= this.#bin.length - offset)) throw formatError(`it needs ${bytes} bytes at ${offset}, beyond the end of the data`, where);
    this.#position += bytes + (-bytes & 7);
    // slice() copies, so the array starts at an aligned address of its own.
    const { buffer } = new Uint8Array(this.#bin.slice(offset, offset + bytes));
    if (dtype === 'u8') return new Uint8Array(buffer);
    return dtype === 'f32' ? new Float32Array(buffer) : new Int32Array(buffer);
  }

  end(): void {
    if (this.#position !== this.#bin.length) throw formatError(`${this.#bin.length - this.#position} bytes belong to no tensor`, 'data');
  }
}

function uniqueMap<T, V>(
  entries: readonly T[],
  key: (entry: T) => string,
  value: (entry: T, i: number) => V,
  field: string,
): Map<string, V> {
  const map = new Map<string, V>();
  entries.forEach((entry, i) => {
    if (map.has(key(entry))) throw formatError(`'${key(entry)}' appears twice`, `${field}[${i}]`);
    map.set(key(entry), value(entry, i));
  });
  return map;
}

/** zod writes absent optional fields as they are in the file, so only the key moves out. */
function without<T extends object, K extends keyof T>(entry: T, key: K): Omit<T, K> {
  const { [key]: _, ...rest } = entry;
  return rest;
}

function parseJson(text: string): ModelFile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw formatError(`it is no JSON: ${(cause as Error).message}`, 'file', cause);
  }
  const result = modelSchema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw formatError(issue?.message ?? 'it does not fit the schema', issue?.path.join('.') || 'file');
}

/** Values that index other arrays or select by being 0 or 1 must be in range before native code sees them. */
function checkState(model: Model): void {
  const { chains, tensors } = model;
  const inRange = (name: string, low: number, high: number): void => {
    const data = tensors.get(name)?.data ?? [];
    for (const value of data)
      if (!(value >= low && value <= high)) throw formatError(`it holds ${value}, not in [${low}, ${high}]`, `tensor '${name}'`);
  };
  for (const [weight, { mask, codebook }] of chains) {
    if (mask !== undefined) inRange(`${weight}:mask`, 0, 1);
    if (mask?.pruning !== undefined) validateSchedule(mask.pruning.schedule);
    const k = tensors.get(`${weight}:centroids`)?.shape.at(-1);
    if (codebook !== undefined && k !== undefined) {
      inRange(`${weight}:indices`, 0, k - 1);
      inRange(`${weight}:zero_index`, -1, k - 1);
    }
    checkChain(model, weight);
  }
}

function checkParameters(graph: Graph, tensors: ReadonlyMap<string, Tensor>): void {
  validateGraph(graph);
  for (const { name, shape } of listParameters(graph)) {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw formatError('the file lacks this parameter', `tensor '${name}'`);
    if (!(tensor.data instanceof Float32Array) || !sameShape(tensor.shape, shape)) {
      throw formatError(`it must be f32 of shape [${shape.join(', ')}]`, `tensor '${name}'`);
    }
  }
}

function readOptimizer(
  file: NonNullable<ModelFile['optimizer']>,
  tensors: ReadonlyMap<string, Tensor>,
  unpacker: Unpacker,
): OptimizerState {
  const slots = uniqueMap(
    file.slots,
    (entry) => entry.tensor,
    ({ tensor, offsets }, i) => {
      const where = `optimizer.slots[${i}]`;
      const data = tensors.get(tensor)?.data;
      if (data === undefined) throw formatError(`there is no tensor '${tensor}'`, where);
      return offsets.map((offset) => unpacker.take('f32', data.length, offset, where) as Float32Array);
    },
    'optimizer.slots',
  );
  return { kind: file.kind, step: file.step, slots };
}

/**
 * The model in the two files of {@link encodeModel}. Every number is checked before it is used.
 *
 * @throws PcqatError `ERR_FORMAT` naming the field; `ERR_INVARIANT` when a chain cannot keep zeros or clusters; `ERR_GRAPH`, `ERR_UNKNOWN_LAYER`, `ERR_SHAPE`, `ERR_OPTION` for a graph or schedule that is wrong in itself.
 */
export function decodeModel(json: string, bin: Uint8Array): Model {
  return decodeFile(parseJson(json), bin);
}

function decodeFile(file: ModelFile, bin: Uint8Array): Model {
  if (bin.length !== file.data.bytes) throw formatError(`the data has ${bin.length} bytes but must have ${file.data.bytes}`, 'data.bytes');
  if (sha256(bin) !== file.data.sha256) throw formatError('the data does not match its checksum', 'data.sha256');
  const unpacker = new Unpacker(bin);
  const tensors = uniqueMap(
    file.tensors,
    (entry) => entry.name,
    ({ dtype, shape, offset }, i) => ({ shape, data: unpacker.take(dtype, elementCount(shape), offset, `tensors[${i}]`) }),
    'tensors',
  );
  const graph = file.graph as unknown as Graph;
  checkParameters(graph, tensors);
  const model: Model = {
    graph,
    tensors,
    chains: uniqueMap(
      file.chains,
      (entry) => entry.weight,
      (entry) => without(entry, 'weight'),
      'chains',
    ) as Model['chains'],
    quantizers: uniqueMap(
      file.quantizers,
      (entry) => entry.node,
      (entry) => without(entry, 'node'),
      'quantizers',
    ) as Model['quantizers'],
  };
  if (file.optimizer !== undefined) model.optimizer = readOptimizer(file.optimizer, tensors, unpacker);
  unpacker.end();
  checkState(model);
  return model;
}

function sha256(bin: Uint8Array): string {
  return createHash('sha256').update(bin).digest('hex');
}

async function readNext(path: string, file: ModelFile): Promise<Uint8Array | undefined> {
  const bin = await readBounded(path, file.data.bytes, 'data.bytes').catch(() => undefined);
  return bin !== undefined && sha256(bin) === file.data.sha256 ? bin : undefined;
}

async function readBounded(path: string, limit: number, field: string): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > limit) throw formatError(`it has ${size} bytes, more than ${limit}`, field);
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof PcqatError) throw cause;
    throw new PcqatError('ERR_IO', `cannot read ${path}: ${(cause as Error).message}`, { where: path, remedy: 'Check the path.', cause });
  }
}

/**
 * Loads a model that {@link saveModel} wrote, with masks, codebooks, ranges and optimizer state, so that training continues with
 * zeros and clusters kept.
 *
 * @param path - with or without `.json`
 * @throws PcqatError `ERR_IO` when a file cannot be read; `ERR_FORMAT`, `ERR_GRAPH`, `ERR_UNKNOWN_LAYER` when it is damaged, naming the field or layer;
 *   `ERR_INVARIANT` naming the layer and the number of weights when its masks and codebooks contradict each other.
 *
 * @example
 * ```ts
 * import { loadModel, PcqatError } from 'pcqat';
 * try {
 *   await loadModel('missing-model');
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_IO
 * }
 * ```
 */
export async function loadModel(path: string): Promise<Model> {
  const files = modelPaths(path);
  const json = (await readBounded(files.json, MAX_JSON_BYTES, files.json)).toString('utf8');
  try {
    const file = parseJson(json);
    // A crash while the model was being replaced leaves the data that the description means beside the old ones.
    const interrupted = await readNext(files.next, file);
    // The stated size bounds what is read; the file's real size must equal it.
    return decodeFile(file, interrupted ?? (await readBounded(files.bin, file.data.bytes, 'data.bytes')));
  } catch (error) {
    if (!(error instanceof PcqatError) || error.code === 'ERR_IO') throw error;
    throw new PcqatError(error.code, error.message, { where: files.json, cause: error });
  }
}
