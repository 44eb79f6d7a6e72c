import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { Bytes, ForeignInput } from './tflite29.js';

/** The WebAssembly layer under @litertjs/core: its JavaScript layer refuses int8 tensors, this one takes them. */
interface Wasm {
  readonly HEAPU8: Uint8Array;
  readonly VectorInt32: new () => { push_back(value: number): void; delete(): void };
  readonly LiteRtLayout: { create(dimensions: unknown): Deletable };
  readonly LiteRtRankedTensorType: { create(elementType: { value: number }, layout: unknown): Deletable };
  readonly LiteRtTensorBuffer: { createManaged(environment: unknown, bufferType: unknown, type: unknown, bytes: number): TensorBuffer };
  readonly LiteRtTensorBufferType: { readonly HOST_MEMORY: unknown };
  readonly LiteRtTensorBufferLockMode: { readonly READ: unknown; readonly WRITE: unknown };
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  loadModel(environment: unknown, pointer: number, bytes: number): Deletable;
  compileModel(environment: unknown, model: unknown, options: unknown): Promise<CompiledModel>;
}

interface Deletable {
  delete(): void;
}

interface TensorBuffer extends Deletable {
  lock(mode: unknown): number;
  unlock(): void;
  packedSize(): number;
}

interface CompiledModel extends Deletable {
  run(signature: number, inputs: readonly TensorBuffer[]): Promise<readonly TensorBuffer[]>;
}

interface LiteRt {
  readonly liteRtWasm: Wasm;
  getDefaultEnvironment(): { readonly liteRtEnvironment: unknown };
}

/** Element types by LiteRT's numbers. */
const ELEMENT_TYPES = new Map<unknown, number>([
  [Float32Array, 1],
  [Uint8Array, 3],
  [Int8Array, 9],
]);

let loading: Promise<LiteRt> | undefined;

/**
 * Loads LiteRT in plain Node: the package expects a worker, i.e. `self` and `importScripts`, and logs to the console.
 */
async function load(): Promise<LiteRt> {
  const require = createRequire(import.meta.url);
  const core = path.dirname(path.dirname(require.resolve('@litertjs/core')));
  const globals = globalThis as Record<string, unknown>;
  globals['self'] = globalThis;
  globals['importScripts'] = (file: string): void => {
    const run = new Function('require', '__filename', '__dirname', `${readFileSync(file, 'utf8')}; return ModuleFactory`) as (
      ...environment: unknown[]
    ) => unknown;
    globals['ModuleFactory'] = run(require, file, path.dirname(file));
  };
  const { loadLiteRt } = (await import('@litertjs/core')) as unknown as { loadLiteRt(folder: string): Promise<LiteRt> };
  return silently(() => loadLiteRt(path.join(core, 'wasm')));
}

/** LiteRT reports what it finds on every load. */
async function silently<T>(action: () => Promise<T>): Promise<T> {
  const { log, info, warn, error } = console;
  Object.assign(console, { log: ignore, info: ignore, warn: ignore, error: ignore });
  try {
    return await action();
  } finally {
    Object.assign(console, { log, info, warn, error });
  }
}

function ignore(): void {}

/** Runs a file row by row on LiteRT's CPU accelerator (XNNPACK for what it takes); returns all output rows. */
export async function runLiteRt<T extends Bytes>(
  file: Uint8Array,
  inputShape: readonly number[],
  x: T,
  others: readonly ForeignInput<T>[] = [],
): Promise<T> {
  loading ??= load();
  const liteRt = await loading;
  const wasm = liteRt.liteRtWasm;
  const environment = liteRt.getDefaultEnvironment();
  const pointer = wasm._malloc(file.byteLength);
  wasm.HEAPU8.set(file, pointer);
  const options = { environment, accelerator: 'wasm', cpuOptions: { numThreads: 1 }, gpuOptions: {}, webNNOptions: {} };
  return silently(async () => {
    const model = wasm.loadModel(environment.liteRtEnvironment, pointer, file.byteLength);
    const compiled = await wasm.compileModel(environment.liteRtEnvironment, model, options);
    try {
      const inputs = [{ data: x, shape: inputShape }, ...others];
      const lengths = inputs.map(({ shape }) => shape.reduce((product, dimension) => product * dimension, 1));
      const rows: T[] = [];
      for (let row = 0; row < x.length / lengths[0]!; row++) {
        const values = inputs.map(({ data, shape }, i) => ({
          shape,
          data: data.subarray(row * lengths[i]!, (row + 1) * lengths[i]!) as T,
        }));
        rows.push(await runRow(wasm, environment.liteRtEnvironment, compiled, values));
      }
      return concatenate(rows);
    } finally {
      compiled.delete();
      model.delete();
      wasm._free(pointer);
    }
  });
}

async function runRow<T extends Bytes>(
  wasm: Wasm,
  environment: unknown,
  compiled: CompiledModel,
  values: readonly ForeignInput<T>[],
): Promise<T> {
  const made: Deletable[] = [];
  const inputs = values.map(({ data, shape }) => {
    const dimensions = new wasm.VectorInt32();
    for (const dimension of shape) dimensions.push_back(dimension);
    const layout = wasm.LiteRtLayout.create(dimensions);
    const type = wasm.LiteRtRankedTensorType.create({ value: ELEMENT_TYPES.get(data.constructor) ?? 0 }, layout);
    const input = wasm.LiteRtTensorBuffer.createManaged(environment, wasm.LiteRtTensorBufferType.HOST_MEMORY, type, data.byteLength);
    const start = input.lock(wasm.LiteRtTensorBufferLockMode.WRITE);
    wasm.HEAPU8.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start);
    input.unlock();
    made.push(dimensions, layout, type, input);
    return input;
  });
  const outputs = await compiled.run(0, inputs);
  const [output, first] = [outputs[0], values[0]];
  if (output === undefined || first === undefined) throw new Error('LiteRT returned no output');
  const from = output.lock(wasm.LiteRtTensorBufferLockMode.READ);
  const bytes = wasm.HEAPU8.slice(from, from + output.packedSize());
  output.unlock();
  for (const deletable of [...made, ...outputs]) deletable.delete();
  return new (first.data.constructor as new (buffer: ArrayBuffer) => T)(bytes.buffer);
}

function concatenate<T extends Bytes>(rows: readonly T[]): T {
  const first = rows[0];
  if (first === undefined) throw new Error('no rows');
  const result = new (first.constructor as new (length: number) => T)(first.length * rows.length);
  rows.forEach((row, i) => result.set(row, i * first.length));
  return result;
}
