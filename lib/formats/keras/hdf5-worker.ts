import { parentPort, workerData } from 'node:worker_threads';
import type * as H5wasm from 'h5wasm';
import { type H5Dataset, H5Reader, type H5Tree } from './hdf5-reader.js';

/** What the worker is started with. */
export interface WorkerInput {
  readonly bytes: Uint8Array;
  readonly roots: readonly string[];
  /** Most bytes of WebAssembly memory. */
  readonly memory: number;
  /** Module specifier of h5wasm. */
  readonly library: string;
}

/** What it answers: that the library is there, the structure, then, asked for them, the datasets' bytes. */
export type WorkerAnswer =
  | { readonly ready: true }
  | { readonly tree: H5Tree }
  | { readonly arrays: readonly Uint8Array<ArrayBuffer>[] }
  | { readonly missing: true }
  | { readonly failed: string };

interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

/** The heap of h5wasm grows as the file asks; beyond the limit growing fails, malloc returns null, and HDF5 reports an error. */
function limitMemory(limit: number): void {
  const { prototype } = (globalThis as unknown as { WebAssembly: { Memory: { prototype: Memory } } }).WebAssembly.Memory;
  const { grow } = prototype;
  prototype.grow = function (this: Memory, pages: number): number {
    if (this.buffer.byteLength + pages * 65536 > limit) throw new RangeError('the memory limit is reached');
    return grow.call(this, pages);
  };
}

function answer(value: WorkerAnswer): void {
  parentPort?.postMessage(value, 'arrays' in value ? value.arrays.map(({ buffer }) => buffer) : []);
}

function message(error: unknown): string {
  // A value that C++ threw is a number here.
  return error instanceof Error ? error.message.slice(0, 500) : 'HDF5 cannot read it';
}

async function start({ bytes, roots, memory, library: specifier }: WorkerInput): Promise<void> {
  let library: typeof H5wasm;
  try {
    library = (await import(specifier)) as typeof H5wasm;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    return answer({ missing: true });
  }
  limitMemory(memory);
  await library.ready;
  answer({ ready: true });
  const reader = new H5Reader(library, bytes);
  parentPort?.on('message', (datasets: readonly H5Dataset[]) => {
    try {
      answer({ arrays: reader.read(datasets) as Uint8Array<ArrayBuffer>[] });
    } catch (error) {
      answer({ failed: message(error) });
    }
  });
  answer({ tree: reader.tree(roots) });
}

start(workerData as WorkerInput).catch((error: unknown) => answer({ failed: message(error) }));
