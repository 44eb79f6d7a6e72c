import { readFileSync } from 'node:fs';
import { encodeOnnx } from '#lib/formats/onnx/write.js';
import { noFiles } from '#lib/formats/onnx/external.js';
import { assembleOnnxBytes } from '#lib/formats/onnx/import.js';
import { int8Cases } from '../support/int8-graphs.js';
import { mutations } from './mutate.js';
import { structureMutations } from './onnx-structure.js';
import { type FuzzReport, runMutations } from './report.js';

const folder = 'test/formats/onnx/pytorch';
/** Together they have every operator that is read. */
const SEEDS = ['cnn-9', 'se_hardswish-13', 'residual-dynamo', 'deconv-13', 'pads-9', 'upsample-dynamo', 'conv1d-dynamo', 'view_flatten-9'];

/** Reads a file as far as it goes, also one that is refused. */
async function read(bytes: Uint8Array): Promise<unknown> {
  const { assembler, output } = assembleOnnxBytes(bytes, noFiles('mutated'), { dequantize: true });
  assembler.check();
  return assembler.finish(output);
}

/** Files of PyTorch, and one of ours: half of the mutations change bytes, half what they say. */
export async function fuzzOnnx(count: number, seed: number): Promise<FuzzReport[]> {
  const files: Uint8Array[] = SEEDS.map((name) => new Uint8Array(readFileSync(`${folder}/${name}.onnx`)));
  const own = int8Cases().find(({ name }) => name === 'residual add relu');
  if (own !== undefined) files.push(encodeOnnx(own.model));
  const share = Math.ceil(count / files.length / 2);
  const reports: FuzzReport[] = [];
  for (const [i, file] of files.entries()) {
    reports.push(await runMutations(mutations(file, share, seed + i), read));
    reports.push(await runMutations(structureMutations(file, share, seed + i), read));
  }
  return reports;
}
