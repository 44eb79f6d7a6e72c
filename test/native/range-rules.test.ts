import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { RangeUpdate, Session } from '../../binding.js';
import { expectCode } from '../support/errors.js';
import { expectSame, loadGolden, type GoldenArray } from '../support/golden.js';
import { binding, Net, product, uniform } from './support.js';

interface Rule {
  readonly update: RangeUpdate;
  readonly bits?: number;
  readonly symmetric?: boolean;
  readonly narrowRange?: boolean;
  readonly decay?: number;
}

interface Ends {
  readonly min: Float32Array;
  readonly max: Float32Array;
}

/** A weight of any rank with one range, or one for each index of its last axis. Nothing reads it. */
class Weight {
  readonly session: Session;
  readonly #net = new Net([1]);

  constructor(shape: readonly number[], rule: Rule, start: readonly [number, number], perChannel = false, isa = isas.at(-1)!) {
    const net = this.#net;
    net.meanSquaredError(net.dense(0, 1, 1));
    const weight = net.parameter('w', shape, new Float32Array(product(shape)));
    const n = perChannel ? shape.at(-1)! : 1;
    const range = (name: string, value: number): number => net.state(name, [n], new Float32Array(n).fill(value));
    net.chains.push({ weight, fakeQuant: { min: range('min', start[0]), max: range('max', start[1]), perChannel, ...rule } });
    this.session = net.session({ isa });
  }

