import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** The part of tfjs-tflite-node's addon that tests use. */
interface Addon {
  readonly Interpreter: new (
    model: ArrayBuffer,
    options: { readonly threads: number },
  ) => {
    getInputs(): readonly { data(): Bytes }[];
    getOutputs(): readonly { data(): Bytes }[];
    infer(): boolean;
  };
}

export type Bytes = Int8Array | Uint8Array | Float32Array;

const require = createRequire(import.meta.url);
const root = new URL('../../../', import.meta.url);
const addonPath = fileURLToPath(new URL('build/oracles/node_tflite_binding.node', root));
let addon: Addon | undefined;

/** TFLite 2.9 (the C library in tfjs-tflite-node), default kernels, one thread. Built at the first use. */
function load(): Addon {
  if (addon !== undefined) return addon;
  if (!existsSync(addonPath))
    execFileSync(process.execPath, [fileURLToPath(new URL('scripts/build-oracles.mjs', root))], { stdio: 'inherit' });
  addon = require(addonPath) as Addon;
  return addon;
}

/** A further input: all rows of it, and the shape of one. */
export interface ForeignInput<T extends Bytes> {
  readonly data: T;
  readonly shape: readonly number[];
}

/** Runs a file row by row; returns all output rows. */
export function runTflite29<T extends Bytes>(file: Uint8Array, x: T, others: readonly ForeignInput<T>[] = []): T {
  const { Interpreter } = load();
  const interpreter = new Interpreter(file.slice().buffer as ArrayBuffer, { threads: 1 });
  const inputs = interpreter.getInputs().map((input) => input.data());
  const output = interpreter.getOutputs()[0]?.data();
  const values = [x, ...others.map(({ data }) => data)];
  if (inputs[0] === undefined || output === undefined || inputs.length !== values.length) throw new Error('the model has other inputs');
  const rows = x.length / inputs[0].length;
  const result = new (x.constructor as new (length: number) => T)(rows * output.length);
  for (let row = 0; row < rows; row++) {
    inputs.forEach((input, i) => input.set(values[i]!.subarray(row * input.length, (row + 1) * input.length)));
    if (!interpreter.infer()) throw new Error('TFLite 2.9 failed to run the model');
    result.set(output, row * output.length);
  }
  return result;
}
