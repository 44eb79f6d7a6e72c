import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { importModel } from '#lib/formats/import/index.js';
import { writeTfjs } from '#lib/formats/tfjs/write.js';
import { smallCnn } from '../support/models.js';
import { jsonMutations } from './json.js';
import { mutations } from './mutate.js';
import { type FuzzReport, runMutations } from './report.js';

/** tfjs models: `model.json` as bytes and as a structure, and the weights' bytes. */
export async function fuzzTfjs(count: number, seed: number): Promise<FuzzReport[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'pcqat-fuzz-'));
  try {
    await writeTfjs(smallCnn(), folder);
    const [json, shard] = [path.join(folder, 'model.json'), path.join(folder, 'group1-shard1of1.bin')];
    const [text, weights] = [new Uint8Array(readFileSync(json)), new Uint8Array(readFileSync(shard))];
    const withFile = (file: string) => (content: Uint8Array | string) => {
      writeFileSync(file, content);
      return importModel(folder);
    };
    const third = Math.ceil(count / 3);
    const structure = jsonMutations(JSON.parse(new TextDecoder().decode(text)), third, seed + 1);
    const reports = [await runMutations(mutations(text, third, seed), withFile(json))];
    reports.push(await runMutations(structure, (changed) => withFile(json)(JSON.stringify(changed))));
    writeFileSync(json, text);
    reports.push(await runMutations(mutations(weights, third, seed + 2), withFile(shard)));
    return reports;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
