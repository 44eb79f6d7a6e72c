import { loadCifar, readCifar } from '#lib/data/cifar.js';
import { loadIdx, readIdx } from '#lib/data/idx.js';
import { armMfcc } from '#lib/data/mfcc.js';
import { loadWavFolder } from '#lib/data/wav-folder.js';
import { readWav, toMono } from '#lib/data/wav.js';
import { expect } from 'chai';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { PcqatError } from '#lib/errors.js';
import { expectCode, expectRejection } from '../support/errors.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'pcqat-data-'));
});
afterEach(() => rm(folder, { recursive: true }));

const file = (name: string, bytes: Uint8Array) => writeFile(path.join(folder, name), bytes);

/** Any bytes give a value or a typed error, quickly. */
function survives(read: (bytes: Uint8Array) => unknown, valid: Uint8Array): void {
  const mutated = fc
    .tuple(fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 4 }), fc.nat(valid.length))
    .map(([changes, length]) => {
      const bytes = valid.slice();
      for (const [at, value] of changes) bytes[at] = value;
      return bytes.subarray(0, length);
    });
  const check = (bytes: Uint8Array) => {
    try {
      read(bytes);
    } catch (error) {
      if (!(error instanceof PcqatError)) throw error;
    }
  };
  fc.assert(fc.property(mutated, check), { numRuns: 2000 });
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), check), { numRuns: 1000 });
}

function idx(type: number, shape: readonly number[], data: Uint8Array): Uint8Array {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.writeUInt8(type, 2);
  header.writeUInt8(shape.length, 3);
  shape.forEach((dimension, axis) => header.writeUInt32BE(dimension, 4 + 4 * axis));
  return Buffer.concat([header, data]);
}

describe('IDX', () => {
  const images = (count: number) =>
    idx(
      8,
      [count, 2, 3],
      Uint8Array.from({ length: count * 6 }, (_, i) => i % 256),
    );
  const labels = (count: number) =>
    idx(
      8,
      [count],
      Uint8Array.from({ length: count }, (_, i) => i % 3),
    );
  const writeAll = async () => {
    await file('train-images-idx3-ubyte.gz', gzipSync(images(24)));
    await file('train-labels-idx1-ubyte', labels(24));
    await file('t10k-images-idx3-ubyte', images(6));
    await file('t10k-labels-idx1-ubyte.gz', gzipSync(labels(6)));
  };

  it('reads every number type, big-endian', () => {
    expect(readIdx(idx(8, [2], Uint8Array.of(7, 255))).data).to.deep.equal(Uint8Array.of(7, 255));
    expect(readIdx(idx(9, [2], Uint8Array.of(7, 255))).data).to.deep.equal(Float64Array.of(7, -1));
    expect(readIdx(idx(11, [1], Uint8Array.of(0xff, 0xfe))).data).to.deep.equal(Float64Array.of(-2));
    expect(readIdx(idx(12, [1], Uint8Array.of(0, 1, 0, 0))).data).to.deep.equal(Float64Array.of(65536));
    expect(readIdx(idx(13, [1], Uint8Array.of(0x3f, 0xc0, 0, 0))).data).to.deep.equal(Float64Array.of(1.5));
    expect(readIdx(idx(14, [1, 1], Uint8Array.of(0x3f, 0xf8, 0, 0, 0, 0, 0, 0)))).to.deep.equal({
      shape: [1, 1],
      data: Float64Array.of(1.5),
    });
  });

  it('loads a folder, gzip or not, with validation from the end of training', async () => {
    await writeAll();
    const { train, validation, test } = await loadIdx({ path: folder, name: 'tiny', labelNames: ['a', 'b', 'c'] });
    expect([train.size, validation.size, test.size]).to.deep.equal([22, 2, 6]);
    expect(train).to.deep.include({ name: 'tiny train', inputShape: [2, 3, 1], classes: 3, labelNames: ['a', 'b', 'c'] });
    expect(validation).to.deep.include({ name: 'tiny validation', y: Int32Array.of(22 % 3, 23 % 3) });
    expect(validation.x[0]).to.equal(Math.fround((22 * 6) / 255));
  });

  it('rejects bad bytes', () => {
    for (const bytes of [
      Uint8Array.of(),
      Uint8Array.of(0, 0, 8),
      Uint8Array.of(1, 0, 8, 1, 0, 0, 0, 0),
      Uint8Array.of(0, 0, 8, 0),
      idx(10, [1], Uint8Array.of(1)),
      idx(8, [3], Uint8Array.of(1, 2)),
      idx(8, [1], Uint8Array.of(1, 2)),
      idx(8, [2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1], Uint8Array.of(1)),
      Uint8Array.of(0, 0, 8, 255, 0, 0, 0, 1),
    ]) {
      expectCode(() => readIdx(bytes, 'some.idx'), 'ERR_FORMAT', /some\.idx/);
    }
    survives(readIdx, idx(14, [2, 1], new Uint8Array(16)));
  });

  it('rejects bad folders', async () => {
    await expectRejection(loadIdx({ path: path.join(folder, 'nowhere') }), 'ERR_IO', /nowhere/);
    await expectRejection(loadIdx({ path: folder }), 'ERR_IO', /test images/);
    await writeAll();
    await expectRejection(loadIdx({ path: folder, validation: 24 }), 'ERR_OPTION', /validation is 24/);
    await expectRejection(loadIdx({ path: folder, labelNames: ['a', 'b'] }), 'ERR_LABEL_RANGE');
    await file('train-labels-idx1-ubyte', labels(23));
    await expectRejection(loadIdx({ path: folder }), 'ERR_SHAPE', /24 images but labels of shape \[23\]/);
    await file('train-labels-idx1-ubyte', idx(8, [4, 6], new Uint8Array(24)));
    await expectRejection(loadIdx({ path: folder }), 'ERR_SHAPE');
    await file('train-images-idx3-ubyte.gz', gzipSync(images(24)).subarray(0, 40));
    await expectRejection(loadIdx({ path: folder }), 'ERR_FORMAT', /gzip data is damaged/);
    await file('train-images-idx3-ubyte.gz', gzipSync(labels(24)));
    await expectRejection(loadIdx({ path: folder }), 'ERR_FORMAT', /rank 3/);
    await file('train-images-idx3-ubyte.gz', idx(8, [0, 2, 3], new Uint8Array()));
    await file('train-labels-idx1-ubyte', labels(0));
    await expectRejection(loadIdx({ path: folder }), 'ERR_EMPTY_DATA');
  });
});

