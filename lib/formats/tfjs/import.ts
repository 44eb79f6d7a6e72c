import { open, stat } from 'node:fs/promises';
import path from 'node:path';
import { PcqatError } from '../../errors.js';
import { readBytes, unreadable } from '../read-bytes.js';
import type { Assembled, ImportOptions } from '../import/types.js';
import { field, listOf, parseJson } from '../keras/json.js';
import { assembleLayers, layersConfig, sizeError, TfjsWeights } from './read-artifacts.js';
import { byteLength, parseSpecs } from './specs.js';

/**
 * Reads a tfjs LayersModel: `model.json`, or its folder, with the weight files that it names beside or below it. Weights that the converter
 * quantized (uint8, uint16, float16) are read as the floats that tfjs makes of them.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` for a graph model; `ERR_IO`, `ERR_FORMAT` for files that are missing, damaged, or outside the folder
 */
export async function assembleTfjs(file: string, options: ImportOptions): Promise<Assembled> {
  const json = await modelFile(file);
  const content = parseJson(new TextDecoder().decode(await readBytes(json)), json);
  const config = layersConfig(field(content, 'modelTopology'), field(content, 'format'), json);
  const store = new TfjsWeights(json);
  const seen = new Set<string>();
  for (const group of listOf(field(content, 'weightsManifest'))) {
    const specs = parseSpecs(field(group, 'weights'), json);
    const expected = specs.reduce((sum, spec) => sum + byteLength(spec, json), 0);
    const shards = listOf(field(group, 'paths')).map((name) => shardPath(name, json, seen));
    store.add(specs, await readShards(shards, expected, json));
  }
  return assembleLayers(config, store, options, json);
}

/** The `model.json` of a model that is named by it or by its folder. @throws PcqatError `ERR_IO` */
export async function modelFile(file: string): Promise<string> {
  try {
    return (await stat(file)).isDirectory() ? path.join(file, 'model.json') : file;
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

/** A file in the folder of the model; the manifest cannot reach further, nor name a file twice. */
export function shardPath(name: unknown, json: string, seen: Set<string>): string {
  const folder = path.dirname(json);
  const relative = typeof name === 'string' ? path.normalize(name) : '..';
  const isOutside = relative === '.' || path.isAbsolute(relative) || relative.split(path.sep)[0] === '..' || relative.includes('\0');
  if (isOutside || seen.has(relative)) {
    const problem = isOutside ? 'is not in the folder of the model' : 'is named twice';
    throw new PcqatError('ERR_FORMAT', `the weight file '${String(name).slice(0, 200)}' ${problem}`, { where: json });
  }
  seen.add(relative);
  return path.join(folder, relative);
}

/** The shards one behind the other; their sizes are compared before anything is read. */
async function readShards(shards: readonly string[], expected: number, json: string): Promise<Uint8Array> {
  const sizes: number[] = [];
  for (const shard of shards) sizes.push(await sizeOf(shard));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total !== expected) throw sizeError(expected, total, json);
  const bytes = new Uint8Array(total);
  let offset = 0;
  for (const [i, shard] of shards.entries()) {
    const end = offset + (sizes[i] ?? 0);
    await readInto(shard, bytes.subarray(offset, end));
    offset = end;
  }
  return bytes;
}

async function sizeOf(shard: string): Promise<number> {
  try {
    const found = await stat(shard);
    if (found.isFile()) return found.size;
  } catch (cause) {
    throw unreadable(shard, cause);
  }
  throw new PcqatError('ERR_FORMAT', 'it is no file', { where: shard });
}

async function readInto(shard: string, target: Uint8Array): Promise<void> {
  try {
    const file = await open(shard);
    try {
      for (let done = 0; done < target.length;) {
        const { bytesRead } = await file.read(target, done, target.length - done, done);
        if (bytesRead === 0) throw new Error('it became shorter while it was read');
        done += bytesRead;
      }
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw unreadable(shard, cause);
  }
}
