import { unzipSync, zipSync } from 'fflate';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { assembleKerasBytes } from '#lib/formats/keras/import.js';
import { fuzzHdf5 } from './hdf5-fuzz.js';
import { openInProcess } from './hdf5-in-process.js';
import { jsonMutations } from './json.js';
import { type FuzzReport, runMutations } from './report.js';

const folder = fileURLToPath(new URL('../../../test/formats/keras/models/', import.meta.url));

async function read(bytes: Uint8Array): Promise<unknown> {
  const { assembler, output } = await assembleKerasBytes(bytes, 'mutated', {}, openInProcess);
  assembler.check();
  return assembler.finish(output);
}

/** `.keras` archives: compressed, as they are, and with another config. */
export async function fuzzKeras(count: number, seed: number): Promise<FuzzReport[]> {
  const third = Math.ceil(count / 3);
  const original = new Uint8Array(readFileSync(`${folder}sequence.keras`));
  const files = unzipSync(original);
  const small = zipSync(files, { level: 6 });
  const config: unknown = JSON.parse(new TextDecoder().decode(files['config.json']));
  const pack = (changed: Record<string, Uint8Array>): Uint8Array => zipSync({ ...files, ...changed }, { level: 0 });
  return [
    await fuzzHdf5(small, third, seed),
    await fuzzHdf5(pack({}), third, seed + 1),
    await runMutations(jsonMutations(config, third, seed + 2), (changed) =>
      read(pack({ 'config.json': new TextEncoder().encode(JSON.stringify(changed)) })),
    ),
  ];
}