describe('CIFAR-10', () => {
  const record = (label: number, red: number, green: number, blue: number) =>
    Uint8Array.of(label, ...[red, green, blue].flatMap((value) => Array.from({ length: 1024 }, (_, i) => (value + i) % 256)));

  it('turns planes into height, width, channels', () => {
    const data = readCifar(record(9, 10, 20, 30));
    expect(data).to.deep.include({ size: 1, inputShape: [32, 32, 3], classes: 10, y: Int32Array.of(9) });
    expect([...data.x.subarray(0, 6)]).to.deep.equal([10, 20, 30, 11, 21, 31].map((value) => Math.fround(value / 255)));
  });

  it('loads the files of the binary version in order', async () => {
    await file('data_batch_2.bin', record(2, 0, 0, 0));
    await file('data_batch_1.bin.gz', gzipSync(Buffer.concat([record(0, 0, 0, 0), record(1, 0, 0, 0)])));
    await file('test_batch.bin', record(3, 0, 0, 0));
    const { train, validation, test, credit } = await loadCifar({ path: folder, validation: 1 });
    expect([train.y, validation.y, test.y]).to.deep.equal([Int32Array.of(0, 1), Int32Array.of(2), Int32Array.of(3)]);
    expect(credit).to.match(/Krizhevsky/);
  });

  it('rejects bad files', async () => {
    expectCode(() => readCifar(new Uint8Array(3072)), 'ERR_FORMAT');
    expectCode(() => readCifar(new Uint8Array(0)), 'ERR_EMPTY_DATA');
    expectCode(() => readCifar(record(10, 0, 0, 0)), 'ERR_LABEL_RANGE');
    await expectRejection(loadCifar({ path: folder }), 'ERR_IO', /test records/);
  });
});

interface WavParts {
  readonly tag?: number;
  readonly channels?: number;
  readonly bits?: number;
  readonly extensible?: boolean;
  readonly data: Uint8Array;
  readonly before?: Uint8Array;
}

function wav({ tag = 1, channels = 1, bits = 16, extensible = false, data, before = new Uint8Array() }: WavParts): Buffer {
  const chunk = (id: string, body: Uint8Array) => {
    const head = Buffer.from(`${id}    `, 'latin1');
    head.writeUInt32LE(body.length, 4);
    return Buffer.concat([head, body, Buffer.alloc(body.length % 2)]);
  };
  const format = Buffer.alloc(extensible ? 40 : 16);
  format.writeUInt16LE(extensible ? 0xfffe : tag, 0);
  format.writeUInt16LE(channels, 2);
  format.writeUInt32LE(16000, 4);
  format.writeUInt16LE((bits / 8) * channels, 12);
  format.writeUInt16LE(bits, 14);
  if (extensible) format.writeUInt16LE(tag, 24);
  const body = Buffer.concat([Buffer.from('WAVE'), before, chunk('fmt ', format), chunk('data', data)]);
  return chunk('RIFF', body);
}

