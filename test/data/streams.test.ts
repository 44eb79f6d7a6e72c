import { streamBatches, type StreamExample, type StreamOptions } from '#lib/data/streams.js';
import type { Batch } from '#lib/data/types.js';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { expectCode, expectRejection } from '../support/errors.js';

const numbers = (count: number) =>
  async function* () {
    for (let i = 0; i < count; i++) yield { x: [i, -i], y: i };
  };

async function collect(
  open: () => Iterable<StreamExample> | AsyncIterable<StreamExample>,
  options: Partial<StreamOptions> = {},
): Promise<Batch[]> {
  return collectPass(streamBatches(open, { inputShape: [2], batchSize: 4, ...options }));
}

async function collectPass(source: ReturnType<typeof streamBatches>): Promise<Batch[]> {
  const all: Batch[] = [];
  for await (const batch of source()) all.push(batch);
  return all;
}

describe('streamBatches', () => {
  it('groups examples in their order', async () => {
    const all = await collect(numbers(10));
    expect(all.map(({ rows }) => rows)).to.deep.equal([4, 4, 2]);
    expect(all[2]).to.deep.equal({ rows: 2, x: Float32Array.of(8, -8, 9, -9), y: Int32Array.of(8, 9) });
  });

  it('takes target rows and plain iterables', async () => {
    const [batch] = await collect(() => [{ x: [1, 2], y: Float32Array.of(0.5, 0.25, 0.25) }]);
    expect(batch).to.deep.equal({ rows: 1, x: Float32Array.of(1, 2), y: Float32Array.of(0.5, 0.25, 0.25) });
  });

  it('shuffles within its buffer, by seed, anew in each pass', async () => {
    const order = (all: Batch[]) => all.flatMap(({ y }) => [...y]);
    const source = (seed: number) => streamBatches(numbers(50), { inputShape: [2], batchSize: 7, shuffleBuffer: 16, seed });
    const one = source(3);
    const first = order(await collectPass(one));
    const second = order(await collectPass(one));
    expect([...first].sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 50 }, (_, i) => i));
    expect(first).not.to.deep.equal(second);
    const same = source(3);
    expect(order(await collectPass(same))).to.deep.equal(first);
    expect(order(await collectPass(same))).to.deep.equal(second);
    expect(order(await collectPass(source(4)))).not.to.deep.equal(first);
  });

  it('ends the stream when its reader stops', async () => {
    let closed = false;
    const open = async function* () {
      try {
        for (;;) yield { x: [1, 1], y: 0 };
      } finally {
        closed = true;
      }
    };
    for await (const batch of streamBatches(open, { inputShape: [2], batchSize: 2, shuffleBuffer: 3 })()) {
      expect(batch.rows).to.equal(2);
      break;
    }
    expect(closed).to.equal(true);
  });

  it('rejects bad options and examples, naming the example', async () => {
    expectCode(() => streamBatches(numbers(1), { inputShape: [2], batchSize: 0 }), 'ERR_OPTION', /batchSize/);
    expectCode(() => streamBatches(numbers(1), { inputShape: [2], batchSize: 1, shuffleBuffer: -1 }), 'ERR_OPTION', /shuffleBuffer/);
    const good = { x: [1, 1], y: 0 };
    await expectRejection(
      collect(() => [good, { x: [1], y: 0 }]),
      'ERR_SHAPE',
      /example 1/,
    );
    await expectRejection(
      collect(() => [good, { x: [1, NaN], y: 0 }]),
      'ERR_NON_FINITE',
      /example 1/,
    );
    await expectRejection(
      collect(() => [good, { x: [1, 1], y: Float32Array.of(1) }]),
      'ERR_DTYPE',
      /example 1/,
    );
    await expectRejection(
      collect(() => [{ x: [1, 1], y: -1 }]),
      'ERR_LABEL_RANGE',
    );
    await expectRejection(
      collect(() => [{ x: [1, 1], y: Float32Array.of(Infinity) }]),
      'ERR_NON_FINITE',
    );
  });
});
