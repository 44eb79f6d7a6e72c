import { expect } from 'chai';
import { describe, it } from 'mocha';
import { fuzzKerasH5 } from './keras-h5.js';
import { fuzzKeras } from './keras.js';
import { mutationCount } from './mutate.js';
import type { FuzzReport } from './report.js';
import { fuzzTfjs } from './tfjs.js';

const SEED = 20_250_101;

/** Some are refused and some are not, or the mutations were no test. */
function check(reports: readonly FuzzReport[]): void {
  const count = mutationCount();
  const accepted = reports.reduce((sum, report) => sum + report.accepted, 0);
  const all = reports.reduce((sum, report) => sum + report.mutations, 0);
  expect(all).to.be.at.least(count);
  expect(accepted).to.be.within(1, all - 1);
  if (count > 500) for (const report of reports) console.log(report);
}

describe('damaged Keras and tfjs files give a model or a PcqatError', function () {
  this.timeout(0);

  it('.h5', async () => check([await fuzzKerasH5(mutationCount(), SEED)]));
  it('.keras', async () => check(await fuzzKeras(mutationCount(), SEED)));
  it('tfjs', async () => check(await fuzzTfjs(mutationCount(), SEED)));
});
