import { expect } from 'chai';
import { describe, it } from 'mocha';
import { ANY_ID, idsIn, isKnown, REGISTRY_ROW, STATEMENT_IDS, WEAKNESS_IDS } from './ids.js';

describe('numbers in test titles', () => {
  it('finds single numbers, wherever they stand', () => {
    expect(idsIn('P12: threshold 3')).to.deep.equal(['P12']);
    expect(idsIn('keeps zeros (X2, X4; W14) in Q4')).to.deep.equal(['X2', 'X4', 'W14', 'Q4']);
    expect(idsIn('X2 and again X2')).to.deep.equal(['X2']);
  });

  it('expands ranges, with a dash or a hyphen', () => {
    expect(idsIn('X6–X8')).to.deep.equal(['X6', 'X7', 'X8']);
    expect(idsIn('W4 - W6')).to.deep.equal(['W4', 'W5', 'W6']);
    expect(idsIn('P3–X5')).to.deep.equal(['P3', 'X5']);
  });

  it('takes the registry tests as one row', () => {
    expect(idsIn('C24–C46')).to.deep.equal([REGISTRY_ROW]);
    expect(idsIn('C30')).to.deep.equal([REGISTRY_ROW]);
    expect(idsIn('C23–C25')).to.deep.equal(['C23', REGISTRY_ROW]);
  });

  it('is not taken in by other text', () => {
    for (const text of ['C_IN', 'W[2,2,1,2]', 'AP12', 'P123', 'C++17', 'x86', 'P-trace']) {
      expect(idsIn(text), text).to.deep.equal([]);
      expect(ANY_ID.test(text), text).to.equal(false);
    }
  });

  it('knows every row once', () => {
    expect(STATEMENT_IDS).to.have.length(40 + 52 - 22 + 27 + 13);
    expect(new Set([...STATEMENT_IDS, ...WEAKNESS_IDS]).size).to.equal(STATEMENT_IDS.length + 45);
    expect(['P0', 'P41', 'C24', 'Q28', 'W46'].filter(isKnown)).to.deep.equal([]);
  });
});
