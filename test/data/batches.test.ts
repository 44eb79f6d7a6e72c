import { arrayDataset, oneHot } from '#lib/data/arrays.js';
import { compose, mixup, randomHorizontalFlip, randomNoise, randomShift } from '#lib/data/augment.js';
import { batches, permutation } from '#lib/data/batches.js';
import { split } from '#lib/data/split.js';
import type { Batch, Dataset } from '#lib/data/types.js';
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { expectCode } from '../support/errors.js';

/** Example i has label i % 3 and features [i, i + 0.5]. */
function numbered(size: number): Dataset {
  const x = Float32Array.from({ length: size * 2 }, (_, i) => Math.floor(i / 2) + (i % 2) / 2);
  return arrayDataset({ x, y: Array.from({ length: size }, (_, i) => i % 3), inputShape: [2], classes: 3 });
}

const visited = (all: Iterable<Batch>) => [...all].flatMap(({ x }) => [...x].filter((_, i) => i % 2 === 0));

describe('batches', () => {
  it('visits every example once, in order without shuffling', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 60 }), (size, batchSize) => {
        const all = [...batches(numbered(size), { batchSize })];
        expect(visited(all)).to.deep.equal(Array.from({ length: size }, (_, i) => i));
        expect(all.length).to.equal(Math.ceil(size / batchSize));
        expect(all.every(({ rows, x, y }) => x.length === rows * 2 && y.length === rows)).to.equal(true);
      }),
    );
  });

  it('does not copy when nothing changes', () => {
    const data = numbered(4);
    const [first] = batches(data, { batchSize: 3 });
    expect(first?.x.buffer).to.equal(data.x.buffer);
  });

  it('shuffles features and labels together', () => {
    for (const batch of batches(numbered(100), { batchSize: 7, shuffle: true, seed: 5 })) {
      for (let row = 0; row < batch.rows; row++) expect(batch.y[row]).to.equal((batch.x[row * 2] as number) % 3);
    }
  });

  it('shuffles by seed and epoch only', () => {
    const order = (batchSize: number, seed: number, epoch: number) =>
      visited(batches(numbered(60), { batchSize, shuffle: true, seed, epoch }));
    expect(order(7, 1, 2)).to.deep.equal(order(60, 1, 2));
    expect(order(7, 1, 2)).not.to.deep.equal(order(7, 1, 3));
    expect(order(7, 1, 2)).not.to.deep.equal(order(7, 2, 2));
    expect(order(7, 1, 2).sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 60 }, (_, i) => i));
  });

  it('draws permutations evenly', () => {
    const count = new Map<string, number>();
    for (let epoch = 0; epoch < 6000; epoch++) {
      const key = permutation(3, 11, epoch).join('');
      count.set(key, (count.get(key) ?? 0) + 1);
    }
    expect(count.size).to.equal(6);
    // Binomial(6000, 1/6): standard deviation 29.
    for (const times of count.values()) expect(times).to.be.within(1000 - 150, 1000 + 150);
  });

  it('leaves out a smaller last batch when asked to', () => {
    expect([...batches(numbered(10), { batchSize: 4, dropRemainder: true })].map(({ rows }) => rows)).to.deep.equal([4, 4]);
    expectCode(() => [...batches(numbered(3), { batchSize: 4, dropRemainder: true })], 'ERR_EMPTY_DATA');
  });

  it('rejects bad options', () => {
    for (const options of [
      { batchSize: 0 },
      { batchSize: 1.5 },
      { batchSize: NaN },
      { batchSize: 2, seed: 0.5 },
      { batchSize: 2, epoch: -1 },
    ]) {
      expectCode(() => [...batches(numbered(3), options)], 'ERR_OPTION');
    }
  });
});

