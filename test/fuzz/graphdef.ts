import { readdirSync, readFileSync } from 'node:fs';
import { type FuzzResult, fuzzImport } from './import.js';

const folder = new URL('../../../test/formats/graphdef/fixtures/', import.meta.url);

/** Damages the fixtures of the graph importer. */
export function fuzzGraphDef(count: number, seed = 1): Promise<FuzzResult> {
  const names = readdirSync(folder).filter((name) => name.endsWith('.pb'));
  return fuzzImport(
    names.map((name) => new Uint8Array(readFileSync(new URL(name, folder)))),
    { extension: '.pb', count, seed },
  );
}
