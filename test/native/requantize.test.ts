import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { PcqatErrorCode } from '#lib/errors.js';
import type { Requantization } from '../../binding.js';
import { expectCode, expectRejection } from '../support/errors.js';
import { adam, binding, Net, uniform } from './support.js';

/** TFLite's fixed-point arithmetic in exact integers, from its definition. */
function fixedPoint(real: number): { multiplier: bigint; shift: number } {
  let [fraction, shift] = [real, 0];
  while (fraction >= 1) [fraction, shift] = [fraction / 2, shift + 1];
  while (fraction < 0.5) [fraction, shift] = [fraction * 2, shift - 1];
  return { multiplier: BigInt(Math.round(fraction * 2 ** 31)), shift };
}

/** Halves away from zero, or up. */
function divideRounded(x: bigint, divisor: bigint, awayFromZero: boolean): bigint {
  const floor = (a: bigint, b: bigint): bigint => (a - (((a % b) + b) % b)) / b;
  if (!awayFromZero) return floor(2n * x + divisor, 2n * divisor);
  return x < 0n ? -floor(-2n * x + divisor, 2n * divisor) : floor(2n * x + divisor, 2n * divisor);
}

function codeOf(accumulator: number, real: number, rounding: 'twice' | 'once', count = 1): number {
  let { multiplier, shift } = fixedPoint(real);
  if (count > 1) {
    const bits = Math.floor(Math.log2(count));
    multiplier = (multiplier << BigInt(bits)) / BigInt(count);
    shift -= bits;
  }
  if (rounding === 'once') return Number(divideRounded(BigInt(accumulator) * multiplier, 1n << BigInt(31 - shift), false));
  const left = BigInt(accumulator) << BigInt(Math.max(shift, 0));
  const high = divideRounded(left * multiplier, 1n << 31n, false);
  return Number(divideRounded(high, 1n << BigInt(Math.max(-shift, 0)), true));
}

const clamp = (code: number): number => Math.min(Math.max(code, -128), 127);
const away = (x: number): number => Math.sign(x) * Math.round(Math.abs(x));

/** One requantization of rows of `channels` values. */
async function run(requantization: Requantization, x: Float32Array, channels = 1, threads = 1): Promise<Float32Array> {
  const net = new Net([channels]);
  net.add(0, [channels], { op: 'requantize', requantization });
  const session = new binding.Session(net.spec, { maxBatch: x.length / channels, training: false, threads });
  try {
    return await session.forward(x);
  } finally {
    session.dispose();
  }
}

const grid = { scale: 0.05, zeroPoint: -7 };
const f64 = (...values: number[]): Float64Array => Float64Array.from(values);
const real = (code: number, { scale, zeroPoint } = grid): number => Math.fround(Math.fround(scale) * (code - zeroPoint));

