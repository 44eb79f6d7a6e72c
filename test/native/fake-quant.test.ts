import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { expectCode } from '../support/errors.js';
import { expectSame, loadGolden, type GoldenArray } from '../support/golden.js';
import { binding } from './support.js';

interface Operator {
  readonly bits: number;
  readonly narrow: boolean;
  readonly min: GoldenArray;
  readonly max: GoldenArray;
  readonly x: GoldenArray;
  readonly y: GoldenArray;
  readonly dy: GoldenArray;
  readonly dx: GoldenArray;
}
interface WeightCase {
  readonly kind: string;
  readonly perAxis: boolean;
  readonly w: GoldenArray;
  readonly min: GoldenArray;
  readonly max: GoldenArray;
  readonly y: GoldenArray;
  readonly dy: GoldenArray;
  readonly dw: GoldenArray;
}
interface RangeEnds {
  readonly a: GoldenArray;
  readonly x: GoldenArray;
  readonly y: GoldenArray;
  readonly dx: GoldenArray;
}
interface FakeQuant {
  readonly perTensor: readonly Operator[];
  readonly perChannel: readonly Operator[];
  readonly special: readonly Operator[];
  readonly weightQuantizer: readonly WeightCase[];
  readonly rangeEnds: { readonly perChannelOp: RangeEnds; readonly perTensorOp: RangeEnds };
}
interface Range {
  readonly min: Float32Array;
  readonly max: Float32Array;
  readonly bits?: number;
  readonly narrow?: boolean;
}

const isas = binding.buildInfo().availableIsas;
const best = isas.at(-1)!;

function quantize(x: Float32Array, r: Range, isa = best): Float32Array {
  const out = new Float32Array(x.length);
  binding.fakeQuantize(x, r.min, r.max, r.bits ?? 8, r.narrow ?? false, out, isa);
  return out;
}

function differentiate(dy: Float32Array, x: Float32Array, r: Range, isa = best): Float32Array {
  const dx = new Float32Array(x.length);
  binding.fakeQuantizeGradient(dy, x, r.min, r.max, r.bits ?? 8, r.narrow ?? false, dx, isa);
  return dx;
}

const wide6: Range = { min: Float32Array.of(-6), max: Float32Array.of(6) };

/** One channel of the per-channel operator, which length-1 ranges do not select: run it on two equal channels. */
function twice(x: Float32Array): Float32Array {
  return Float32Array.from({ length: 2 * x.length }, (_, i) => x[i >> 1]!);
}
const half = (x: Float32Array): Float32Array => x.filter((_, i) => i % 2 === 0);

