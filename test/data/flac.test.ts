import { BitReader } from '#lib/data/bit-reader.js';
import { decodeFlac } from '#lib/data/flac.js';
import { PcqatError } from '#lib/errors.js';
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { createHash } from 'node:crypto';
import { expectCode } from '../support/errors.js';

/** A list of [value, bits] fields. */
type Fields = readonly (readonly [number, number])[];

function pack(fields: Fields): Uint8Array {
  const bits = fields
    .map(([value, width]) => (width === 0 ? '' : (value < 0 ? 2 ** width + value : value).toString(2).padStart(width, '0')))
    .join('');
  const padded = bits.padEnd(Math.ceil(bits.length / 8) * 8, '0');
  return Uint8Array.from(padded.match(/.{8}/g) ?? [], (byte) => parseInt(byte, 2));
}

function stream(samples: readonly number[], subframe: Fields, info: { channels?: number; bits?: number; total?: number } = {}): Uint8Array {
  const { channels = 1, bits = 16, total = samples.length } = info;
  const sum = createHash('md5')
    .update(new Uint8Array(Int16Array.from(samples).buffer))
    .digest();
  const head = pack([
    [0x664c6143, 32],
    [1, 1],
    [0, 7],
    [34, 24],
    [16, 16],
    [16, 16],
    [0, 24],
    [0, 24],
    [8000, 20],
    [channels - 1, 3],
    [bits - 1, 5],
    [0, 4],
    [total, 32],
  ]);
  // Block size in 8 bits, rate and sample size as in STREAMINFO, frame 0.
  const frame = pack([
    [0b11111111111110, 14],
    [0, 2],
    [6, 4],
    [0, 4],
    [0, 4],
    [0, 3],
    [0, 1],
    [0, 8],
    [samples.length - 1, 8],
    [0, 8],
    [0, 1],
    ...subframe,
  ]);
  return Buffer.concat([head, sum, frame, Uint8Array.of(0, 0)]);
}

const rice = (values: readonly number[], parameter: number): Fields =>
  values.flatMap((value) => {
    const folded = value >= 0 ? 2 * value : -2 * value - 1;
    return [[1, (folded >> parameter) + 1] as const, [folded % 2 ** parameter, parameter] as const];
  });

describe('FLAC', () => {
  const expectSamples = (samples: readonly number[], subframe: Fields) =>
    expect([...decodeFlac(stream(samples, subframe)).samples]).to.deep.equal(samples);

  it('decodes constant, verbatim and shifted blocks', () => {
    expectSamples(
      [-7, -7, -7],
      [
        [0, 6],
        [0, 1],
        [-7, 16],
      ],
    );
    expectSamples(
      [1, -32768, 32767],
      [
        [1, 6],
        [0, 1],
        [1, 16],
        [-32768, 16],
        [32767, 16],
      ],
    );
    // Two wasted bits: unary 01, samples in 14 bits.
    expectSamples(
      [4, -8],
      [
        [1, 6],
        [1, 1],
        [1, 2],
        [1, 14],
        [-2, 14],
      ],
    );
  });

  it('decodes fixed predictors', () => {
    const samples = [10, 12, 15, 19, 20];
    const second = samples.slice(2).map((value, i) => value - 2 * (samples[i + 1] as number) + (samples[i] as number));
    expectSamples(samples, [[10, 6], [0, 1], [10, 16], [12, 16], [0, 2], [0, 4], [1, 4], ...rice(second, 1)]);
  });

  it('decodes linear prediction, partitions and escaped residuals', () => {
    // Prediction ⌊(3·previous) / 2⌋; residuals of the first half by Rice, of the second in 6 bits each.
    const samples = [5, 8, -3, 4];
    const residual = samples.slice(1).map((value, i) => value - Math.floor((3 * (samples[i] as number)) / 2));
    expectSamples(samples, [
      [32, 6],
      [0, 1],
      [5, 16],
      [3, 4],
      [1, 5],
      [3, 4],
      [1, 2],
      [1, 4],
      [2, 5],
      ...rice(residual.slice(0, 1), 2),
      [31, 5],
      [6, 5],
      ...residual.slice(1).map((value) => [value, 6] as const),
    ]);
  });

  it('rejects what it cannot decode and what is damaged', () => {
    const good = stream(
      [1, 2, 3],
      [
        [1, 6],
        [0, 1],
        [1, 16],
        [2, 16],
        [3, 16],
      ],
    );
    expectCode(
      () =>
        decodeFlac(
          stream(
            [1],
            [
              [0, 6],
              [0, 1],
              [1, 16],
            ],
            { channels: 2 },
          ),
        ),
      'ERR_UNSUPPORTED',
      /2 channels/,
    );
    expectCode(
      () =>
        decodeFlac(
          stream(
            [1],
            [
              [0, 6],
              [0, 1],
              [1, 16],
            ],
            { bits: 24 },
          ),
        ),
      'ERR_UNSUPPORTED',
      /24 bits/,
    );
    expectCode(
      () =>
        decodeFlac(
          stream(
            [1],
            [
              [0, 6],
              [0, 1],
              [1, 16],
            ],
            { total: 5 },
          ),
        ),
      'ERR_FORMAT',
      /1 samples instead of 5/,
    );
    expectCode(
      () =>
        decodeFlac(
          stream(
            [1],
            [
              [0, 6],
              [0, 1],
              [2, 16],
            ],
          ),
        ),
      'ERR_FORMAT',
      /MD5/,
    );
    expectCode(
      () =>
        decodeFlac(
          stream(
            [1],
            [
              [2, 6],
              [0, 1],
              [2, 16],
            ],
          ),
        ),
      'ERR_FORMAT',
      /reserved subframe/,
    );
    expectCode(() => decodeFlac(new Uint8Array()), 'ERR_FORMAT', /fLaC/);
    for (let length = 0; length < good.length; length++) expectCode(() => decodeFlac(good.subarray(0, length), 'cut'), 'ERR_FORMAT', /cut/);
  });

  it('survives any change of its bytes', () => {
    const good = stream([10, 12, 15, 19, 20], [[10, 6], [0, 1], [10, 16], [12, 16], [0, 2], [0, 4], [1, 4], ...rice([1, 1, -3], 1)]);
    const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(changes, (list) => {
        const bytes = Uint8Array.from(good);
        for (const [at, value] of list) bytes[at] = value;
        try {
          decodeFlac(bytes);
        } catch (error) {
          if (!(error instanceof PcqatError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('BitReader', () => {
  it('reads back any fields', () => {
    const field = fc
      .integer({ min: 1, max: 32 })
      .chain((width) => fc.tuple(fc.integer({ min: 0, max: 2 ** width - 1 }), fc.constant(width)));
    fc.assert(
      fc.property(fc.array(field, { maxLength: 40 }), (fields) => {
        const bits = new BitReader(pack(fields), 'test');
        for (const [value, width] of fields) expect(bits.read(width)).to.equal(value);
      }),
    );
  });

  it('counts zeros across words', () => {
    const bits = new BitReader(
      pack([
        [0, 32],
        [0, 32],
        [1, 7],
        [5, 3],
      ]),
      'test',
    );
    expect(bits.readUnary()).to.equal(70);
    expect(bits.read(3)).to.equal(5);
    expectCode(() => bits.read(32), 'ERR_FORMAT', /ends too early/);
  });
});
