import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { activationParameters, roundHalfAway, weightScale } from '#lib/compress/quantization/parameters.js';

const f32 = Math.fround;

describe('quantization parameters (spec 5.1)', () => {
  it('gives the parameters that the reference pins (Q8)', () => {
    expect(activationParameters(0, 1)).to.deep.equal({ scale: f32(1 / 255), zeroPoint: -128 });
    expect(activationParameters(0, 255)).to.deep.equal({ scale: 1, zeroPoint: -128 });
    expect(weightScale(127)).to.equal(1);
  });

  it('rounds the zero point of ±6 half away from zero', () => {
    // 255/2 = 127.5 from either end.
    expect(activationParameters(-6, 6)).to.deep.equal({ scale: f32(12 / 255), zeroPoint: 0 });
  });

  it('widens ranges narrower than 1e-6', () => {
    expect(activationParameters(0, 0).scale).to.equal(f32(1e-6 / 255));
    expect(activationParameters(0, 1e-9)).to.deep.equal(activationParameters(0, 0));
    expect(weightScale(0)).to.equal(1e-6 / 254);
    expect(weightScale(1e-7)).to.equal(1e-6 / 254);
  });

  it('includes zero in every range, and represents it exactly', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, min: -1e6, max: 1e6 }), fc.float({ noNaN: true, min: -1e6, max: 1e6 }), (a, b) => {
        const { scale, zeroPoint } = activationParameters(Math.min(a, b), Math.max(a, b));
        expect(zeroPoint).to.be.within(-128, 127);
        expect(Number.isInteger(zeroPoint)).to.equal(true);
        expect(scale).to.be.above(0);
        // Both ends of the range are within half a step of what int8 can represent.
        expect((-128 - zeroPoint) * scale).to.be.at.most(Math.min(a, b, 0) + 0.501 * scale);
        expect((127 - zeroPoint) * scale).to.be.at.least(Math.max(a, b, 0) - 0.501 * scale);
      }),
    );
  });

  it('rounds halves away from zero', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -0.49].map((x) => roundHalfAway(x) + 0)).to.deep.equal([1, 2, 3, -1, -2, 0, 0]);
  });
});
