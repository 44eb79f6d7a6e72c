import { encodeModel, type AttributeValue, type WrittenNode, type WrittenTensor, type WrittenValue } from '#lib/formats/onnx/encode.js';
import { noFiles } from '#lib/formats/onnx/external.js';
import { assembleOnnxBytes } from '#lib/formats/onnx/import.js';
import type { ImportOptions, UnsupportedNode } from '#lib/formats/import/types.js';
import type { Model } from '#lib/graph/model.js';
import { UnsupportedNodesError } from '#lib/formats/import/unsupported.js';
import { randomNumbers } from './random.js';

/** `op`, inputs, output, attributes. */
export type NodeSpec = readonly [
  op: string,
  inputs: readonly string[],
  output: string,
  attributes?: Readonly<Record<string, AttributeValue>>,
];

export const ints = (...values: number[]): AttributeValue => ({ ints: values });
export const int = (value: number): AttributeValue => ({ int: value });

/** Random float weights. */
export function weights(name: string, dims: readonly number[], seed = 1): WrittenTensor {
  const random = randomNumbers(seed);
  const length = dims.reduce((product, size) => product * size, 1);
  return floats(
    name,
    dims,
    Array.from({ length }, () => random() - 0.5),
  );
}

export function floats(name: string, dims: readonly number[], values: readonly number[]): WrittenTensor {
  return { name, type: 'float', dims, data: new Uint8Array(Float32Array.from(values).buffer) };
}

export function integers(name: string, values: readonly number[], dims: readonly number[] = [values.length]): WrittenTensor {
  return { name, type: 'int64', dims, data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer) };
}

/** A file that begins at `x` and ends at the last node's output. */
export function onnxFile(
  shape: readonly number[],
  nodes: readonly NodeSpec[],
  initializers: readonly WrittenTensor[] = [],
  options: { readonly opset?: number; readonly inputs?: readonly WrittenValue[]; readonly name?: string } = {},
): Uint8Array {
  const written = nodes.map(([op, inputs, output, attributes = {}]): WrittenNode => ({
    name: `${output}_node`,
    op,
    inputs,
    outputs: [output],
    attributes,
  }));
  return encodeModel({
    name: options.name ?? 'test',
    irVersion: 8,
    opset: options.opset ?? 17,
    nodes: written,
    initializers,
    inputs: [{ name: 'x', type: 'float', shape }, ...(options.inputs ?? [])],
    outputs: [{ name: nodes.at(-1)?.[2] ?? 'x', type: 'float', shape: [] }],
    valueInfos: [],
  });
}

export function readModel(bytes: Uint8Array, options: ImportOptions = {}): Model {
  const { assembler, output } = assembleOnnxBytes(bytes, noFiles('test.onnx'), options);
  return assembler.finish(output);
}

/** The nodes that a file is refused for. */
export function refusals(bytes: Uint8Array, options: ImportOptions = {}): readonly UnsupportedNode[] {
  try {
    readModel(bytes, options);
  } catch (error) {
    if (error instanceof UnsupportedNodesError) return error.nodes;
    throw error;
  }
  return [];
}

/** `[n, c, …]` → `[n, …, c]`. */
export function channelsLast(x: Float32Array, [rows = 1, channels = 1, ...spatial]: readonly number[]): Float32Array {
  const pixels = spatial.reduce((product, size) => product * size, 1);
  const result = new Float32Array(x.length);
  for (let row = 0; row < rows; row++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < pixels; i++) result[(row * pixels + i) * channels + c] = x[(row * channels + c) * pixels + i] ?? 0;
  return result;
}

/** Largest difference by the largest magnitude of `expected`. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let [most, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    most = Math.max(most, Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)));
    largest = Math.max(largest, Math.abs(expected[i] ?? NaN));
  }
  return most / largest;
}
