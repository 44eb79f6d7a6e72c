import { expect } from 'chai';
import { describe, it } from 'mocha';
import { fuzzTflite } from '../../fuzz/tflite.js';
import { mutationCount } from '../../fuzz/mutate.js';

/** Memory that files of a few KB may take on top of what was there. */
const MEMORY_LIMIT = 300 * 2 ** 20;

describe('importing damaged .tflite files', () => {
  const count = mutationCount();

  it(`gives a model or a typed error for ${count} of them, in bounded time and memory`, async function () {
    this.timeout(60_000 + 20 * count);
    const before = process.memoryUsage().rss;
    const { imported, refused, slowestMs } = await fuzzTflite(count);
    if (count > 500)
      console.log(`      ${imported} imported, ${JSON.stringify(Object.fromEntries(refused))}, at most ${Math.round(slowestMs)} ms`);
    // The mutations must reach every stage, or they test nothing.
    expect(imported).to.be.above(count / 20);
    expect(refused.get('ERR_FORMAT')).to.be.above(count / 10);
    expect(refused.get('ERR_UNSUPPORTED')).to.be.above(count / 100);
    expect(process.memoryUsage().rss - before).to.be.below(MEMORY_LIMIT);
  });
});
