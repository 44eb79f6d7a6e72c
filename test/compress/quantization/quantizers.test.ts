import { expect } from 'chai';
import { describe, it } from 'mocha';
import { checkQuantizer } from '#lib/compress/quantization/quantizers.js';
import { allValuesQuantizer, fixedQuantizer, lastValueQuantizer, movingAverageQuantizer, type Quantizer } from '#lib/index.js';
import { expectCode } from '../../support/errors.js';

const every: readonly Quantizer[] = [
  lastValueQuantizer({ bits: 4, perAxis: true, symmetric: false, narrowRange: false }),
  movingAverageQuantizer({ bits: 6, symmetric: true, decay: 0.5 }),
  movingAverageQuantizer(),
  allValuesQuantizer({ narrowRange: true }),
  fixedQuantizer({ min: -1, max: 2, bits: 3, narrowRange: true }),
];

describe('quantizers', () => {
  it('Q10: are plain data that is equal after a round trip, and immutable', () => {
    for (const quantizer of every) {
      expect(checkQuantizer(JSON.parse(JSON.stringify(quantizer)), 'x')).to.deep.equal(quantizer);
      expect(Object.isFrozen(quantizer)).to.equal(true);
    }
    expect(lastValueQuantizer({ bits: 4 })).to.deep.equal(lastValueQuantizer({ bits: 4 }));
    expect(lastValueQuantizer({ bits: 4 })).not.to.deep.equal(lastValueQuantizer({ bits: 5 }));
  });

  it('Q20: have the defaults of the 8-bit scheme: symmetric narrow last value, asymmetric wide moving average', () => {
    expect(lastValueQuantizer()).to.deep.equal({ kind: 'lastValue', bits: 8, perAxis: false, symmetric: true, narrowRange: true });
    const wide = { bits: 8, perAxis: false, symmetric: false, narrowRange: false };
    expect(movingAverageQuantizer()).to.deep.equal({ kind: 'movingAverage', ...wide });
    expect(allValuesQuantizer()).to.deep.equal({ kind: 'allValues', ...wide });
    expect(fixedQuantizer({ min: 0, max: 1 })).to.deep.equal({ kind: 'fixed', min: 0, max: 1, bits: 8, narrowRange: false });
  });

  it('name the field that is wrong', () => {
    for (const bits of [1, 9, 4.5, NaN, '8' as unknown as number])
      expectCode(() => lastValueQuantizer({ bits }), 'ERR_OPTION', /bits is .* 2 to 8 \(lastValueQuantizer\.bits\)/);
    for (const decay of [0, 1, -1, NaN])
      expectCode(() => movingAverageQuantizer({ decay }), 'ERR_OPTION', /decay is .*movingAverageQuantizer\.decay/);
    expectCode(() => allValuesQuantizer({ perAxis: 1 as unknown as boolean }), 'ERR_OPTION', /perAxis is 1/);
    expectCode(() => allValuesQuantizer({ decay: 0.5 } as never), 'ERR_OPTION', /no field 'decay'/);
    for (const [min, max] of [
      [1, -1],
      [0, 0],
      [1, 2],
      [-2, -1],
    ] as const)
      expectCode(() => fixedQuantizer({ min, max }), 'ERR_OPTION', /range is .*fixedQuantizer/);
    for (const [min, max] of [
      [NaN, 1],
      [-1, Infinity],
      [-1e39, 0],
    ] as const)
      expectCode(() => fixedQuantizer({ min, max }), 'ERR_OPTION', /finite/);
    expectCode(() => fixedQuantizer({} as never), 'ERR_OPTION', /min is NaN/);
    expectCode(() => checkQuantizer({ kind: 'mean' }, 'x'), 'ERR_OPTION', /kind is mean/);
    expectCode(() => checkQuantizer({ kind: 'toString' }, 'x'), 'ERR_OPTION', /kind/);
    expectCode(() => checkQuantizer({ kind: 'lastValue', bits: 8 }, 'x'), 'ERR_OPTION', /perAxis is undefined/);
    for (const value of [null, 3, [], true]) expectCode(() => checkQuantizer(value, 'x'), 'ERR_OPTION', /a quantizer is/);
  });
});
