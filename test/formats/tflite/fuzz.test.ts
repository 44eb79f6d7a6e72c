import { expect } from 'chai';
import { describe, it } from 'mocha';
import { PcqatError } from '#lib/errors.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { loadBinding } from '#lib/native.js';
import { bytesOf, goldenModels, pipelineFile } from '../../support/golden-tflite.js';
import { operatorCases } from '../../support/int8-operators.js';
import { randomNumbers } from '../../support/random.js';

const { IntegerSession } = loadBinding();
const FILES = 24_000;
const ALLOWED = new Set(['ERR_FORMAT', 'ERR_UNSUPPORTED', 'ERR_SHAPE']);
/** Memory that reading and running files of a few KB may take on top of what was there. */
const MEMORY_LIMIT = 300 * 2 ** 20;

const EXTREMES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

type Random = () => number;
const below = (random: Random, n: number): number => Math.floor(random() * n);

/** Changes a copy of `file` in one of the ways that damage files, or that an attacker would try. */
function mutate(file: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  let result = file.slice();
  const view = (): DataView => new DataView(result.buffer, result.byteOffset, result.byteLength);
  const word = (): number => 4 * below(random, Math.floor(result.length / 4));
  for (let count = 1 + below(random, 3); count > 0; count--) {
    if (result.length < 16) break;
    switch (below(random, 6)) {
      case 0: {
        const at = below(random, result.length);
        result[at] = (result[at] ?? 0) ^ (1 << below(random, 8));
        break;
      }
      case 1: // a length, offset or number set to an extreme
        view().setUint32(word(), EXTREMES[below(random, EXTREMES.length)] ?? 0, true);
        break;
      case 2: // a small change: off by one, another index
        view().setInt32(word(), view().getInt32(word(), true) + below(random, 9) - 4, true);
        break;
      case 3: // a vtable entry
        view().setUint16(2 * below(random, Math.floor(result.length / 2)), EXTREMES[below(random, 7)] ?? 0, true);
        break;
      case 4: {
        // a piece of another file
        const length = 1 + below(random, Math.min(64, other.length - 1));
        const from = below(random, other.length - length);
        result.set(other.subarray(from, from + length).subarray(0, result.length - 8), below(random, Math.max(1, result.length - length)));
        break;
      }
      case 5:
        if (random() < 0.3) result = result.slice(0, below(random, result.length));
        break;
    }
  }
  return result;
}

describe('damaged and hostile .tflite files', () => {
  it(`gives a model or a typed error for ${FILES} of them, in bounded time and memory`, async function () {
    this.timeout(120_000);
    const random = randomNumbers(20260101);
    const seeds = [...goldenModels.values()].map(({ file }) => bytesOf(file));
    seeds.push(...operatorCases().map(({ model }) => encodeTflite(model)));
    const runnable = seeds.length;
    seeds.push(pipelineFile('S-1-pcqat-8')); // tens of KB: the same damage hits weights more often
    const before = process.memoryUsage().rss;
    const counts = { read: 0, built: 0, ran: 0 };
    for (let i = 0; i < FILES; i++) {
      const index = random() < 0.02 ? runnable : below(random, runnable);
      const file = mutate(seeds[index] ?? new Uint8Array(), seeds[below(random, runnable)] ?? new Uint8Array(), random);
      try {
        const model = readTflite(file);
        counts.read++;
        if (model.tensors.some(({ dtype }) => dtype === 'float16')) continue; // Int8Runner turns it away
        const session = new IntegerSession(model, { threads: 1 });
        counts.built++;
        const input = model.tensors[model.inputs[0] ?? -1];
        const length = input?.shape.reduce((product, dimension) => product * dimension, 1) ?? 0;
        await session.run(
          input?.dtype === 'float32' ? new Float32Array(length) : input?.dtype === 'uint8' ? new Uint8Array(length) : new Int8Array(length),
        );
        counts.ran++;
        session.dispose();
      } catch (error) {
        if (!(error instanceof PcqatError) || !ALLOWED.has(error.code)) throw new Error(`file ${i}: ${String(error)}`, { cause: error });
      }
    }
    // The mutations must reach every stage, or they test nothing.
    expect(counts.read).to.be.within(FILES / 10, FILES - FILES / 10);
    expect(counts.built).to.be.within(FILES / 20, counts.read - 1);
    expect(counts.ran).to.equal(counts.built);
    expect(process.memoryUsage().rss - before).to.be.below(MEMORY_LIMIT);
  });
});
