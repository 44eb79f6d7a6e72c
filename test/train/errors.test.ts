import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { PcqatErrorCode } from '#lib/errors.js';
import {
  type Batch,
  cloneModel,
  type Dataset,
  fit,
  type FitOptions,
  meanSquaredError,
  type Model,
  PcqatError,
  sgd,
  type TrainingState,
} from '#lib/index.js';
import { expectRejection } from '../support/errors.js';
import { fingerprint, oneHotRows, toyData, toyModel } from './toy.js';

function edited(edit: (x: Float32Array, y: Int32Array) => void): Dataset {
  const data = toyData();
  edit(data.x, data.y as Int32Array);
  return data;
}

const streamOf =
  (...batches: Partial<Batch>[]): (() => Batch[]) =>
  () =>
    batches.map((batch) => ({ rows: 1, x: new Float32Array(36), y: new Int32Array(1), ...batch }));

describe('fit rejects bad data before it trains', () => {
  const toy = toyData();
  const cases: [string, FitOptions['train'], PcqatErrorCode, RegExp, Partial<FitOptions>?][] = [
    ['empty data', { ...toy, size: 0, x: new Float32Array(0), y: new Int32Array(0) }, 'ERR_EMPTY_DATA', /data 'toy'/],
    ['another shape', { ...toy, inputShape: [36] }, 'ERR_SHAPE', /\[36\].*\[6, 6, 1\].*data 'toy'/],
    ['data without a shape', { ...toy, inputShape: undefined as unknown as number[] }, 'ERR_SHAPE', /inputShape/],
    ['too few values', { ...toy, x: toy.x.subarray(1) }, 'ERR_SHAPE', /x has/],
    ['too few labels', { ...toy, y: new Int32Array(3) }, 'ERR_SHAPE', /y has 3/],
    ['a label above the classes', edited((_, y) => (y[5] = 3)), 'ERR_LABEL_RANGE', /example 5 is 3.*0 to 2/],
    ['a negative label', edited((_, y) => (y[0] = -1)), 'ERR_LABEL_RANGE', /example 0 is -1/],
    ['NaN', edited((x) => (x[36 * 7] = Number.NaN)), 'ERR_NON_FINITE', /example 7 holds NaN/],
    ['infinity', edited((x) => (x[36 * 8 - 1] = -Infinity)), 'ERR_NON_FINITE', /example 7 holds -Infinity/],
    ['x of another type', { ...toy, x: new Float64Array(toy.x.length) as unknown as Float32Array }, 'ERR_DTYPE', /x must/],
    ['y of another type', { ...toy, y: new Uint8Array(48) as unknown as Int32Array }, 'ERR_DTYPE', /y must/],
    ['targets that are no probabilities', { ...toy, y: new Float32Array(48 * 3).fill(2) }, 'ERR_LABEL_RANGE', /example 0 holds 2/],
    ['targets that are NaN', { ...toy, y: new Float32Array(48 * 3).fill(Number.NaN) }, 'ERR_NON_FINITE', /target of example 0/],
    ['labels with a squared error', toy, 'ERR_DTYPE', /softmaxCrossEntropy/, { loss: meanSquaredError() }],
    ['an empty stream', streamOf(), 'ERR_EMPTY_DATA', /stream/],
    ['a stream with a bad label', streamOf({}, { y: Int32Array.of(9) }), 'ERR_LABEL_RANGE', /train batch 1/],
    ['a stream with a wrong shape', streamOf({ x: new Float32Array(35) }), 'ERR_SHAPE', /train batch 0/],
    [
      'a stream with a batch that is too large',
      streamOf({ rows: 5, x: new Float32Array(180), y: new Int32Array(5) }),
      'ERR_SHAPE',
      /5 rows.*4/,
      { batchSize: 4 },
    ],
    [
      'a stream with an empty batch',
      streamOf({ rows: 0, x: new Float32Array(0), y: new Int32Array(0) }),
      'ERR_EMPTY_DATA',
      /train batch 0/,
    ],
  ];
  for (const [what, train, code, message, more] of cases) {
    it(`rejects ${what}`, () => expectRejection(fit(toyModel(), { train, epochs: 1, ...more }), code, message));
  }

  it('checks validation data too, and leaves the model as it was', async () => {
    const model = toyModel();
    const before = fingerprint(model);
    const validation = edited((_, y) => (y[2] = 7));
    await expectRejection(fit(model, { train: toyData(), validation, epochs: 1 }), 'ERR_LABEL_RANGE', /example 2 is 7/);
    expect(fingerprint(model)).to.equal(before);
  });

  it('accepts shapes that differ in trailing ones only', async () => {
    await fit(toyModel(), { train: { ...toyData(), inputShape: [6, 6] }, epochs: 1 });
  });

  it('rejects weights that are NaN', async () => {
    const model = toyModel();
    model.tensors.get('dw/kernel')!.data[4] = Number.NaN;
    await expectRejection(fit(model, { train: toyData(), epochs: 1 }), 'ERR_NON_FINITE', /element 4 is NaN.*dw\/kernel/);
  });
});

