import { expect } from 'chai';
import { constantSparsity, polynomialDecay, pruningDecision } from '#lib/compress/sparsity/schedules.js';
import { expectCode } from '../../support/errors.js';
import { loadGolden, type GoldenArray } from '../../support/golden.js';

interface GoldenSchedule {
  readonly schedule: 'PolynomialDecay' | 'ConstantSparsity';
  readonly config: Readonly<Record<string, number>>;
  readonly step: GoldenArray<Int32Array>;
  readonly shouldPrune: GoldenArray<Uint8Array>;
  readonly sparsity: GoldenArray;
}

describe('pruning schedules', () => {
  const polynomial = { initialSparsity: 0.2, finalSparsity: 0.8, beginStep: 100, endStep: 110 };

  it('P33: prune inside the window and at the frequency', () => {
    const due = (schedule: ReturnType<typeof constantSparsity>) => (step: number) => pruningDecision(schedule, step).shouldPrune;
    const window = due(constantSparsity({ targetSparsity: 0.5, beginStep: 100, endStep: 200, frequency: 1 }));
    expect([90, 99, 100, 110, 200, 201, 210].map(window)).to.deep.equal([false, false, true, true, true, false, false]);
    const frequency = due(constantSparsity({ targetSparsity: 0.5, beginStep: 100, frequency: 10 }));
    expect([100, 109, 110, 111].map(frequency)).to.deep.equal([true, false, true, false]);
    const endless = due(constantSparsity({ targetSparsity: 0.5, beginStep: 0, frequency: 10 }));
    expect([1e4, 1e8].map(endless)).to.deep.equal([true, true]);
  });

  it('P34: polynomial decay values', () => {
    const schedule = polynomialDecay({ ...polynomial, frequency: 1 });
    for (const [step, sparsity] of [
      [100, 0.2],
      [102, 0.4928],
      [105, 0.725],
      [110, 0.8],
    ]) {
      expect(pruningDecision(schedule, step).sparsity).to.be.closeTo(sparsity, 1e-7);
    }
  });

  it('agrees with the recorded schedules to 1e-7', () => {
    const { schedules } = loadGolden<{ readonly schedules: readonly GoldenSchedule[] }>('masks');
    expect(schedules).to.have.length(8);
    for (const { schedule: kind, config, step, shouldPrune, sparsity } of schedules) {
      const { begin_step: beginStep, end_step: endStep, frequency } = config;
      const schedule =
        kind === 'ConstantSparsity'
          ? constantSparsity({ targetSparsity: config.target_sparsity, beginStep, endStep, frequency })
          : polynomialDecay({
              initialSparsity: config.initial_sparsity,
              finalSparsity: config.final_sparsity,
              beginStep,
              endStep,
              frequency,
              power: config.power,
            });
      step.data.forEach((t, i) => {
        const decision = pruningDecision(schedule, t);
        expect(decision.shouldPrune, `${JSON.stringify(config)} step ${t}`).to.equal(shouldPrune.data[i] === 1);
        expect(decision.sparsity).to.be.closeTo(sparsity.data[i], 1e-7);
      });
    }
  });

  it('has the defaults of the reference: every 100 steps, without end, the first mask at step 100', () => {
    const schedule = constantSparsity({ targetSparsity: 0.5 });
    expect(schedule).to.include({ beginStep: 0, endStep: -1, frequency: 100 });
    expect(pruningDecision(schedule, 99).shouldPrune).to.equal(false);
    expect(pruningDecision(schedule, 100).shouldPrune).to.equal(true);
    expect(polynomialDecay(polynomial)).to.include({ power: 3, frequency: 100 });
  });

  it('P33: begin = end is one step', () => {
    const once = constantSparsity({ targetSparsity: 0.5, beginStep: 5, endStep: 5, frequency: 1 });
    expect([4, 5, 6].map((step) => pruningDecision(once, step).shouldPrune)).to.deep.equal([false, true, false]);
    const fromZero = constantSparsity({ targetSparsity: 0.5, beginStep: 0, endStep: 0, frequency: 1 });
    expect([0, 1].map((step) => pruningDecision(fromZero, step).shouldPrune)).to.deep.equal([true, false]);
  });

  it('P33: a polynomial schedule is checked like a constant one', () => {
    for (const [field, bad] of [
      ['beginStep', -1],
      ['frequency', 0],
      ['frequency', -10],
      ['endStep', -2],
      ['endStep', 99],
      ['initialSparsity', -0.1],
      ['initialSparsity', 1.1],
      ['finalSparsity', 1],
    ] as const) {
      expectCode(() => polynomialDecay({ ...polynomial, [field]: bad }), 'ERR_OPTION', new RegExp(field));
    }
  });

  it('P33: rejects what spec 1.4 rejects, and a polynomial over no step', () => {
    const constant = { targetSparsity: 0.5 };
    expectCode(() => constantSparsity({ ...constant, beginStep: -1 }), 'ERR_OPTION', /beginStep/);
    expectCode(() => constantSparsity({ ...constant, frequency: 0 }), 'ERR_OPTION', /frequency/);
    expectCode(() => constantSparsity({ ...constant, endStep: -2 }), 'ERR_OPTION', /endStep/);
    expectCode(() => constantSparsity({ ...constant, beginStep: 5, endStep: 4 }), 'ERR_OPTION', /endStep/);
    for (const targetSparsity of [-0.1, 1, 1.5, NaN])
      expectCode(() => constantSparsity({ targetSparsity }), 'ERR_OPTION', /targetSparsity/);
    expectCode(() => polynomialDecay({ ...polynomial, endStep: -1 }), 'ERR_OPTION', /endStep/);
    expectCode(() => polynomialDecay({ ...polynomial, endStep: 100 }), 'ERR_OPTION', /greater than beginStep/);
    expectCode(() => polynomialDecay({ ...polynomial, initialSparsity: 1 }), 'ERR_OPTION', /initialSparsity/);
    expectCode(() => polynomialDecay({ ...polynomial, finalSparsity: -0.5 }), 'ERR_OPTION', /finalSparsity/);
    expectCode(() => polynomialDecay({ ...polynomial, power: NaN }), 'ERR_OPTION', /power/);
    expectCode(() => polynomialDecay({ ...polynomial, frequency: 1.5 }), 'ERR_OPTION', /frequency/);
  });
});
