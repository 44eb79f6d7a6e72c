import { PcqatError } from '../errors.js';
import { isObject } from '../formats/keras/json.js';
import { readBytes } from '../formats/read-bytes.js';
import { modelFile, shardPath } from '../formats/tfjs/import.js';

/** What `loadLayersModel` and `loadGraphModel` take from a handler. */
export interface Artifacts {
  readonly format?: unknown;
  readonly modelTopology: Readonly<Record<string, unknown>>;
  readonly weightSpecs: readonly unknown[];
  readonly weightData: ArrayBuffer;
}

function malformed(file: string, message: string, cause?: unknown): PcqatError {
  return new PcqatError('ERR_FORMAT', `it is no tfjs model: ${message}`, { where: file, cause });
}

/**
 * A tfjs model's folder, or its `model.json`, as tfjs takes it from a handler. What is inside is left to tfjs to check.
 *
 * @throws PcqatError `ERR_IO` when a file cannot be read, `ERR_FORMAT` when `model.json` has not the form of a tfjs model's
 */
export async function readArtifacts(source: string): Promise<Artifacts> {
  const json = await modelFile(source);
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(await readBytes(json)).toString('utf8'));
  } catch (cause) {
    if (cause instanceof PcqatError) throw cause;
    throw malformed(json, 'no JSON', cause);
  }
  if (!isObject(parsed) || !isObject(parsed.modelTopology)) throw malformed(json, 'it has no modelTopology');
  if (!Array.isArray(parsed.weightsManifest)) throw malformed(json, 'its weightsManifest is no list');
  const weightSpecs: unknown[] = [];
  const files: string[] = [];
  const seen = new Set<string>();
  for (const group of parsed.weightsManifest as unknown[]) {
    if (!isObject(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights))
      throw malformed(json, 'a group of weights has no paths');
    for (const weight of group.weights as unknown[]) weightSpecs.push(weight);
    for (const name of group.paths as unknown[]) files.push(shardPath(name, json, seen));
  }
  const shards: Uint8Array[] = [];
  for (const file of files) shards.push(await readBytes(file));
  const bytes = Buffer.concat(shards);
  return {
    ...parsed,
    modelTopology: parsed.modelTopology,
    weightSpecs,
    weightData: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
  };
}