describe('fit rejects bad options', () => {
  const cases: [Partial<FitOptions>, RegExp][] = [
    [{ epochs: 0 }, /epochs/],
    [{ train: undefined as unknown as Dataset }, /train/],
    [{ train: null as unknown as Dataset }, /train/],
    [{ validation: 7 as unknown as Dataset }, /validation/],
    [{ epochs: 1.5 }, /epochs/],
    [{ batchSize: 0 }, /batchSize/],
    [{ threads: -1 }, /threads/],
    [{ seed: 0.5 }, /seed/],
    [{ clipNorm: 0 }, /clipNorm/],
    [{ clipValue: Number.NaN }, /clipValue/],
    [{ calibrationBatches: 0 }, /calibrationBatches/],
    [{ start: { epoch: -1, stepInEpoch: 0 } as TrainingState }, /start/],
    [{ train: streamOf({}), augment: () => undefined }, /augment/],
    [{ start: { epoch: 0, stepInEpoch: 2, totals: {}, epochs: [] } as unknown as TrainingState }, /no optimizer state/],
  ];
  for (const [options, message] of cases) {
    it(`rejects ${message.source}: ${JSON.stringify(options).slice(0, 40)}`, () =>
      expectRejection(fit(toyModel(), { train: toyData(), epochs: 1, ...options }), 'ERR_OPTION', message));
  }

  it('takes undefined as the default', async () => {
    const options = { batchSize: undefined, seed: undefined } as unknown as FitOptions;
    expect((await fit(toyModel(), { ...options, train: toyData(33), epochs: 1 })).epochs[0]!.steps).to.equal(2);
  });

  it('does not continue with another optimizer or another model', async () => {
    const model = toyModel();
    let state: TrainingState | undefined;
    await fit(model, { train: toyData(), epochs: 1, callbacks: { onEpoch: (_, s) => void (state = s) } });
    const continued = (changed: Model, options: Partial<FitOptions>) =>
      fit(changed, { train: toyData(), epochs: 2, ...options, start: state! });
    await expectRejection(continued(model, { optimizer: sgd() }), 'ERR_OPTION', /adam.*sgd/);
    const other = cloneModel(model);
    other.optimizer = { ...model.optimizer!, slots: new Map() };
    await expectRejection(continued(other, {}), 'ERR_OPTION', /conv\/kernel/);
  });
});

describe('divergence', () => {
  it('stops, names layer, epoch and step, and keeps the last good weights', async () => {
    const model = toyModel();
    const reference = toyModel();
    const options: FitOptions = { train: toyData(), epochs: 3, batchSize: 16, optimizer: sgd({ learningRate: 0.01 }) };
    await fit(reference, { ...options, epochs: 1 });
    // One huge value in the second epoch's first batch: finite, so the check of the data lets it pass.
    const bomb = oneHotRows(toyData(16));
    bomb.x.fill(3e38);
    let pass = 0;
    const train = (): Iterable<Batch> => {
      const data = pass++ < 2 ? toyData() : bomb;
      return Array.from({ length: data.size / 16 }, (_, i) => ({
        rows: 16,
        x: data.x.subarray(576 * i, 576 * (i + 1)),
        y: toyData().y.subarray(16 * i, 16 * (i + 1)),
      }));
    };
    await fit(reference, { ...options, train: toyData(), epochs: 1 });
    const finished = toyModel();
    await fit(finished, { ...options, epochs: 1, shuffle: false });
    const error = await fit(model, { ...options, train }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).to.be.instanceOf(PcqatError);
    expect((error as PcqatError).code).to.equal('ERR_DIVERGED');
    expect((error as PcqatError).message).to.match(/layer '[a-z_/]+', epoch 1, step 0/);
    expect(fingerprint(model)).to.equal(fingerprint(finished));
  });
});

describe('abort', () => {
  it('rejects with the reason before the first step', async () => {
    const reason = new Error('enough');
    const error = await fit(toyModel(), { train: toyData(), epochs: 1, signal: AbortSignal.abort(reason) }).catch(
      (caught: unknown) => caught,
    );
    expect(error).to.equal(reason);
  });

  it('stops after the present step, with the model in step', async () => {
    const model = toyModel();
    const controller = new AbortController();
    let interrupted: TrainingState | undefined;
    const error = await fit(model, {
      train: toyData(), epochs: 5, batchSize: 8, signal: controller.signal,
      callbacks: {
        onStep: ({ step }) => void (step === 8 && controller.abort()),
        onInterrupt: (state) => void (interrupted = state),
      },
    }).catch((caught: unknown) => caught); // prettier-ignore
    expect(error).to.equal(controller.signal.reason);
    expect(interrupted).to.deep.include({ epoch: 1, stepInEpoch: 2 });
    expect(interrupted!.epochs).to.have.length(1);
    expect(model.optimizer!.step).to.equal(8);
  });

  it('keeps the model in step when a callback throws', async () => {
    const model = toyModel();
    const failure = new Error('callback');
    const error = await fit(model, {
      train: toyData(), epochs: 1, batchSize: 8,
      callbacks: {
        onStep: ({ step }) => {
          if (step === 3) throw failure;
        },
      },
    }).catch((caught: unknown) => caught); // prettier-ignore
    expect(error).to.equal(failure);
    expect(model.optimizer!.step).to.equal(3);
  });
});
