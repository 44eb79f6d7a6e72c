import { expect } from 'chai';
import { describe, it } from 'mocha';
import {
  adam,
  adamw,
  cosineDecay,
  createModel,
  evaluate,
  type EpochRecord,
  exponentialDecay,
  fit,
  GraphBuilder,
  learningRateAt,
  meanSquaredError,
  type Model,
  type Optimizer,
  sgd,
  softmaxCrossEntropy,
  type StepInfo,
} from '#lib/index.js';
import { batches } from '#lib/data/batches.js';
import { fingerprint, oneHotRows, toyData, toyModel } from './toy.js'; // prettier-ignore

const optimizer = adam({ learningRate: 0.01 });

describe('fit', () => {
  it('learns, and validation agrees with evaluate', async () => {
    const model = toyModel();
    const [train, validation] = [toyData(96), toyData(50, 2)];
    const { epochs } = await fit(model, { train, validation, epochs: 8, optimizer });
    expect(epochs.at(-1)!.accuracy).to.be.greaterThan(0.97);
    expect(epochs.at(-1)!.loss).to.be.lessThan(0.25 * epochs[0]!.loss);
    const { loss, accuracy } = await evaluate(model, validation);
    expect(epochs.at(-1)!.validationAccuracy).to.equal(accuracy);
    expect(epochs.at(-1)!.validationLoss).to.be.closeTo(loss, 1e-6);
    expect(accuracy).to.be.greaterThan(0.9);
  });

  it('fills the history', async () => {
    const schedule = exponentialDecay({ initial: 0.01, decaySteps: 1, decayRate: 0.9 });
    const { epochs } = await fit(toyModel(), { train: toyData(33), epochs: 2, batchSize: 16, optimizer: adam({ learningRate: schedule }) });
    expect(epochs.map((record) => record.epoch)).to.deep.equal([0, 1]);
    // 33 examples in batches of 16: the last, partial batch is kept (spec 0.4).
    expect(epochs.map((record) => record.steps)).to.deep.equal([3, 3]);
    expect(epochs.map((record) => record.learningRate)).to.deep.equal([learningRateAt(schedule, 2), learningRateAt(schedule, 5)]);
    for (const record of epochs) {
      expect(record).not.to.have.any.keys('validationLoss', 'validationAccuracy');
      expect(record.layers).to.deep.equal([]);
      expect(record.gradientNorm).to.be.greaterThan(0);
      expect(record.seconds).to.be.greaterThan(0);
    }
  });

  it('averages loss and accuracy over the examples of the epoch', async () => {
    const steps: StepInfo[] = [];
    const { epochs } = await fit(toyModel(), {
      train: toyData(33), epochs: 1, batchSize: 16, optimizer, callbacks: { onStep: (info) => void steps.push(info) },
    }); // prettier-ignore
    expect(steps.map((step) => step.rows)).to.deep.equal([16, 16, 1]);
    const mean = (key: 'loss' | 'accuracy'): number => steps.reduce((sum, step) => sum + step[key] * step.rows, 0) / 33;
    expect(epochs[0]!.loss).to.be.closeTo(mean('loss'), 1e-12);
    expect(epochs[0]!.accuracy).to.be.closeTo(mean('accuracy'), 1e-12);
    expect(epochs[0]!.gradientNorm).to.be.closeTo(steps.reduce((sum, step) => sum + step.gradientNorm, 0) / 3, 1e-12);
  });

  it('calls back in order, waits for promises, and has the model ready in onEpoch', async () => {
    const model = toyModel();
    const calls: string[] = [];
    const snapshots: number[] = [];
    await fit(model, {
      train: toyData(32), epochs: 2, batchSize: 16, optimizer,
      callbacks: {
        onStep: async (info) => {
          await new Promise((resolve) => setImmediate(resolve));
          calls.push(`step ${info.epoch}.${info.stepInEpoch}/${info.stepsPerEpoch} #${info.step}`);
        },
        onEpoch: (record: EpochRecord, state) => {
          calls.push(`epoch ${record.epoch}, next ${state.epoch}.${state.stepInEpoch}`);
          snapshots.push(model.tensors.get('logits/bias')!.data[0]!);
          expect(model.optimizer!.step).to.equal(2 * (record.epoch + 1));
        },
      },
    }); // prettier-ignore
    expect(calls).to.deep.equal([
      'step 0.0/2 #1',
      'step 0.1/2 #2',
      'epoch 0, next 1.0',
      'step 1.0/2 #3',
      'step 1.1/2 #4',
      'epoch 1, next 2.0',
    ]);
    expect(snapshots[0]).not.to.equal(snapshots[1]);
    expect(snapshots[1]).to.equal(model.tensors.get('logits/bias')!.data[0]);
  });

  it('shuffles every epoch by seed, or not at all', async () => {
    const after = async (options: { seed?: number; shuffle?: boolean }, epochs = 1): Promise<string> => {
      const model = toyModel();
      await fit(model, { train: toyData(), epochs, batchSize: 8, optimizer, ...options });
      return fingerprint(model);
    };
    expect(await after({ seed: 1 })).to.equal(await after({ seed: 1 }));
    expect(await after({ seed: 1 })).not.to.equal(await after({ seed: 2 }));
    expect(await after({ seed: 1 })).not.to.equal(await after({ shuffle: false }));
    expect(await after({ seed: 1, shuffle: false }, 2)).to.equal(await after({ seed: 2, shuffle: false }, 2));
  });

  it('takes streams, one pass per epoch', async () => {
    const data = toyData(40);
    let passes = 0;
    const stream = () => {
      passes++;
      return batches(data, { batchSize: 16 });
    };
    const [streamed, inMemory] = [toyModel(), toyModel()];
    const { epochs } = await fit(streamed, { train: stream, validation: stream, epochs: 2, batchSize: 16, optimizer });
    await fit(inMemory, { train: data, epochs: 2, batchSize: 16, optimizer, shuffle: false });
    expect(epochs.map((record) => record.steps)).to.deep.equal([3, 3]);
    expect(fingerprint(streamed)).to.equal(fingerprint(inMemory));
    expect(passes).to.equal(5); // two epochs, two validations, and one look at the kind of labels
  });

  it('learns rows of probabilities as it learns labels', async () => {
    const [sparse, dense] = [toyModel(), toyModel()];
    const data = toyData();
    const a = await fit(sparse, { train: data, epochs: 2, optimizer, loss: softmaxCrossEntropy({ labelSmoothing: 0.1 }) });
    const b = await fit(dense, { train: oneHotRows(data), epochs: 2, optimizer, loss: softmaxCrossEntropy({ labelSmoothing: 0.1 }) });
    expect(a.epochs.map((record) => record.accuracy)).to.deep.equal(b.epochs.map((record) => record.accuracy));
    a.epochs.forEach((record, i) => expect(record.loss).to.be.closeTo(b.epochs[i]!.loss, 1e-5));
  });

  it('minimises the mean squared error', async () => {
    const g = new GraphBuilder('line');
    const model = createModel(g.build(g.dense(g.input([2]), { units: 1, name: 'd' })));
    const x = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * 7));
    const y = Float32Array.from({ length: 32 }, (_, i) => 3 * x[2 * i]! - 2 * x[2 * i + 1]! + 0.5);
    const train = { name: 'line', size: 32, inputShape: [2], x, y };
    const { epochs } = await fit(model, {
      train,
      validation: train,
      epochs: 200,
      optimizer: sgd({ learningRate: 0.1, momentum: 0.9 }),
      loss: meanSquaredError(),
    });
    expect(epochs.at(-1)!.validationLoss).to.be.lessThan(1e-8);
    expect([...model.tensors.get('d/kernel')!.data]).to.satisfy(([a, b]: number[]) => Math.abs(a! - 3) < 1e-3 && Math.abs(b! + 2) < 1e-3);
  });

  it('applies augmentation from seed and epoch', async () => {
    const run = async (amount: number, seed = 0): Promise<string> => {
      const model = toyModel();
      const augment = ({ x, random }: { x: Float32Array; random: { uniform(): number } }): void => {
        for (let i = 0; i < x.length; i++) x[i]! += amount * random.uniform();
      };
      await fit(model, { train: toyData(), epochs: 2, optimizer, augment, seed, shuffle: false });
      return fingerprint(model);
    };
    expect(await run(0.3)).to.equal(await run(0.3));
    expect(await run(0.3)).not.to.equal(await run(0));
    expect(await run(0.3)).not.to.equal(await run(0.3, 1));
  });

  it('uses dropout in training only', async () => {
    const model = toyModel({ dropout: 0.5 });
    await fit(model, { train: toyData(), epochs: 1, optimizer });
    expect(await evaluate(model, toyData())).to.deep.equal(await evaluate(model, toyData()));
  });
});