describe('requantize', () => {
  const channels = 5;
  const scale = Float64Array.from({ length: channels }, (_, c) => 1e-4 * (c + 1) ** 2);
  const multiplier = f64(3.7, 0.9, 0.021, 0.0013, 0.0000213);
  const sums = Array.from({ length: 4000 }, (_, i) => Math.round((i - 2000) * 1.7 ** (i % 12)));

  for (const rounding of ['twice', 'once'] as const) {
    it(`finds the accumulators behind real values and scales them as the kernels do, rounded ${rounding}`, async () => {
      const offset = f64(0.49, -0.49, 0.3, 0, -0.2);
      const noise = uniform(sums.length, 3, 0.2);
      const x = Float32Array.from(
        sums,
        (sum, i) => (sum + offset[i % channels]! + (Math.abs(sum) < 1e5 ? noise[i]! : 0)) * scale[i % channels]!,
      );
      const expected = sums.map((sum, i) => real(clamp(codeOf(sum, multiplier[i % channels]!, rounding) + grid.zeroPoint)));
      const exact = sums.every((sum, i) => Math.abs(x[i]! / scale[i % channels]! - offset[i % channels]! - sum) < 0.5);
      expect(exact).to.equal(true);
      const y = await run({ ...grid, rounding, accumulators: { scale, offset, multiplier } }, x, channels);
      expect(Array.from(y)).to.deep.equal(expected);
    });
  }

  it('rounds twice and once differently where the kernels do', () => {
    const differing = sums.filter((sum) => codeOf(sum, 0.021, 'twice') !== codeOf(sum, 0.021, 'once'));
    expect(differing.length).to.be.above(0);
  });

  it('divides the multiplier of a mean, rounded down', async () => {
    for (const count of [1, 2, 7, 49, 64, 1000]) {
      const codes = Array.from({ length: 512 }, (_, i) => Math.round((i - 256) * (count / 3)));
      const accumulators = { scale: f64(0.03 / count), multiplier: f64(0.031 / 0.05), count };
      const y = await run(
        { ...grid, rounding: 'twice', accumulators },
        Float32Array.from(codes, (code) => (code * 0.03) / count),
      );
      expect(Array.from(y)).to.deep.equal(codes.map((code) => real(clamp(codeOf(code, 0.031 / 0.05, 'twice', count) - 7))));
    }
  });

  it('scales values below zero by themselves', async () => {
    const codes = Array.from({ length: 256 }, (_, i) => i - 128);
    const accumulators = { scale: f64(0.1), multiplier: f64(0.77) };
    const negative = { scale: f64(0.03), multiplier: f64(0.231) };
    const y = await run(
      { ...grid, rounding: 'twice', accumulators, negative },
      Float32Array.from(codes, (code) => code * (code < 0 ? 0.03 : 0.1)),
    );
    expect(Array.from(y)).to.deep.equal(codes.map((code) => real(clamp(codeOf(code, code < 0 ? 0.231 : 0.77, 'twice') - 7))));
  });

  it('nearest: halves away from the zero point; code: away from code 0; both clamp', async () => {
    const x = Float32Array.from({ length: 1201 }, (_, i) => (i - 600) * 0.125);
    const steps = { scale: 0.25, zeroPoint: -7 };
    const nearest = await run({ ...steps, rounding: 'nearest' }, x);
    expect(Array.from(nearest)).to.deep.equal(Array.from(x, (value) => real(clamp(away(value / 0.25) - 7), steps)));
    const code = await run({ ...steps, rounding: 'code' }, x);
    expect(Array.from(code)).to.deep.equal(Array.from(x, (value) => real(clamp(away(value / 0.25 - 7)), steps)));
    expect(code).not.to.deep.equal(nearest);
    expect(Array.from(await run({ ...steps, rounding: 'nearest' }, Float32Array.of(3e38, -3e38)))).to.deep.equal([33.5, -30.25]);
  });

  it('add: bounds the codes of the sum as a fused activation does', async () => {
    const x = Float32Array.from({ length: 256 }, (_, i) => (i - 128) * 0.125);
    const steps = { scale: 0.25, zeroPoint: -7 };
    for (const activation of ['none', 'relu', 'relu6'] as const) {
      const net = new Net([1]);
      const half = net.add(0, [1], { op: 'requantize', requantization: { scale: 0.125, zeroPoint: 0, rounding: 'nearest' } });
      const requantization = { ...steps, rounding: 'add', inputScale: 0.125, otherScale: 0.125 } as const;
      net.add(half, [1], { op: 'requantize', other: half, requantization, activation });
      const session = new binding.Session(net.spec, { maxBatch: x.length, training: false });
      const [low, high] = { none: [-128, 127], relu: [-7, 127], relu6: [-7, 17] }[activation] as [number, number];
      const expected = Array.from(x, (value) => real(Math.min(Math.max(value / 0.125 - 7, low), high), steps));
      expect(Array.from(await session.forward(x))).to.deep.equal(expected);
      session.dispose();
    }
  });

  it('code: f32 noise does not tip the half of a mean', async () => {
    const x = Float32Array.from({ length: 200 }, (_, i) => (i - 100.5) * 0.013 * (1 + (i % 2 ? 1e-6 : -1e-6)));
    const y = await run({ scale: 0.013, zeroPoint: 3, rounding: 'code' }, x);
    expect(Array.from(y)).to.deep.equal(Array.from(x, (_, i) => real(clamp(away(i - 97.5)), { scale: 0.013, zeroPoint: 3 })));
  });

  it('gives the same bytes for any number of threads', async () => {
    const x = uniform(200_000, 5, 30);
    const requantization = { ...grid, rounding: 'twice' as const, accumulators: { scale, multiplier } };
    const one = await run(requantization, x, channels);
    for (const threads of [2, 3]) expect(await run(requantization, x, channels, threads)).to.deep.equal(one);
  });

  it('does not hide a value that is not finite', async () => {
    const net = new Net([2]);
    const kernel = net.parameter('kernel', [2, 2], new Float32Array(4));
    net.add(net.add(0, [2], { op: 'dense', kernel }), [2], { op: 'requantize', requantization: { ...grid, rounding: 'nearest' } });
    const session = new binding.Session(net.spec, { maxBatch: 1, training: false });
    session.setTensor(kernel, Float32Array.of(3e38, 0, 3e38, 0));
    await expectRejection(session.forward(Float32Array.of(2, 2)), 'ERR_NON_FINITE', /layer0/);
    session.dispose();
  });

  describe('is refused', () => {
    const accumulators = { scale, multiplier };
    const open = (requantization: object, more: object = {}, training = false): unknown => {
      const net = new Net([channels]);
      const other = net.add(0, [1], { op: 'dense', kernel: net.parameter('kernel', [channels, 1], new Float32Array(channels)) });
      net.add(0, [channels], { op: 'requantize', requantization: { ...grid, ...requantization } as Requantization, ...more });
      expect(other).to.equal(1);
      return new binding.Session(net.spec, { maxBatch: 2, training, ...(training ? { optimizer: adam } : {}) });
    };
    const twice = (change: object) => ({ rounding: 'twice', accumulators: { ...accumulators, ...change } });

    const cases: readonly [string, object, PcqatErrorCode, RegExp][] = [
      ['without a rounding', {}, 'ERR_OPTION', /requantization\.rounding is missing/],
      ['an unknown rounding', { rounding: 'up' }, 'ERR_OPTION', /rounding is 'up'/],
      ['no accumulators', { rounding: 'twice' }, 'ERR_OPTION', /requantization\.accumulators is missing/],
      ['accumulators where there are none', { rounding: 'nearest', accumulators }, 'ERR_OPTION', /accumulators is not a known field/],
      ['another array', twice({ scale: Float32Array.of(1) }), 'ERR_DTYPE', /accumulators\.scale must be a Float64Array/],
      ['an empty array', twice({ scale: f64() }), 'ERR_SHAPE', /accumulators\.scale is empty/],
      ['another length', twice({ scale: f64(1, 2, 3) }), 'ERR_SHAPE', /1 element or one for each of the 5 channels, but have 3/],
      ['another length of multipliers', twice({ multiplier: f64(1, 2) }), 'ERR_SHAPE', /5 channels, but have 2/],
      ['another length of offsets', twice({ offset: f64(0, 0) }), 'ERR_SHAPE', /5 channels, but have 2/],
      ['a scale of 0', twice({ scale: f64(0) }), 'ERR_OPTION', /accumulators\.scale must be positive/],
      ['a scale that is not finite', twice({ scale: f64(NaN) }), 'ERR_NON_FINITE', /accumulators\.scale must be finite/],
      ['an offset that is not finite', twice({ offset: f64(Infinity) }), 'ERR_NON_FINITE', /accumulators\.offset must be finite/],
      ['a negative multiplier', twice({ multiplier: f64(-1) }), 'ERR_OPTION', /multiplier must be positive and below 2\^30/],
      ['a huge multiplier', twice({ multiplier: f64(2 ** 30) }), 'ERR_OPTION', /multiplier must be positive and below 2\^30/],
      ['a count of 0', twice({ count: 0 }), 'ERR_OPTION', /count is 0, but must be between 1/],
      ['an unknown field', twice({ bias: f64(0) }), 'ERR_OPTION', /accumulators\.bias is not a known field/],
      ['negative accumulators', { ...twice({}), negative: { scale, multiplier: f64(0) } }, 'ERR_OPTION', /negative\.multiplier/],
      ['an output scale of 0', { rounding: 'nearest', scale: 0 }, 'ERR_OPTION', /requantization\.scale must be positive/],
      ['an output scale beyond f32', { rounding: 'nearest', scale: 1e39 }, 'ERR_OPTION', /requantization\.scale must be positive and fit/],
      [
        'a zero point outside int8',
        { rounding: 'nearest', zeroPoint: 128 },
        'ERR_OPTION',
        /zeroPoint is 128, but must be between -128 and 127/,
      ],
      ['add without a scale', { rounding: 'add', inputScale: 1 }, 'ERR_OPTION', /otherScale is missing/],
      [
        'add with scales far apart',
        { rounding: 'add', inputScale: 1e9, otherScale: 1 },
        'ERR_OPTION',
        /scale is too small beside the operands/,
      ],
      [
        'hard-swish with scales far apart',
        { rounding: 'hardSwish', inputScale: 100 },
        'ERR_OPTION',
        /scale is too small beside the operands/,
      ],
    ];
    for (const [what, requantization, code, message] of cases) {
      it(`with ${what}`, () => {
        expectCode(() => open(requantization), code, message);
      });
    }

    it('with operands that do not fit', () => {
      const add = { rounding: 'add', inputScale: 1, otherScale: 1 };
      expectCode(() => open(add), 'ERR_OPTION', /other is missing/);
      expectCode(() => open(add, { other: 1 }), 'ERR_SHAPE', /operands have different shapes, \[5\] and \[1\]/);
      expectCode(() => open(add, { other: 9 }), 'ERR_GRAPH', /value 9/);
      expectCode(() => open({ rounding: 'nearest' }, { other: 0 }), 'ERR_OPTION', /other is not a known field/);
    });

    it('in a session that trains', () => {
      expectCode(() => open({ rounding: 'nearest' }, {}, true), 'ERR_OPTION', /layer 'layer1' .* has no gradient/);
      expect(() => open({ rounding: 'nearest' })).not.to.throw();
    });
  });
});