describe('augmentation', () => {
  const image = arrayDataset({ name: 'images', x: Float32Array.from({ length: 24 }, (_, i) => i + 1), y: [0, 1], inputShape: [3, 2, 2] });

  it('depends on seed, epoch and example, not on batching or order', () => {
    const augment = compose(randomShift({ height: 1, width: 1 }), randomHorizontalFlip(), randomNoise({ stddev: 0.5 }));
    const data = arrayDataset({
      x: Float32Array.from({ length: 20 * 12 }, (_, i) => i),
      y: Array.from({ length: 20 }, (_, i) => i),
      inputShape: [3, 2, 2],
    });
    const byExample = (options: { batchSize: number; shuffle: boolean; epoch: number }) => {
      const rows = new Map<number, string>();
      for (const { x, y, rows: count } of batches(data, { ...options, seed: 9, augment })) {
        for (let row = 0; row < count; row++) rows.set(y[row] as number, x.subarray(row * 12, row * 12 + 12).join());
      }
      return rows;
    };
    const plain = byExample({ batchSize: 20, shuffle: false, epoch: 0 });
    expect(byExample({ batchSize: 3, shuffle: true, epoch: 0 })).to.deep.equal(plain);
    expect(byExample({ batchSize: 20, shuffle: false, epoch: 1 })).not.to.deep.equal(plain);
  });

  it('leaves the data set as it is', () => {
    const before = image.x.slice();
    for (const batch of batches(image, { batchSize: 2, augment: randomNoise({ stddev: 1 }) })) expect(batch.x).not.to.deep.equal(before);
    expect(image.x).to.deep.equal(before);
  });

  it('shifts by whole rows and columns, filling with zeros', () => {
    const ones = arrayDataset({ x: new Float32Array(200 * 12).fill(1), y: new Int32Array(200), inputShape: [4, 3, 1] });
    const seen = new Set<string>();
    for (const { x } of batches(ones, { batchSize: 1, augment: randomShift({ height: 1, width: 1 }) })) seen.add(x.join(''));
    const expected = new Set<string>();
    for (const down of [-1, 0, 1]) {
      for (const right of [-1, 0, 1]) {
        const inside = (i: number) => {
          const row = Math.floor(i / 3) - down;
          const column = (i % 3) - right;
          return row >= 0 && row < 4 && column >= 0 && column < 3;
        };
        expected.add(Array.from({ length: 12 }, (_, i) => (inside(i) ? 1 : 0)).join(''));
      }
    }
    expect(seen).to.deep.equal(expected);
  });

  it('moves content the way it moves the frame', () => {
    const single = arrayDataset({ x: Float32Array.from([1, 2, 3, 4, 5, 6]), y: [0], inputShape: [2, 3, 1] });
    const seen = new Set<string>();
    for (let epoch = 0; epoch < 200; epoch++)
      for (const { x } of batches(single, { batchSize: 1, epoch, augment: randomShift({ width: 1 }) })) seen.add(x.join());
    expect(seen).to.deep.equal(new Set(['1,2,3,4,5,6', '0,1,2,0,4,5', '2,3,0,5,6,0']));
  });

  it('mirrors pixels, not channels', () => {
    const seen = new Set<string>();
    for (let epoch = 0; epoch < 50; epoch++)
      for (const { x } of batches(image, { batchSize: 1, epoch, augment: randomHorizontalFlip() })) seen.add(x.join());
    expect(seen.has('3,4,1,2,7,8,5,6,11,12,9,10')).to.equal(true);
    expect(seen.size).to.equal(4);
  });

  it('adds noise of the stated spread', () => {
    const zeros = arrayDataset({ x: new Float32Array(20000), y: [0], inputShape: [20000] });
    const [{ x }] = batches(zeros, { batchSize: 1, augment: randomNoise({ stddev: 2 }) }) as unknown as [Batch];
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const deviation = Math.sqrt(x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length);
    expect(mean).to.be.closeTo(0, 0.06);
    expect(deviation).to.be.closeTo(2, 0.05);
  });

  it('mixes features and targets by the same share', () => {
    const data = oneHot(arrayDataset({ x: [0, 1], y: [0, 1], inputShape: [1] }));
    let mixed = 0;
    for (let epoch = 0; epoch < 100; epoch++) {
      for (const { x, y } of batches(data, { batchSize: 2, epoch, augment: mixup({ alpha: 1 }) })) {
        expect(y[1]).to.be.closeTo(x[0] as number, 1e-6);
        expect((y[0] as number) + (y[1] as number)).to.be.closeTo(1, 1e-6);
        if ((x[0] as number) > 0) mixed++;
      }
    }
    expect(mixed).to.be.greaterThan(20);
  });

  it('rejects bad options and data', () => {
    expectCode(() => randomShift({ height: -1 }), 'ERR_OPTION');
    expectCode(() => randomNoise({ stddev: NaN }), 'ERR_OPTION');
    expectCode(() => mixup({ alpha: 0 }), 'ERR_OPTION');
    expectCode(() => [...batches(image, { batchSize: 1, augment: mixup() })], 'ERR_DTYPE');
    expectCode(() => [...batches(numbered(2), { batchSize: 1, augment: randomShift({ height: 1 }) })], 'ERR_SHAPE');
  });
});

