import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset, DatasetSplits } from '#lib/data/types.js';

export const SIDE = 12;
const CLASSES = 4;

/** A bright bar whose place is the class, in noise; learned in a few steps. */
function pixels(size: number, seed: number): { x: Uint8Array; y: Uint8Array } {
  let state = seed;
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const y = Uint8Array.from({ length: size }, (_, i) => i % CLASSES);
  const x = new Uint8Array(size * SIDE * SIDE);
  for (let i = 0; i < size; i++) {
    for (let row = 0; row < SIDE; row++) {
      for (let column = 0; column < SIDE; column++) {
        const bright = Math.floor(column / 3) === y[i] ? 160 : 0;
        x[(i * SIDE + row) * SIDE + column] = bright + Math.floor(random() * 90);
      }
    }
  }
  return { x, y };
}

function part(name: string, size: number, seed: number): Dataset {
  const { x, y } = pixels(size, seed);
  return {
    name,
    size,
    inputShape: [SIDE, SIDE, 1],
    x: Float32Array.from(x, (value) => value / 255),
    y: Int32Array.from(y),
    classes: CLASSES,
  };
}

/** Small images for whole runs in memory. */
export const syntheticSplits = (train = 48): DatasetSplits => ({
  train: part('train', train, 1),
  validation: part('validation', 16, 2),
  test: part('test', 24, 3),
  credit: 'made by the test',
});

/** The same as IDX files, for the command line. */
export async function writeIdxFolder(folder: string, train = 64): Promise<void> {
  const header = (...dimensions: number[]): Buffer => {
    const bytes = Buffer.alloc(4 + 4 * dimensions.length);
    bytes[2] = 8; // unsigned bytes
    bytes[3] = dimensions.length;
    dimensions.forEach((length, i) => bytes.writeUInt32BE(length, 4 + 4 * i));
    return bytes;
  };
  for (const [stem, size, seed] of [
    ['train', train, 1],
    ['t10k', 24, 3],
  ] as const) {
    const { x, y } = pixels(size, seed);
    await writeFile(join(folder, `${stem}-images-idx3-ubyte`), Buffer.concat([header(size, SIDE, SIDE), x]));
    await writeFile(join(folder, `${stem}-labels-idx1-ubyte`), Buffer.concat([header(size), y]));
  }
}