  /** A training forward, or inference. */
  async see(w: Float32Array, mode: 'training' | 'inference' = 'training'): Promise<Ends & { readonly used: Float32Array }> {
    const { session } = this;
    session.setTensor(this.#net.tensor('w'), w);
    await session.forward(Float32Array.of(1), { mode, step: 1 });
    const state = (name: string): Float32Array => session.getTensor(this.#net.tensor(name)) as Float32Array;
    return { min: state('min'), max: state('max'), used: session.getUsedWeight(0) };
  }
}

interface Step {
  readonly x: GoldenArray;
  readonly y: GoldenArray;
  readonly min: GoldenArray;
  readonly max: GoldenArray;
}
interface Recording {
  readonly initMin: number;
  readonly initMax: number;
  readonly steps: readonly Step[];
  readonly inferenceOnLastX?: GoldenArray;
}
interface WeightCase {
  readonly kind: string;
  readonly perAxis: boolean;
  readonly w: GoldenArray;
  readonly min: GoldenArray;
  readonly max: GoldenArray;
  readonly y: GoldenArray;
}

const isas = binding.buildInfo().availableIsas;
const f = Math.fround;

/** An activation that sees batches, from a range of 0/0. */
async function activation(rule: Rule, batches: readonly (readonly number[])[]): Promise<[number, number]> {
  const width = batches[0]!.length;
  const net = new Net([width]);
  const [min, max] = [net.state('min', [1], Float32Array.of(0)), net.state('max', [1], Float32Array.of(0))];
  net.meanSquaredError(net.add(0, [width], { op: 'fakeQuant', fakeQuant: { min, max, ...rule } }));
  const session = net.session();
  for (const batch of batches) await session.forward(Float32Array.from(batch), { mode: 'training', step: 1 });
  return [session.getTensor(min)[0]!, session.getTensor(max)[0]!];
}

describe('range rules', () => {
  const golden = loadGolden<{
    readonly movingAverage: readonly Recording[];
    readonly allValues: readonly Recording[];
    readonly weightQuantizer: readonly WeightCase[];
  }>('fake-quant');

  for (const isa of isas) {
    it(`weights follow recorded moving averages and running extremes on ${isa}, 0 ulp (spec 3.4)`, async () => {
      for (const [update, recordings] of [
        ['movingAverage', golden.movingAverage],
        ['runningMinMax', golden.allValues],
      ] as const) {
        for (const { steps, initMin, initMax, inferenceOnLastX } of recordings) {
          const rule = { update, symmetric: false, narrowRange: false };
          const weight = new Weight(steps[0]!.x.shape, rule, [initMin, initMax], false, isa);
          for (const [i, step] of steps.entries()) {
            const seen = await weight.see(step.x.data);
            expectSame(seen.min, step.min.data, `step ${i}: min`);
            expectSame(seen.max, step.max.data, `step ${i}: max`);
            expectSame(seen.used, step.y.data, `step ${i}: y`);
          }
          if (inferenceOnLastX === undefined) continue;
          const last = await weight.see(steps.at(-1)!.x.data, 'inference');
          expectSame(last.used, inferenceOnLastX.data, 'inference');
          expectSame(last.min, steps.at(-1)!.min.data, 'inference leaves the range');
        }
      }
    });

    it(`weights get the recorded last-value ranges and values on ${isa}, 0 ulp (spec 3.4)`, async () => {
      expect(golden.weightQuantizer).to.have.length(22);
      for (const { kind, perAxis, w, min, max, y } of golden.weightQuantizer) {
        const seen = await new Weight(w.shape, { update: 'lastValue' }, [-6, 6], perAxis, isa).see(w.data);
        expectSame(seen.min, min.data, `${kind}: min`);
        expectSame(seen.max, max.data, `${kind}: max`);
        expectSame(seen.used, y.data, `${kind}: y`);
      }
    });
  }

  it('Q9: last value, symmetric and not, narrow and wide', async () => {
    const r = 0.9921875;
    for (const [rule, batch, expected] of [
      [{ symmetric: false, narrowRange: false }, [-1, 1], [-1, 1]],
      [{ symmetric: true, narrowRange: false }, [-r, r], [-1, r]],
      [{ symmetric: true, narrowRange: true }, [-1, 0.5], [-1, 1]],
      [{ symmetric: true, narrowRange: true }, [0.25, 0.5], [-0.5, 0.5]],
      [{ symmetric: false, narrowRange: false }, [0.25, 0.5], [0, 0.5]],
      [{ symmetric: false, narrowRange: false }, [-0.5, -0.25], [-0.5, 0]],
      [{ symmetric: true, narrowRange: false, bits: 4 }, [-0.5, 0.875], [-1, 0.875]],
    ] as const) {
      expect(await activation({ update: 'lastValue', ...rule }, [batch]), JSON.stringify(rule)).to.deep.equal(expected);
      const weight = await new Weight([1, 2], { update: 'lastValue', ...rule }, [-6, 6]).see(Float32Array.from(batch));
      expect([weight.min[0], weight.max[0]], `weight, ${JSON.stringify(rule)}`).to.deep.equal(expected);
      // Running extremes from 0/0 see the same in one batch.
      expect(await activation({ update: 'runningMinMax', ...rule }, [batch]), `all values, ${JSON.stringify(rule)}`).to.deep.equal(
        expected,
      );
    }
  });

  it('Q9: moving averages from 0/0 after [−1, .5] and [0, 0], symmetric wide and narrow', async () => {
    const batches = [
      [-1, 0.5],
      [0, 0],
    ];
    const [wideMin, wideMax] = await activation({ update: 'movingAverage', symmetric: true }, batches);
    expect(wideMin).to.be.closeTo(-0.000999, 1e-10);
    expect(wideMax).to.be.closeTo(0.000999 * 0.9921875, 1e-10);
    const narrow = await activation({ update: 'movingAverage', symmetric: true, narrowRange: true }, batches);
    expect(narrow[0]).to.be.closeTo(-0.000999, 1e-10);
    expect(narrow[1]).to.equal(-narrow[0]);
  });

  it('Q21, W32: per axis is the last axis in any rank, for every rule: each channel as if alone', async () => {
    for (const shape of [[5], [7, 5], [3, 2, 5], [2, 3, 2, 5], [2, 1, 3, 2, 5]]) {
      for (const update of ['lastValue', 'movingAverage', 'runningMinMax', 'none'] as const) {
        for (const symmetric of [true, false]) {
          const rule = { update, symmetric, narrowRange: symmetric, bits: 5, decay: 0.75 };
          const count = product(shape);
          const whole = new Weight(shape, rule, [-0.25, 0.25], true);
          const channels = Array.from({ length: 5 }, () => new Weight([count / 5, 1], rule, [-0.25, 0.25], true));
          for (const seed of [1, 2, 3]) {
            const w = uniform(count, seed, seed);
            const seen = await whole.see(w);
            for (const [c, channel] of channels.entries()) {
              const own = (values: Float32Array): Float32Array => values.filter((_, i) => i % 5 === c);
              const alone = await channel.see(own(w));
              expectSame(own(seen.used), alone.used, `${update} of [${shape.join(', ')}], channel ${c}`);
              expect([seen.min[c], seen.max[c]]).to.deep.equal([alone.min[0], alone.max[0]]);
            }
          }
        }
      }
    }
  });

  it('only training moves a range, except the last value, which follows from the weight', async () => {
    const w = Float32Array.of(-3, 1, 2, 0.5);
    for (const [update, moves] of [
      ['movingAverage', false],
      ['runningMinMax', false],
      ['none', false],
      ['lastValue', true],
    ] as const) {
      const weight = new Weight([2, 2], { update }, [-1, 1]);
      const { min, max, used } = await weight.see(w, 'inference');
      expect([min[0], max[0]], update).to.deep.equal(moves ? [-3, 3] : [-1, 1]);
      if (!moves) expect(used[0], 'beyond the range').to.equal(-1);
    }
    const fixed = await new Weight([2, 2], { update: 'none' }, [-1, 1]).see(w);
    expect([fixed.min[0], fixed.max[0]]).to.deep.equal([-1, 1]);
  });

  it('W32: bits are honoured with a fixed range', async () => {
    const w = Float32Array.from({ length: 200 }, (_, i) => (i - 100) / 80);
    const weight = new Weight([200, 1], { update: 'none', bits: 3, symmetric: false, narrowRange: false }, [-1, 1]);
    const { used } = await weight.see(w);
    expect(new Set(used.map((v) => v + 0)).size).to.equal(8);
    expect(used[100]).to.equal(0);
    expect(f(Math.max(...used) - Math.min(...used))).to.equal(2);
  });

  it('refuses a decay outside [0, 1] and an unknown rule', () => {
    expectCode(() => new Weight([2, 2], { update: 'movingAverage', decay: 1.5 }, [0, 0]), 'ERR_OPTION', /decay/);
    expectCode(() => new Weight([2, 2], { update: 'mean' as 'none' }, [0, 0]), 'ERR_OPTION', /update/);
  });
});