describe('split', () => {
  it('gives every part its share of every class, and every example to one part', () => {
    const { train, validation, test } = split(numbered(300), { validation: 0.1, test: 0.2, seed: 4 });
    expect([train.size, validation.size, test.size]).to.deep.equal([210, 30, 60]);
    for (const part of [train, validation, test]) {
      for (const label of [0, 1, 2]) expect(part.y.filter((y) => y === label).length).to.equal(part.size / 3);
    }
    const all = [train, validation, test].flatMap(({ x }) => [...x].filter((_, i) => i % 2 === 0));
    expect(new Set(all).size).to.equal(300);
  });

  it('depends on the seed', () => {
    const testOf = (seed: number) => split(numbered(90), { seed }).test.x.join();
    expect(testOf(1)).to.equal(testOf(1));
    expect(testOf(1)).not.to.equal(testOf(2));
  });

  it('rejects bad fractions and empty parts', () => {
    for (const options of [{ validation: 0 }, { test: -0.1 }, { validation: 0.5, test: 0.5 }, { test: NaN }]) {
      expectCode(() => split(numbered(30), options), 'ERR_OPTION');
    }
    expectCode(() => split(numbered(3)), 'ERR_EMPTY_DATA');
  });
});

describe('arrayDataset', () => {
  const good = { x: [1, 2, 3, 4], y: [0, 1], inputShape: [2] } as const;

  it('counts examples and classes', () => {
    const data = arrayDataset({ ...good, labelNames: ['no', 'yes'] });
    expect(data).to.include({ name: 'arrays', size: 2, classes: 2 });
    expect(data.x).to.deep.equal(Float32Array.of(1, 2, 3, 4));
    expect(data.y).to.deep.equal(Int32Array.of(0, 1));
  });

  it('keeps target rows', () => {
    expect(arrayDataset({ ...good, y: Float32Array.of(1, 0, 0.5, 0.5) })).to.include({ size: 2 });
  });

  it('rejects bad data', () => {
    expectCode(() => arrayDataset({ ...good, x: [] }), 'ERR_EMPTY_DATA');
    expectCode(() => arrayDataset({ ...good, x: [1, 2, 3] }), 'ERR_SHAPE');
    expectCode(() => arrayDataset({ ...good, y: [0] }), 'ERR_SHAPE');
    expectCode(() => arrayDataset({ ...good, y: Float32Array.of(1, 2, 3) }), 'ERR_SHAPE');
    expectCode(() => arrayDataset({ ...good, inputShape: [0] }), 'ERR_SHAPE');
    expectCode(() => arrayDataset({ ...good, inputShape: [] }), 'ERR_SHAPE');
    expectCode(() => arrayDataset({ ...good, x: [1, 2, NaN, 4] }), 'ERR_NON_FINITE', /example 1/);
    expectCode(() => arrayDataset({ ...good, x: [1, 2, 3, Infinity] }), 'ERR_NON_FINITE');
    expectCode(() => arrayDataset({ ...good, y: Float32Array.of(1, NaN) }), 'ERR_NON_FINITE');
    expectCode(() => arrayDataset({ ...good, y: [0, 2], classes: 2 }), 'ERR_LABEL_RANGE', /example 1/);
    expectCode(() => arrayDataset({ ...good, y: [0, -1] }), 'ERR_LABEL_RANGE');
    expectCode(() => arrayDataset({ ...good, y: [0, 0.5] }), 'ERR_LABEL_RANGE');
    expectCode(() => arrayDataset({ ...good, classes: 0 }), 'ERR_OPTION');
    expectCode(() => arrayDataset({ ...good, labelNames: ['one'] }), 'ERR_OPTION');
    expectCode(() => oneHot(arrayDataset({ ...good, y: Float32Array.of(1, 0) })), 'ERR_DTYPE');
  });
});