describe('fake quantization', () => {
  const golden = loadGolden<FakeQuant>('fake-quant');
  const describeCase = (entry: Operator, i: number): string =>
    `case ${i} ([${entry.min.data[0]}, ${entry.max.data[0]}], ${entry.bits} bits, narrow ${entry.narrow})`;

  for (const isa of isas) {
    it(`per tensor, every recorded range on ${isa}: y and dx bit-exact (spec 3.5)`, () => {
      expect(golden.perTensor).to.have.length(46);
      golden.perTensor.forEach((entry, i) => {
        const range = { min: entry.min.data, max: entry.max.data, bits: entry.bits, narrow: entry.narrow };
        expectSame(quantize(entry.x.data, range, isa), entry.y.data, `${describeCase(entry, i)}: y`);
        expectSame(differentiate(entry.dy.data, entry.x.data, range, isa), entry.dx.data, `${describeCase(entry, i)}: dx`);
      });
    });

    it(`per channel on ${isa}: y and dx bit-exact (spec 3.5)`, () => {
      expect(golden.perChannel).to.have.length(6);
      golden.perChannel.forEach((entry, i) => {
        const single = entry.min.data.length === 1;
        const expand = single ? twice : (x: Float32Array): Float32Array => x;
        const reduce = single ? half : (x: Float32Array): Float32Array => x;
        const range = { min: expand(entry.min.data), max: expand(entry.max.data), bits: entry.bits, narrow: entry.narrow };
        expectSame(reduce(quantize(expand(entry.x.data), range, isa)), entry.y.data, `${describeCase(entry, i)}: y`);
        expectSame(
          reduce(differentiate(expand(entry.dy.data), expand(entry.x.data), range, isa)),
          entry.dx.data,
          `${describeCase(entry, i)}: dx`,
        );
      });
    });

    it(`NaN, infinities, 0/0, NaN and inverted ranges on ${isa} as in the reference (spec 3.5)`, () => {
      golden.special.forEach((entry, i) => {
        // Long enough for the vector kernels, then as a channel between two ordinary ones.
        const repeat = (x: Float32Array): Float32Array => Float32Array.from({ length: 40 }, (_, j) => x[j % x.length]!);
        const range = { min: entry.min.data, max: entry.max.data, bits: entry.bits, narrow: entry.narrow };
        expectSame(quantize(repeat(entry.x.data), range, isa), repeat(entry.y.data), `${describeCase(entry, i)}: y`);
        expectSame(
          differentiate(repeat(entry.dy.data), repeat(entry.x.data), range, isa),
          repeat(entry.dx.data),
          `${describeCase(entry, i)}: dx`,
        );
        const channels = 19;
        const spread = (x: Float32Array): Float32Array =>
          Float32Array.from({ length: x.length * channels }, (_, j) => x[Math.floor(j / channels)]!);
        const ends = (end: number, other: number): Float32Array =>
          Float32Array.from({ length: channels }, (_, c) => (c % 2 === 0 ? end : other));
        const mixed = { ...range, min: ends(entry.min.data[0]!, -1), max: ends(entry.max.data[0]!, 1) };
        const every = (x: Float32Array): Float32Array => x.filter((_, j) => (j % channels) % 2 === 0);
        const what = `${describeCase(entry, i)} as channels`;
        expectSame(every(quantize(spread(entry.x.data), mixed, isa)), every(spread(entry.y.data)), `${what}: y`);
        expectSame(
          every(differentiate(spread(entry.dy.data), spread(entry.x.data), mixed, isa)),
          every(spread(entry.dx.data)),
          `${what}: dx`,
        );
      });
    });

    it(`weight quantizer on ${isa}: last value, symmetric, narrow: range, y and dw exact (spec 3.4)`, () => {
      expect(golden.weightQuantizer).to.have.length(22);
      golden.weightQuantizer.forEach((entry) => {
        const what = `${entry.kind}, ${entry.perAxis ? 'per channel' : 'per tensor'}`;
        const channels = entry.perAxis ? entry.w.shape.at(-1)! : 0;
        const min = new Float32Array(Math.max(channels, 1));
        const max = new Float32Array(Math.max(channels, 1));
        binding.symmetricRange(entry.w.data, channels, min, max, isa);
        expectSame(min, entry.min.data, `${what}: min`);
        expectSame(max, entry.max.data, `${what}: max`);
        const single = channels === 1;
        const expand = single ? twice : (x: Float32Array): Float32Array => x;
        const reduce = single ? half : (x: Float32Array): Float32Array => x;
        const range = { min: expand(min), max: expand(max), narrow: true };
        expectSame(reduce(quantize(expand(entry.w.data), range, isa)), entry.y.data, `${what}: y`);
        expectSame(reduce(differentiate(expand(entry.dy.data), expand(entry.w.data), range, isa)), entry.dw.data, `${what}: dw`);
      });
    });

    it(`which range ends lose their gradient on ${isa}: 4096 ranges (spec 3.5)`, () => {
      const { perChannelOp, perTensorOp } = golden.rangeEnds;
      const channels = { min: perChannelOp.a.data.map((a) => -a), max: perChannelOp.a.data, narrow: true };
      const ones = (n: number): Float32Array => new Float32Array(n).fill(1);
      expectSame(quantize(perChannelOp.x.data, channels, isa), perChannelOp.y.data, 'per channel: y');
      expectSame(
        differentiate(ones(perChannelOp.x.data.length), perChannelOp.x.data, channels, isa),
        perChannelOp.dx.data,
        'per channel: dx',
      );
      const count = perTensorOp.a.data.length;
      for (let i = 0; i < count; i++) {
        const a = perTensorOp.a.data[i]!;
        const column = (x: Float32Array): Float32Array => x.filter((_, j) => j % count === i);
        const range = { min: Float32Array.of(-a), max: Float32Array.of(a), narrow: true };
        const x = column(perTensorOp.x.data);
        expectSame(quantize(x, range, isa), column(perTensorOp.y.data), `per tensor, a = ${a}: y`);
        expectSame(differentiate(ones(3), x, range, isa), column(perTensorOp.dx.data), `per tensor, a = ${a}: dx`);
      }
    });
  }

  it('Q9, Q11: un-trained ranges ±6', () => {
    const relu = Float32Array.of(0, 0, 0, 0.05, 0.1, 3, 6);
    const expected = [0, 0, 0, 0.04705906, 0.09411764, 3.011765, 5.9764705];
    quantize(relu, wide6).forEach((value, i) => expect(value).to.be.closeTo(expected[i]!, 1e-6));
    quantize(Float32Array.of(1, 2), wide6).forEach((value, i) => expect(value).to.be.closeTo([0.9882355, 1.9764705][i]!, 1e-6));
    // Dense, kernel ±1: weights with ±6 narrow, then the output with ±6 wide.
    const weights = quantize(Float32Array.of(-1, 0, 0, 1), { ...wide6, narrow: true });
    const outputs = quantize(Float32Array.of(weights[0]! + weights[2]!, weights[1]! + weights[3]!), wide6);
    outputs.forEach((value, i) => expect(value).to.be.closeTo([-0.9882355, 0.9882355][i]!, 1e-6));
  });

  it('Q9: the symmetric range of [−1, .5] is [−1, 1]; of zeros [+0, +0]', () => {
    const range = (w: Float32Array): [number, number] => {
      const [min, max] = [new Float32Array(1), new Float32Array(1)];
      binding.symmetricRange(w, 0, min, max);
      return [min[0]!, max[0]!];
    };
    expect(range(Float32Array.of(-1, 0.5))).to.deep.equal([-1, 1]);
    const [min, max] = range(Float32Array.of(0, -0));
    expect([Object.is(min, 0), Object.is(max, 0)]).to.deep.equal([true, true]);
  });

  it('every instruction set gives the same bits (property)', () => {
    const bitsOf = (x: Float32Array): Int32Array => new Int32Array(x.buffer);
    const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
    const block = fc
      .record({ channels: fc.integer({ min: 1, max: 37 }), rows: fc.integer({ min: 1, max: 6 }) })
      .chain(({ channels, rows }) =>
        fc.record({
          x: fc.array(fc.oneof(fc.float(), fc.float({ min: -2, max: 2, noNaN: true })), {
            minLength: channels * rows,
            maxLength: channels * rows,
          }),
          ends: fc.array(fc.oneof(finite, fc.float({ min: -2, max: 2, noNaN: true })), { minLength: channels, maxLength: channels }),
          bits: fc.integer({ min: 2, max: 8 }),
          narrow: fc.boolean(),
        }),
      );
    fc.assert(
      fc.property(block, ({ x: values, ends, bits, narrow }) => {
        const x = Float32Array.from(values);
        const dy = x.map((_, i) => i + 1);
        for (const count of [1, ends.length]) {
          const range = {
            min: Float32Array.from(ends.slice(0, count), (v) => Math.min(v, -v / 3)),
            max: Float32Array.from(ends.slice(0, count), (v) => Math.max(v, -v / 3)),
            bits,
            narrow,
          };
          const y = quantize(x, range, 'scalar');
          const dx = differentiate(dy, x, range, 'scalar');
          for (const isa of isas) {
            expectSame(bitsOf(quantize(x, range, isa)), bitsOf(y), `${isa}: y`);
            expectSame(bitsOf(differentiate(dy, x, range, isa)), bitsOf(dx), `${isa}: dx`);
          }
        }
      }),
    );
  });

  it('rejects bad input', () => {
    const x = new Float32Array(6);
    const out = new Float32Array(6);
    const one = Float32Array.of(1);
    expectCode(() => binding.fakeQuantize(x, one, new Float32Array(2), 8, false, out), 'ERR_SHAPE', /max must have 1/);
    expectCode(() => binding.fakeQuantize(x, new Float32Array(4), new Float32Array(4), 8, false, out), 'ERR_SHAPE', /divides the 6/);
    expectCode(() => binding.fakeQuantize(x, new Float32Array(0), new Float32Array(0), 8, false, out), 'ERR_SHAPE', /min has 0/);
    expectCode(() => binding.fakeQuantize(x, one, one, 1, false, out), 'ERR_OPTION', /bits must be an integer between 2 and 16/);
    expectCode(() => binding.fakeQuantize(x, one, one, 8, 0 as unknown as boolean, out), 'ERR_DTYPE', /narrowRange/);
    expectCode(() => binding.fakeQuantize(x, one, one, 8, false, new Float32Array(5)), 'ERR_SHAPE', /out must have 6/);
    expectCode(() => binding.fakeQuantizeGradient(x, new Float32Array(5), one, one, 8, false, out), 'ERR_SHAPE', /x must have 6/);
    expectCode(() => binding.symmetricRange(new Float32Array(0), 0, one, one), 'ERR_EMPTY_DATA');
    expectCode(() => binding.symmetricRange(Float32Array.of(1, NaN), 0, one, one), 'ERR_NON_FINITE', /w\[1\]/);
    expectCode(() => binding.symmetricRange(x, 3, one, one), 'ERR_SHAPE', /min must have 3/);
    expectCode(() => binding.symmetricRange(x, 4, new Float32Array(4), new Float32Array(4)), 'ERR_SHAPE', /4 channels/);
  });
});
