import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { arrayDataset } from '#lib/data/arrays.js';
import type { Dataset } from '#lib/data/types.js';
import { classify } from '#lib/evaluate/classification.js';
import { evaluate } from '#lib/evaluate/evaluate.js';
import { measureLatency } from '#lib/evaluate/latency.js';
import type { Runner } from '#lib/evaluate/runner.js';
import { openRunner } from '#lib/evaluate/runners.js';
import { expectRejection } from '../support/errors.js';
import { smallCnn } from '../support/models.js';
import { randomDataset } from '../support/int8-graphs.js';

/** A runner whose outputs are its inputs. */
const echo = (classes: number, extra: Partial<Runner> = {}): Runner => ({
  name: 'echo',
  inputShape: [classes],
  outputShape: [classes],
  run: async (x) => x.slice(),
  dispose: () => undefined,
  ...extra,
});

const three = (x: number[], y: number[], labelNames?: string[]): Dataset =>
  arrayDataset({ x, y, inputShape: [3], classes: 3, ...(labelNames === undefined ? {} : { labelNames }) });

describe('classify', () => {
  it('counts which class is taken for which', async () => {
    const data = three([3, 0, 0, 0, 3, 0, 0, 3, 0, 0, 3, 0], [0, 0, 1, 1], ['cat', 'dog', 'owl']);
    const result = await classify(echo(3), data, { batchSize: 3 });
    expect(result).to.deep.include({ rows: 4, accuracy: 0.75 });
    expect(result.confusion).to.deep.equal([
      [1, 1, 0],
      [0, 2, 0],
      [0, 0, 0],
    ]);
    expect(result.classes).to.deep.equal([
      { name: 'cat', rows: 2, recall: 0.5, precision: 1 },
      { name: 'dog', rows: 2, recall: 1, precision: 2 / 3 },
      { name: 'owl', rows: 0, recall: null, precision: null },
    ]);
  });

  it('takes the first of equal outputs', async () => {
    expect((await classify(echo(3), three([1, 1, 1], [0]))).accuracy).to.equal(1);
    expect((await classify(echo(3), three([0, 1, 1], [2]))).accuracy).to.equal(0);
  });

  it('tells probabilities from logits for the loss', async () => {
    const probabilities = await classify(echo(3), three([0.5, 0.25, 0.25, 0, 1, 0], [0, 1]));
    expect(probabilities.loss).to.be.closeTo(-Math.log(0.5) / 2, 1e-6);
    const logits = await classify(echo(3), three([0.5, 0.25, 0.25, 0, 2, 0], [0, 1]));
    const crossEntropy = (row: number[], label: number): number => Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0)) - row[label]!;
    expect(logits.loss).to.be.closeTo((crossEntropy([0.5, 0.25, 0.25], 0) + crossEntropy([0, 2, 0], 1)) / 2, 1e-6);
    expect((await classify(echo(3), three([1, 0, 0], [1]))).loss).to.be.closeTo(-Math.log(1e-7), 1e-6);
    // Rounded to multiples of 1 / 256: the sum is a little off.
    expect(await classify(echo(3), three([0.5, 0.25, 0.254, 1, 0, 0], [0, 1]))).not.to.have.property('loss');
    expect(await classify(echo(3, { outputScale: 0.1 }), three([1, 0, 0], [1]))).not.to.have.property('loss');
  });

  it('finds what evaluate finds, whatever the batch', async () => {
    const model = smallCnn();
    const data = { ...randomDataset([8, 8, 3], 21, 5), y: Int32Array.from({ length: 21 }, (_, i) => i % 4), classes: 4 };
    const expected = await evaluate(model, data);
    const runner = await openRunner(model);
    for (const batchSize of [1, 8, 500]) {
      const { accuracy, loss } = await classify(runner, data, { batchSize });
      expect(accuracy).to.equal(expected.accuracy);
      expect(loss).to.be.closeTo(expected.loss, 1e-6);
    }
    runner.dispose();
  });

  it('is consistent for any outputs', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 3, maxLength: 3 }), fc.nat(2)), {
          minLength: 1,
          maxLength: 20,
        }),
        async (rows) => {
          const data = three(
            rows.flatMap(([x]) => x),
            rows.map(([, label]) => label),
          );
          const { confusion, accuracy, classes } = await classify(echo(3), data, { batchSize: 4 });
          expect(confusion.flat().reduce((a, b) => a + b)).to.equal(rows.length);
          expect(accuracy).to.be.closeTo((confusion[0]![0]! + confusion[1]![1]! + confusion[2]![2]!) / rows.length, 1e-12);
          expect(classes.map((one) => one.rows)).to.deep.equal(
            [0, 1, 2].map((label) => rows.filter(([, other]) => other === label).length),
          );
        },
      ),
      { numRuns: 50 },
    ));

  it('refuses data that do not fit', async () => {
    const good = three([1, 0, 0], [0]);
    await expectRejection(classify(echo(4), good), 'ERR_SHAPE', /examples are \[3\] but the model's input is \[4\]/);
    await expectRejection(classify(echo(3), { ...good, y: Int32Array.of(3) }), 'ERR_LABEL_RANGE', /label of example 0 is 3/);
    await expectRejection(classify(echo(3), { ...good, y: Int32Array.of(-1) }), 'ERR_LABEL_RANGE');
    await expectRejection(classify(echo(3), { ...good, y: Int32Array.of(0, 1) }), 'ERR_SHAPE', /2 labels for 1/);
    await expectRejection(classify(echo(3), { ...good, y: Float32Array.of(1, 0, 0) }), 'ERR_DTYPE');
    await expectRejection(classify(echo(3), { ...good, size: 0 }), 'ERR_EMPTY_DATA');
    await expectRejection(classify(echo(3), { ...good, x: new Float32Array(4) }), 'ERR_SHAPE');
    await expectRejection(classify(echo(3, { outputShape: [1] }), good), 'ERR_SHAPE', /no row of two or more classes/);
    await expectRejection(classify(echo(3, { outputShape: [2, 2] }), good), 'ERR_SHAPE');
    await expectRejection(classify(echo(3, { outputShape: [5000] }), good), 'ERR_UNSUPPORTED', /4096/);
    await expectRejection(classify(echo(3), good, { batchSize: 0 }), 'ERR_OPTION');
    const nan = echo(3, { run: async () => Float32Array.of(NaN, 0, 0) });
    await expectRejection(classify(nan, good), 'ERR_NON_FINITE', /output for example 0/);
  });

  it('stops at a signal between batches', async () => {
    const controller = new AbortController();
    let calls = 0;
    const runner = echo(3, {
      run: async (x) => {
        if (++calls === 2) controller.abort(new Error('enough'));
        return x.slice();
      },
    });
    const data = three([...new Float32Array(30)], [...new Int32Array(10)]);
    const error = await classify(runner, data, { batchSize: 1, signal: controller.signal }).catch((caught: Error) => caught.message);
    expect([error, calls]).to.deep.equal(['enough', 2]);
  });
});

