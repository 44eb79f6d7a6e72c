import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { PcqatError } from '../errors.js';

/** A runtime that is not ours, to compare with. */
export interface ForeignRuntime {
  readonly name: string;
  readonly version: string;
  /**
   * Runs an int8 model row by row.
   *
   * @param file - the .tflite file
   * @param input - rows × values of the input tensor
   * @returns rows × values of the output tensor
   */
  run(file: Uint8Array, input: Int8Array, options?: { readonly signal?: AbortSignal }): Promise<Int8Array>;
}

/** Foreign runtimes that pcqat knows how to load; packages that may be installed beside it. */
export type ForeignRuntimeName = 'tfjs-tflite-node';

/** What {@link findForeignRuntime} returns: a runtime, or why there is none. */
export type FoundRuntime = { readonly runtime: ForeignRuntime } | { readonly missing: string };

/** The package of the foreign runtime. */
export const FOREIGN_PACKAGE = 'tfjs-tflite-node';
const NAME = FOREIGN_PACKAGE;
const ADDON = 'node_tflite_binding.node';
const packageRoot = fileURLToPath(new URL('../..', import.meta.url));
const worker = fileURLToPath(new URL('./foreign-worker.js', import.meta.url));
/** No model that is worth certifying takes longer; one that hangs must not hang the export. */
const TIMEOUT_MILLISECONDS = 10 * 60_000;

/** The addon of the foreign runtime and its version, or why there is none. */
export type FoundAddon = { readonly addon: string; readonly version: string } | { readonly missing: string };

/** Looks for the addon as {@link findForeignRuntime} does. */
export function findForeignAddon(from: string = packageRoot): FoundAddon {
  let folder: string;
  try {
    folder = path.dirname(createRequire(path.join(from, 'package.json')).resolve(`${NAME}/package.json`));
  } catch {
    return { missing: `${NAME} is not installed` };
  }
  // Where its install script puts the addon; in a checkout, where scripts/build-oracles.mjs does.
  const places = [path.join(folder, 'build', 'Release', ADDON), path.join(from, 'build', 'oracles', ADDON)];
  const addon = places.find((place) => existsSync(place));
  if (addon === undefined) return { missing: `${NAME} is installed, but its addon was not compiled` };
  const { version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as { version: string };
  return { addon, version };
}

/** @throws PcqatError `ERR_MISSING_PEER` */
export function requireForeignAddon(found: FoundAddon, where: string): Exclude<FoundAddon, { missing: string }> {
  if ('addon' in found) return found;
  throw new PcqatError('ERR_MISSING_PEER', found.missing, {
    where,
    remedy: `Run \`npm install ${NAME} --ignore-scripts=false\`, which compiles it.`,
  });
}

/**
 * Looks for a foreign runtime: `tfjs-tflite-node` (the TFLite C library for Node), an optional peer dependency. Only its addon is used.
 * The package's install script compiles it; where install scripts are off, `npm rebuild tfjs-tflite-node` does.
 *
 * It runs in a process of its own, so that a runtime that crashes or hangs costs the comparison and nothing else.
 *
 * @param from - folder whose `node_modules` is searched, like `require` does. Default: that of pcqat.
 * @example
 * ```ts
 * import { findForeignRuntime } from 'pcqat';
 * const found = findForeignRuntime();
 * console.log('runtime' in found ? found.runtime.version : found.missing);
 * ```
 */
export function findForeignRuntime(from: string = packageRoot): FoundRuntime {
  const found = findForeignAddon(from);
  if ('missing' in found) return found;
  const { addon, version } = found;
  return { runtime: { name: NAME, version, run: (file, input, { signal } = {}) => runInProcess(addon, file, input, signal) } };
}

/**
 * The foreign runtime of that name.
 *
 * @throws PcqatError `ERR_MISSING_PEER` when it is not installed
 * @example
 * ```ts
 * import { loadForeignRuntime, PcqatError } from 'pcqat';
 * try {
 *   console.log(loadForeignRuntime('tfjs-tflite-node').version);
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_MISSING_PEER where it is not installed
 * }
 * ```
 */
export function loadForeignRuntime(name: ForeignRuntimeName, from?: string): ForeignRuntime {
  if (name !== NAME) {
    throw new PcqatError('ERR_OPTION', `there is no foreign runtime '${String(name)}'`, { where: 'foreign', remedy: `Known is ${NAME}.` });
  }
  const found = findForeignRuntime(from);
  if ('runtime' in found) return found.runtime;
  throw new PcqatError('ERR_MISSING_PEER', found.missing, {
    where: 'foreign',
    remedy: `Run \`npm install ${NAME} --ignore-scripts=false\`, which compiles it, or leave out the foreign runtime.`,
  });
}

async function runInProcess(addon: string, file: Uint8Array, input: Int8Array, signal: AbortSignal | undefined): Promise<Int8Array> {
  signal?.throwIfAborted();
  const child = spawn(process.execPath, [worker, addon], {
    stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MILLISECONDS,
    killSignal: 'SIGKILL',
    ...(signal === undefined ? {} : { signal }),
  });
  const [stdin, , stderr, result] = child.stdio as unknown as [Writable, null, Readable, Readable];
  const ended = new Promise<string>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, killed) => resolve(killed === null ? String(code) : killed));
  });
  const length = Buffer.alloc(4);
  length.writeUInt32LE(file.byteLength);
  stdin.on('error', () => undefined); // a process that ended early; its exit code says so
  stdin.write(length);
  stdin.write(file);
  stdin.end(new Uint8Array(input.buffer, input.byteOffset, input.byteLength));
  const [output, log, status] = await Promise.all([collect(result), collect(stderr), ended]);
  if (status !== '0') {
    // The first line that is an error; TFLite also says what it does.
    const reason =
      log
        .toString('utf8')
        .split('\n')
        .find((line) => /error/i.test(line)) ?? `it ended with ${status}`;
    throw new PcqatError('ERR_UNSUPPORTED', `${NAME} could not run the file: ${reason.trim().slice(0, 500)}`, { where: NAME });
  }
  return new Int8Array(output.buffer, output.byteOffset, output.byteLength);
}

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
