import { expect } from 'chai';
import { describe, it } from 'mocha';
import { adam, constant, cosineDecay, exponentialDecay, type LearningRate, learningRateAt, piecewiseConstant, warmUp } from '#lib/index.js';
import { expectCode } from '../support/errors.js';

const rates = (schedule: LearningRate, steps: number[]): number[] => steps.map((step) => learningRateAt(schedule, step));

describe('learning-rate schedules', () => {
  it('a number and constant stay', () => {
    expect(rates(0.5, [0, 1e6])).to.deep.equal([0.5, 0.5]);
    expect(rates(constant(0.25), [0, 7])).to.deep.equal([0.25, 0.25]);
  });

  it('exponential decay is initial · rate ^ (step / steps), in stairs if asked', () => {
    const options = { initial: 0.1, decaySteps: 10, decayRate: 0.5 };
    expect(rates(exponentialDecay(options), [0, 10, 20])).to.deep.equal([0.1, 0.05, 0.025]);
    expect(learningRateAt(exponentialDecay(options), 5)).to.be.closeTo(0.1 * Math.SQRT1_2, 1e-15);
    expect(rates(exponentialDecay({ ...options, staircase: true }), [9, 10, 19])).to.deep.equal([0.1, 0.05, 0.05]);
  });

  it('cosine decay ends at alpha · initial and stays there', () => {
    const schedule = cosineDecay({ initial: 2, decaySteps: 100, alpha: 0.1 });
    expect(learningRateAt(schedule, 0)).to.equal(2);
    expect(learningRateAt(schedule, 50)).to.be.closeTo(2 * (0.9 * 0.5 + 0.1), 1e-12);
    expect(learningRateAt(schedule, 25)).to.be.closeTo(2 * (0.9 * 0.5 * (1 + Math.SQRT1_2) + 0.1), 1e-12);
    for (const step of [100, 1000]) expect(learningRateAt(schedule, step)).to.be.closeTo(0.2, 1e-12);
  });

  it('piecewise constant includes the boundary, as Keras', () => {
    const schedule = piecewiseConstant({ boundaries: [10, 20], values: [3, 2, 1] });
    expect(rates(schedule, [0, 10, 11, 20, 21, 1000])).to.deep.equal([3, 3, 2, 2, 1, 1]);
  });

  it('warm-up is a straight line to the start of the next schedule', () => {
    const schedule = warmUp({ steps: 4, initial: 1, then: exponentialDecay({ initial: 5, decaySteps: 1, decayRate: 0.5 }) });
    expect(rates(schedule, [0, 1, 3, 4, 5])).to.deep.equal([1, 2, 4, 5, 2.5]);
    expect(rates(warmUp({ steps: 2, then: 8 }), [0, 1, 2, 3])).to.deep.equal([0, 4, 8, 8]);
  });

  const bad: [string, () => unknown, RegExp][] = [
    ['a negative rate', () => constant(-1), /value/],
    ['a rate that is NaN', () => adam({ learningRate: Number.NaN }), /value/],
    ['no decay steps', () => cosineDecay({ initial: 1, decaySteps: 0 }), /decaySteps/],
    ['alpha above 1', () => cosineDecay({ initial: 1, decaySteps: 1, alpha: 2 }), /alpha/],
    ['a decay rate of 0', () => exponentialDecay({ initial: 1, decaySteps: 1, decayRate: 0 }), /decayRate/],
    ['too few values', () => piecewiseConstant({ boundaries: [1], values: [1] }), /values/],
    ['falling boundaries', () => piecewiseConstant({ boundaries: [2, 1], values: [1, 1, 1] }), /boundaries/],
    ['fractional warm-up', () => warmUp({ steps: 1.5, then: 1 }), /steps/],
    ['a bad inner schedule', () => warmUp({ steps: 1, then: -1 }), /value/],
    ['an unknown kind', () => adam({ learningRate: { kind: 'linear' } as unknown as LearningRate }), /linear/],
  ];
  for (const [what, make, message] of bad) it(`rejects ${what}`, () => expectCode(make, 'ERR_OPTION', message));
});
