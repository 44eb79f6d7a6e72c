import { expect } from 'chai';
import { describe, it } from 'mocha';
import { mutationCount } from './mutate.js';
import { fuzzOnnx } from './onnx.js';

describe('fuzzing the ONNX reader', () => {
  it('damaged files give models or typed errors, soon and in little memory', async () => {
    const before = process.memoryUsage.rss();
    const reports = await fuzzOnnx(mutationCount(), 1);
    expect(reports.reduce((sum, { mutations }) => sum + mutations, 0)).to.be.at.least(mutationCount());
    expect(process.memoryUsage.rss() - before).to.be.below(400 * 2 ** 20);
    if (process.env['FUZZ'] !== undefined) console.log(reports);
  }).timeout(600_000);
});
