import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { expect } from 'chai';

const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../test/golden');
const types = { f32: Float32Array, i32: Int32Array, i8: Int8Array, u8: Uint8Array };

/** An array of the golden data (test/golden/README.md). */
export interface GoldenArray<Data extends NumberArray = Float32Array> {
  readonly shape: readonly number[];
  readonly data: Data;
}
type NumberArray = Float32Array | Int32Array | Int8Array | Uint8Array;

/** A group of golden data with its array references resolved. */
export function loadGolden<Group>(name: string): Group {
  const read = (extension: string): Buffer => gunzipSync(readFileSync(path.join(folder, `${name}.${extension}.gz`)));
  const bytes = read('bin');
  const { buffer } = new Uint8Array(bytes); // a copy that starts at an aligned offset
  return JSON.parse(read('json').toString('utf8'), (_key, value: unknown) => {
    if (value === null || typeof value !== 'object' || !('offset' in value) || !('dtype' in value)) return value;
    const { dtype, shape, offset } = value as unknown as { dtype: keyof typeof types; shape: number[]; offset: number };
    return {
      shape,
      data: new types[dtype](
        buffer,
        offset,
        shape.reduce((size, axis) => size * axis, 1),
      ),
    };
  }) as Group;
}

/** Expects equal numbers: NaN equals NaN and −0 equals +0. The message names the first difference. */
export function expectSame(actual: NumberArray, expected: NumberArray, what: string): void {
  expect(actual.length, `${what}: length`).to.equal(expected.length);
  const index = actual.findIndex((value, i) => value !== expected[i] && !(Number.isNaN(value) && Number.isNaN(expected[i])));
  if (index !== -1) expect.fail(`${what}: element ${index} is ${actual[index]}, expected ${expected[index]}`);
}
