import { expect } from 'chai';
import { describe, it } from 'mocha';
import { floatToHalf, halfToFloat } from '#lib/formats/float16.js';

describe('float16', () => {
  it('reads every code and writes it back', () => {
    for (let code = 0; code < 0x10000; code++) {
      const value = halfToFloat(code);
      if (Number.isNaN(value)) expect(floatToHalf(value) & 0x7fff, `${code}`).to.be.above(0x7c00);
      else expect(floatToHalf(value), `${code}`).to.equal(code);
    }
  });

  it('rounds what lies between two codes to the nearer one, ties to even', () => {
    for (let code = 0; code < 0x7bff; code++) {
      const [low, high] = [halfToFloat(code), halfToFloat(code + 1)];
      const middle = (low + high) / 2;
      const step = (high - low) / 2 ** 11;
      expect(floatToHalf(middle), `${middle}`).to.equal(code % 2 === 0 ? code : code + 1);
      expect(floatToHalf(middle - step), `${middle - step}`).to.equal(code);
      expect(floatToHalf(-middle - step), `${-middle - step}`).to.equal(0x8000 | (code + 1));
    }
  });

  it('gives known codes, and infinity from 65,520 on', () => {
    expect([0, -0, 1, -2, 65504, 2 ** -24, 2 ** -14, 1 / 3].map(floatToHalf)).to.deep.equal([
      0, 0x8000, 0x3c00, 0xc000, 0x7bff, 1, 0x0400, 0x3555,
    ]);
    expect([65519, 65520, -1e30, Infinity].map(floatToHalf)).to.deep.equal([0x7bff, 0x7c00, 0xfc00, 0x7c00]);
  });
});
