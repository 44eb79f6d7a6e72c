import { expect } from 'chai';
import { describe, it } from 'mocha';
import { adam, adamw, sgd, softmaxCrossEntropy } from '#lib/index.js';
import { expectCode } from '../support/errors.js';

describe('optimizers', () => {
  it('have the defaults of Keras (spec 0.4)', () => {
    expect(adam()).to.deep.equal({ spec: { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7, weightDecay: 0 }, learningRate: 1e-3 });
    expect(adamw().spec).to.deep.include({ kind: 'adamw', weightDecay: 0.004 });
    expect(sgd()).to.deep.equal({ spec: { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 }, learningRate: 0.01 });
  });

  const bad: [string, () => unknown, RegExp][] = [
    ['beta1 of 1', () => adam({ beta1: 1 }), /beta1/],
    ['negative beta2', () => adam({ beta2: -0.1 }), /beta2/],
    ['epsilon of 0', () => adam({ epsilon: 0 }), /epsilon/],
    ['negative weight decay', () => adamw({ weightDecay: -1 }), /weightDecay/],
    ['momentum of 1', () => sgd({ momentum: 1 }), /momentum/],
    ['label smoothing of 1', () => softmaxCrossEntropy({ labelSmoothing: 1 }), /labelSmoothing/],
    ['label smoothing that is NaN', () => softmaxCrossEntropy({ labelSmoothing: Number.NaN }), /labelSmoothing/],
  ];
  for (const [what, make, message] of bad) it(`reject ${what}`, () => expectCode(make, 'ERR_OPTION', message));
});