/** A dense layer on one batch: gradients are known in closed form, so the optimizer can be replayed in double. */
function denseProblem(): { model: Model; train: { name: string; size: number; inputShape: number[]; x: Float32Array; y: Float32Array } } {
  const g = new GraphBuilder('dense');
  const model = createModel(g.build(g.dense(g.input([1]), { units: 1, useBias: false, name: 'd' })), { seed: 3 });
  return { model, train: { name: 'one', size: 1, inputShape: [1], x: Float32Array.of(2), y: Float32Array.of(3) } };
}

describe('optimizers in training', () => {
  const replay = async (optimizer: Optimizer, update: (w: number, g: number, t: number) => number, options: object = {}): Promise<void> => {
    const { model, train } = denseProblem();
    let w = model.tensors.get('d/kernel')!.data[0]!;
    for (let t = 1; t <= 7; t++) w = update(w, 2 * (2 * w - 3) * 2, t);
    await fit(model, { train, epochs: 7, optimizer, loss: meanSquaredError(), ...options });
    expect(model.tensors.get('d/kernel')!.data[0]).to.be.closeTo(w, 5e-7);
  };

  /** Spec 0.4. */
  const adamUpdate = (lr: (t: number) => number, decay = 0): ((w: number, g: number, t: number) => number) => {
    let [m, v] = [0, 0];
    return (w, g, t) => {
      m += (g - m) * (1 - 0.9);
      v += (g * g - v) * (1 - 0.999);
      const decayed = w - lr(t) * decay * w;
      // TensorFlow raises the f32 betas to the power t, but rounds 1 - beta from double.
      const alpha = (lr(t) * Math.sqrt(1 - Math.fround(0.999) ** t)) / (1 - Math.fround(0.9) ** t);
      return decayed - alpha * (m / (Math.sqrt(v) + 1e-7));
    };
  };

  it('Adam follows spec 0.4', () =>
    replay(
      adam({ learningRate: 0.05 }),
      adamUpdate(() => 0.05),
    ));

  it('the schedule sees finished steps: 0 for the first', () => {
    const schedule = cosineDecay({ initial: 0.1, decaySteps: 7 });
    return replay(
      adam({ learningRate: schedule }),
      adamUpdate((t) => learningRateAt(schedule, t - 1)),
    );
  });

  it('AdamW decays kernels beside the gradient', () =>
    replay(
      adamw({ learningRate: 0.05, weightDecay: 0.3 }),
      adamUpdate(() => 0.05, 0.3),
    ));

  it('SGD with momentum, Nesterov and L2 decay', () => {
    let v = 0;
    return replay(sgd({ learningRate: 0.01, momentum: 0.9, nesterov: true, weightDecay: 0.1 }), (w, g) => {
      const step = -0.01 * (g + 0.1 * w);
      v = 0.9 * v + step;
      return w + 0.9 * v + step;
    });
  });

  it('clips by norm and by value', async () => {
    const clipped = (w: number, g: number): number => w - 0.1 * Math.sign(g) * Math.min(Math.abs(g), 0.5);
    await replay(sgd({ learningRate: 0.1 }), clipped, { clipNorm: 0.5 });
    await replay(sgd({ learningRate: 0.1 }), clipped, { clipValue: 0.5 });
  });
});

describe('determinism', () => {
  it('1, 2 and 4 threads give the same bytes', async () => {
    const prints = new Set<string>();
    for (const threads of [1, 2, 4]) {
      const model = toyModel({ dropout: 0.3 });
      await fit(model, { train: toyData(), validation: toyData(), epochs: 2, batchSize: 10, optimizer, threads });
      prints.add(fingerprint(model));
    }
    expect(prints.size).to.equal(1);
  });
});
