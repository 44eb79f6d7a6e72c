import { readdirSync, readFileSync } from 'node:fs';
import { type FuzzResult, fuzzImport } from './import.js';

const folder = new URL('../../../test/formats/tflite/fixtures/', import.meta.url);

/** Damages the fixtures of the TFLite importer, quantized ones included. */
export function fuzzTflite(count: number, seed = 1): Promise<FuzzResult> {
  const names = readdirSync(folder).filter((name) => name.endsWith('.tflite'));
  return fuzzImport(
    names.map((name) => new Uint8Array(readFileSync(new URL(name, folder)))),
    { extension: '.tflite', options: { dequantize: true }, count, seed },
  );
}
