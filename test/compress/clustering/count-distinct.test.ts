import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { countDistinct } from '#lib/compress/clustering/count-distinct.js';

describe('countDistinct', () => {
  it('counts as a set does, with both zeros as one value', () => {
    const few = fc.array(fc.constantFrom(0, -0, 0.5, -0.5, 1e-45, Infinity, 3), { maxLength: 40 });
    fc.assert(
      fc.property(fc.oneof(few, fc.array(fc.float(), { maxLength: 2000 })), (values) => {
        const data = Float32Array.from(values);
        expect(countDistinct(data)).to.equal(new Set(data.map((value) => value + 0)).size);
      }),
    );
  });

  it('grows, and reads views that do not start a buffer', () => {
    const values = Float32Array.from({ length: 100_001 }, (_, i) => i / 3);
    expect(countDistinct(values)).to.equal(100_001);
    expect(countDistinct(values.subarray(1, 5))).to.equal(4);
  });
});
