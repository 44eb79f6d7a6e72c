import { stat } from 'node:fs/promises';
import path from 'node:path';
import { PcqatError } from '../errors.js';
import { readBytes } from '../formats/read-bytes.js';

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

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Weight files lie beside model.json or below it. */
function weightFile(json: string, name: unknown): string {
  if (typeof name !== 'string' || name === '' || name.includes('\0') || path.isAbsolute(name))
    throw malformed(json, 'a weight file has no name');
  const folder = path.dirname(json);
  const file = path.join(folder, name);
  if (path.relative(folder, file).split(path.sep)[0] === '..') throw malformed(json, `the weight file '${name}' lies outside its folder`);
  return file;
}

/**
 * A tfjs model's folder, or its `model.json`, as tfjs takes it from a handler. What is inside is left to tfjs to check.
 *
 * @throws PcqatError `ERR_IO` when a file cannot be read, `ERR_FORMAT` when `model.json` has not the form of a tfjs model's
 */
export async function readArtifacts(source: string): Promise<Artifacts> {
  const isFolder = await stat(source).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
  const json = isFolder ? path.join(source, 'model.json') : source;
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(await readBytes(json)).toString('utf8'));
  } catch (cause) {
    if (cause instanceof PcqatError) throw cause;
    throw malformed(json, 'no JSON', cause);
  }
  if (!isRecord(parsed) || !isRecord(parsed.modelTopology)) throw malformed(json, 'it has no modelTopology');
  if (!Array.isArray(parsed.weightsManifest)) throw malformed(json, 'its weightsManifest is no list');
  const weightSpecs: unknown[] = [];
  const files: string[] = [];
  for (const group of parsed.weightsManifest as unknown[]) {
    if (!isRecord(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights))
      throw malformed(json, 'a group of weights has no paths');
    for (const weight of group.weights as unknown[]) weightSpecs.push(weight);
    for (const name of group.paths as unknown[]) files.push(weightFile(json, name));
  }
  // A file named many times would be read many times.
  if (new Set(files).size < files.length) throw malformed(json, 'a weight file is named twice');
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