describe('measureLatency', () => {
  it('gives percentiles of the runs after the warm-up, row by row', async () => {
    const lengths: number[] = [];
    const firsts = new Set<number>();
    const runner = echo(2, {
      run: async (x) => {
        lengths.push(x.length);
        firsts.add(x[0]!);
        if (lengths.length <= 5) await new Promise((done) => setTimeout(done, 30)); // the warm-up is slow
        return x;
      },
    });
    const result = await measureLatency(runner, { runs: 100, warmUp: 5, x: Float32Array.of(1, 0, 2, 0, 3, 0) });
    expect(lengths).to.deep.equal(new Array(105).fill(2));
    expect([...firsts].sort()).to.deep.equal([1, 2, 3]);
    const { runs, min, p50, p90, p99, max, mean } = result;
    expect(runs).to.equal(100);
    expect([min, p50, p90, p99, max]).to.deep.equal([min, p50, p90, p99, max].sort((a, b) => a - b));
    expect(mean).to.be.within(min, max);
    expect(p50).to.be.below(25);
  });

  it('stops when its time is up, with one run at least', async () => {
    const slow = echo(1, { run: (x) => new Promise((done) => setTimeout(() => done(x), 20)) });
    expect((await measureLatency(slow, { runs: 1000, maxSeconds: 0.01 })).runs).to.equal(1);
    const { runs } = await measureLatency(slow, { runs: 1000, warmUp: 0, maxSeconds: 0.1 });
    expect(runs).to.be.within(2, 6);
  });

  it('refuses bad options', async () => {
    await expectRejection(measureLatency(echo(2), { runs: 0 }), 'ERR_OPTION', /runs is 0/);
    await expectRejection(measureLatency(echo(2), { warmUp: -1 }), 'ERR_OPTION', /warmUp/);
    await expectRejection(measureLatency(echo(2), { maxSeconds: 0 }), 'ERR_OPTION', /maxSeconds/);
    await expectRejection(measureLatency(echo(2), { x: new Float32Array(3) }), 'ERR_SHAPE');
    await expectRejection(measureLatency(echo(2), { x: new Float32Array() }), 'ERR_SHAPE');
    const signal = AbortSignal.abort(new Error('enough'));
    expect(await measureLatency(echo(2), { signal }).catch((error: Error) => error.message)).to.equal('enough');
  });
});