describe('WAV', () => {
  it('reads every encoding to the same values', () => {
    const values = [0, 0.5, -0.5, -1];
    const integers = (bytes: number) => {
      const buffer = Buffer.alloc(values.length * bytes);
      values.forEach((value, i) => buffer.writeIntLE(value * 2 ** (8 * bytes - 1), i * bytes, bytes));
      return buffer;
    };
    const cases: WavParts[] = [
      { bits: 8, data: Uint8Array.from(values, (value) => value * 128 + 128) },
      { bits: 16, data: integers(2) },
      { bits: 24, data: integers(3) },
      { bits: 32, data: integers(4) },
      { tag: 3, bits: 32, data: new Uint8Array(Float32Array.from(values).buffer) },
      { tag: 3, bits: 64, data: new Uint8Array(Float64Array.from(values).buffer) },
      { extensible: true, data: integers(2) },
      { before: Buffer.from('LIST\x03\0\0\0abc\0', 'latin1'), data: integers(2) },
    ];
    for (const parts of cases) {
      expect(readWav(wav(parts))).to.deep.equal({ sampleRate: 16000, channels: 1, frames: 4, samples: Float32Array.from(values) });
    }
  });

  it('averages channels', () => {
    const stereo = readWav(wav({ channels: 2, data: new Uint8Array(Int16Array.of(16384, 0, -16384, -16384).buffer) }));
    expect(stereo).to.include({ channels: 2, frames: 2 });
    expect(toMono(stereo)).to.deep.equal(Float32Array.of(0.25, -0.5));
  });

  it('rejects bad bytes', () => {
    const good = wav({ data: new Uint8Array(8) });
    const altered = (offset: number, value: number) => {
      const bytes = Buffer.from(good);
      bytes.writeUInt32LE(value, offset);
      return bytes;
    };
    expectCode(() => readWav(new Uint8Array()), 'ERR_FORMAT');
    expectCode(() => readWav(Buffer.from('RIFX\0\0\0\0WAVE')), 'ERR_FORMAT');
    expectCode(() => readWav(good.subarray(0, 40), 'cut.wav'), 'ERR_FORMAT', /cut\.wav/);
    expectCode(() => readWav(good.subarray(0, 50)), 'ERR_FORMAT', /cut off/);
    expectCode(() => readWav(altered(40, 0xffffffff)), 'ERR_FORMAT', /4294967295 bytes stated/);
    expectCode(() => readWav(altered(16, 8)), 'ERR_FORMAT');
    expectCode(() => readWav(altered(22, 0x3e800000)), 'ERR_FORMAT', /0 channels/);
    expectCode(() => readWav(wav({ tag: 2, bits: 4, data: new Uint8Array(8) })), 'ERR_UNSUPPORTED', /encoding 2 with 4 bits/);
    expectCode(() => readWav(wav({ data: new Uint8Array(0) })), 'ERR_EMPTY_DATA');
    expectCode(
      () => readWav(wav({ tag: 3, bits: 32, data: new Uint8Array(Float32Array.of(1, NaN).buffer) })),
      'ERR_NON_FINITE',
      /sample 1/,
    );
    survives(readWav, wav({ channels: 2, data: new Uint8Array(16) }));
  });
});

describe('folder of WAV files', () => {
  const tone = (hz: number) => {
    const samples = Int16Array.from({ length: 12000 }, (_, t) => 8000 * Math.sin((2 * Math.PI * hz * t) / 16000));
    return wav({ data: new Uint8Array(samples.buffer) });
  };

  it('labels recordings by their folder', async () => {
    for (const [label, hz] of [
      ['high', 2000],
      ['low', 300],
    ] as const) {
      await mkdir(path.join(folder, label));
      for (let take = 0; take < 10; take++) await file(`${label}/${take}.wav`, tone(hz + take));
    }
    await file('README.txt', Buffer.from('no folder'));
    const { train, validation, test } = await loadWavFolder({ path: folder, features: armMfcc });
    expect([train.size, validation.size, test.size]).to.deep.equal([16, 2, 2]);
    expect(train).to.deep.include({ inputShape: [49, 10, 1], classes: 2, labelNames: ['high', 'low'] });
  });

  it('rejects bad folders', async () => {
    const load = (options = {}) => loadWavFolder({ path: folder, features: armMfcc, ...options });
    await expectRejection(load(), 'ERR_EMPTY_DATA');
    await expectRejection(load({ seconds: 0 }), 'ERR_OPTION', /seconds/);
    await mkdir(path.join(folder, 'a'));
    await file('a/1.wav', tone(100));
    await expectRejection(load({ features: { ...armMfcc, sampleRate: 8000, highHz: 4000 } }), 'ERR_SHAPE', /16000 Hz/);
    await file('a/1.wav', Buffer.from('text'));
    await expectRejection(load(), 'ERR_FORMAT', /1\.wav/);
  });
});
