import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { sparsityOf } from '#lib/compress/sparsity/metrics.js';
import { pruneLowMagnitude, type PruneOptions } from '#lib/compress/sparsity/prune.js';
import { constantSparsity, polynomialDecay } from '#lib/compress/sparsity/schedules.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { evaluate, predict } from '#lib/evaluate/evaluate.js';
import { loadModel } from '#lib/formats/pcqat/load.js';
import { saveModel } from '#lib/formats/pcqat/save.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { zoo } from '#lib/index.js';
import type { TrainingState } from '#lib/train/history.js';
import { smallCnn, twoDense, valuesOf } from '../../support/models.js';
import { fingerprint, imageNet, images, reload, rowsOf, sequenceNet, train, transposedNet, twoBranches } from '../../support/training.js';

const silent = { onNotice: () => undefined };
const half = { schedule: constantSparsity({ targetSparsity: 0.5, frequency: 1 }), ...silent };
const stepOf = (model: Model, weight: string): number | undefined => model.tensors.get(`${weight}:pruning_step`)?.data[0];
const sparsityIn = (model: Model, weight: string): number => sparsityOf(valuesOf(model, weight));
const batch = rowsOf([16], 16);

describe('pruning: inference', () => {
  it('P5: a model that never trained predicts and evaluates; its step stays −1', async () => {
    const model = smallCnn();
    const pruned = pruneLowMagnitude(model, half);
    expect(await predict(pruned, images.x)).to.deep.equal(await predict(model, images.x));
    expect((await evaluate(pruned, images)).loss).to.equal((await evaluate(model, images)).loss);
    expect(stepOf(pruned, 'conv1/kernel')).to.equal(-1);
  });

  it('P23 (held differently): a trained model loses its optimizer and predicts to the bit, scales below zero included; weights are copies', async () => {
    const model = smallCnn();
    await train(model, images);
    for (const norm of ['bn1', 'bn2']) valuesOf(model, `${norm}/gamma`).forEach((_, i, gamma) => i % 2 === 1 && (gamma[i] *= -1));
    expect(model.optimizer).to.not.equal(undefined);
    const pruned = pruneLowMagnitude(model, half);
    expect(pruned.optimizer).to.equal(undefined);
    expect(pruned.tensors.get('conv1/kernel')?.data).to.not.equal(model.tensors.get('conv1/kernel')?.data);
    // γ > 0 first: the same function with other signs, so that no later fold negates a code.
    for (const norm of ['bn1', 'bn2']) {
      expect(Math.min(...valuesOf(model, `${norm}/gamma`)), norm).to.be.below(0);
      expect(Math.min(...valuesOf(pruned, `${norm}/gamma`)), norm).to.be.above(0);
    }
    expect(await predict(pruned, images.x)).to.deep.equal(await predict(model, images.x));
    const untouched = pruneLowMagnitude(model, { ...half, normalizeSigns: false });
    for (const [name, tensor] of model.tensors) expect(untouched.tensors.get(name), name).to.deep.equal(tensor);
  });

  it('P9, P25: a stripped model predicts the same as the pruned one', async () => {
    for (const [model, data] of [
      [twoBranches(), rowsOf([16])],
      [smallCnn(), images],
    ] as const) {
      // prettier-ignore
      const pruned = pruneLowMagnitude(model, half);
      await train(pruned, data);
      expect(await predict(stripPruning(pruned), data.x)).to.deep.equal(await predict(pruned, data.x));
    }
  });
});

describe('pruning: one epoch', () => {
  it('P25: every layer type that trains reaches 0.5 ± 1e-6, depthwise when asked; the stripped model predicts the same', async () => {
    const nets = [[imageNet(), images, 5], [sequenceNet(), rowsOf([16, 3]), 4], [transposedNet(), rowsOf([4, 4, 2]), 2]] as const; // prettier-ignore
    for (const [model, data, kernels] of nets) {
      const pruned = pruneLowMagnitude(model, { ...half, layers: () => true });
      await train(pruned, data);
      const stripped = stripPruning(pruned);
      expect(pruned.chains.size).to.equal(kernels);
      for (const weight of pruned.chains.keys()) expect(sparsityIn(stripped, weight), weight).to.be.closeTo(0.5, 1e-6);
      expect(await predict(stripped, data.x)).to.deep.equal(await predict(pruned, data.x));
    }
  });

  it('P25: the MNIST network', async () => {
    const pruned = pruneLowMagnitude(zoo.mnistCnn(), half);
    await train(pruned, rowsOf([28, 28, 1], 32));
    for (const weight of ['conv1/kernel', 'dense/kernel']) expect(sparsityIn(stripPruning(pruned), weight)).to.be.closeTo(0.5, 1e-4);
  });

  const wide = (channels: number): Model => {
    const g = new GraphBuilder('wide');
    const x = g.conv2d(g.input([6, 8, channels]), { name: 'conv', filters: 16, kernelSize: [5, 7] });
    return createModel(g.build(g.dense(g.flatten(x), { name: 'logits', units: 4 })));
  };
  for (const [channels, mByN, expected] of [
    [8, [2, 4], 0.5],
    [8, [1, 2], 0.5],
    [7, [2, 4], 3 / 7],
  ] as const) {
    it(`P26: ${mByN.join(':')}, 16 filters of 5×7 over ${channels} channels: sparsity ${expected.toFixed(6)}`, async () => {
      const pruned = pruneLowMagnitude(wide(channels), { mByN, layers: ['conv'] });
      await train(pruned, rowsOf([6, 8, channels]));
      expect(sparsityIn(stripPruning(pruned), 'conv/kernel')).to.be.closeTo(expected, 1e-6);
    });
  }

  it('P26: 2:4, a dense layer of 16 on 8; a depthwise layer is accepted and left alone', async () => {
    const dense = pruneLowMagnitude(twoDense(8, 16, 4), { mByN: [2, 4], layers: ['dense1'] });
    await train(dense, rowsOf([8]));
    expect(sparsityIn(stripPruning(dense), 'dense1/kernel')).to.equal(0.5);
    const model = smallCnn();
    const pruned = pruneLowMagnitude(model, { mByN: [2, 4], ...silent });
    await train(pruned, images);
    expect(sparsityIn(stripPruning(pruned), 'dw/kernel')).to.equal(0);
  });

  it('P22: 99 % of dense layers 10 → 8 and 8 → 5 leaves exactly one weight each after one step', async () => {
    const pruned = pruneLowMagnitude(twoDense(10, 8, 5), { schedule: constantSparsity({ targetSparsity: 0.99, frequency: 1 }) });
    await train(pruned, rowsOf([10], 16));
    for (const weight of ['dense1/kernel', 'dense2/kernel']) {
      expect(valuesOf(stripPruning(pruned), weight).filter((value) => value !== 0)).to.have.length(1);
    }
  });

  it('P21: target sparsity 0 trains a network with batch norm as the unpruned model', async () => {
    const model = smallCnn();
    const pruned = pruneLowMagnitude(model, { schedule: constantSparsity({ targetSparsity: 0, frequency: 1 }), ...silent });
    await train(model, images, { epochs: 2 });
    await train(pruned, images, { epochs: 2 });
    for (const name of model.tensors.keys()) expect(pruned.tensors.get(name), name).to.deep.equal(model.tensors.get(name));
  });

  it('W38: the surviving weights are the largest of the step that chose them, in every layer', async () => {
    // One mask update, before the first step: the weights it sees are those of the source.
    const model = smallCnn();
    const once: PruneOptions = { ...half, schedule: constantSparsity({ targetSparsity: 0.5, beginStep: 1, endStep: 1, frequency: 1 }) };
    const pruned = pruneLowMagnitude(model, once);
    await train(pruned, images, { epochs: 2 });
    for (const weight of pruned.chains.keys()) {
      const magnitudes = valuesOf(model, weight).map(Math.abs);
      const threshold = magnitudes.slice().sort()[magnitudes.length / 2];
      const expected = Uint8Array.from(magnitudes, (magnitude) => (magnitude >= threshold ? 1 : 0));
      expect(pruned.tensors.get(`${weight}:mask`)?.data, weight).to.deep.equal(expected);
      const used = materializeWeight(pruned, weight);
      used.forEach((value, i) => expect(value !== 0, `${weight}[${i}]`).to.equal(expected[i] === 1));
    }
  });
});

describe('pruning: steps, schedules and saving', () => {
  let folder: string;
  before(async () => void (folder = await mkdtemp(path.join(tmpdir(), 'pcqat-'))));
  after(() => rm(folder, { recursive: true }));

  it('P29: a polynomial schedule over steps 1 to 4 and 0 to 2 goes on after a file', async () => {
    const decay = (beginStep: number, endStep: number): Model => {
      const schedule = polynomialDecay({ initialSparsity: 0.2, finalSparsity: 0.6, beginStep, endStep, power: 3, frequency: 1 });
      return pruneLowMagnitude(twoDense(16, 20, 4), { schedule, layers: ['dense1'] });
    };
    const first = decay(1, 4);
    await train(first, batch);
    expect(sparsityIn(first, 'dense1/kernel')).to.be.closeTo(0.2, 1e-6);
    const loaded = reload(first);
    await train(loaded, batch, { epochs: 3 });
    expect(sparsityIn(loaded, 'dense1/kernel')).to.be.closeTo(0.6, 1e-6);
    const second = decay(0, 2);
    await train(second, batch, { epochs: 3 });
    expect(sparsityIn(second, 'dense1/kernel')).to.be.closeTo(0.6, 1e-6);
    const again = reload(second);
    expect(sparsityIn(again, 'dense1/kernel')).to.be.closeTo(0.6, 1e-6);
    await train(again, batch);
    expect(sparsityIn(again, 'dense1/kernel')).to.be.closeTo(0.6, 1e-6);
  });

  it('P30: the step counter equals the number of training steps, over several calls', async () => {
    const pruned = pruneLowMagnitude(smallCnn(), half);
    for (const steps of [1, 2, 3]) {
      await train(pruned, rowsOf([8, 8, 3], 16));
      expect(stepOf(pruned, 'conv1/kernel')).to.equal(steps);
    }
    expect(sparsityIn(pruned, 'conv1/kernel')).to.equal(0.5);
  });

  it('P31 (held differently): training needs no callback; steps advance and masks follow without one', async () => {
    const pruned = pruneLowMagnitude(smallCnn(), half);
    await train(pruned, images);
    expect(stepOf(pruned, 'conv2/kernel')).to.equal(4);
    expect(sparsityIn(pruned, 'conv2/kernel')).to.equal(0.5);
  });

  it('P28 (held differently), W26: a checkpoint in the middle of an epoch stores moved weights, but what it computes with is sparse', async () => {
    const pruned = pruneLowMagnitude(smallCnn(), half);
    const controller = new AbortController();
    const name = path.join(folder, 'middle');
    const stopped = train(pruned, images, {
      signal: controller.signal,
      callbacks: {
        onStep: ({ step }) => void (step === 2 && controller.abort()),
        onInterrupt: () => saveModel(pruned, name),
      },
    });
    expect(await stopped.catch((reason: unknown) => reason)).to.equal(controller.signal.reason);
    const loaded = await loadModel(name);
    expect(stepOf(loaded, 'conv2/kernel')).to.equal(2);
    expect(sparsityIn(loaded, 'conv2/kernel'), 'as stored: the optimizer moved masked weights').to.be.below(0.5);
    expect(sparsityOf(materializeWeight(loaded, 'conv2/kernel'))).to.equal(0.5);
    expect(sparsityIn(stripPruning(loaded), 'conv2/kernel')).to.equal(0.5);
    expect(await predict(stripPruning(loaded), images.x)).to.deep.equal(await predict(loaded, images.x));
  });

  it('P10 (held differently), P34: one file format holds model, masks and schedules, and loads without a scope of custom objects', async () => {
    const schedules = [
      constantSparsity({ targetSparsity: 0.3, beginStep: 2, endStep: 9, frequency: 3 }),
      polynomialDecay({ initialSparsity: 0.1, finalSparsity: 0.7, beginStep: 1, endStep: 6, power: 2, frequency: 2 }),
    ];
    for (const schedule of schedules) {
      const pruned = pruneLowMagnitude(smallCnn(), { schedule, ...silent });
      await train(pruned, images);
      const name = path.join(folder, schedule.kind);
      await saveModel(pruned, name);
      const loaded = await loadModel(name);
      expect(loaded.chains.get('conv1/kernel')?.mask?.pruning?.schedule).to.deep.equal(schedule);
      expect(fingerprint(loaded)).to.equal(fingerprint(pruned));
    }
  });

  it('P39 (held differently): 1, 2 and 4 threads instead of replicas: 0.5 after two epochs, after a file too, with the same bytes', async () => {
    const prints = new Set<string>();
    for (const threads of [1, 2, 4]) {
      const pruned = pruneLowMagnitude(smallCnn(), half);
      await train(pruned, images, { epochs: 2, threads });
      for (const model of [pruned, reload(pruned)]) {
        for (const weight of model.chains.keys()) expect(sparsityIn(model, weight), weight).to.be.closeTo(0.5, 1e-6);
      }
      prints.add(fingerprint(pruned));
    }
    expect(prints.size).to.equal(1);
  });

  it('W24: a step counts once, however the batches of an epoch are cut and whenever training is taken up again', async () => {
    const pruned = pruneLowMagnitude(smallCnn(), half);
    let state: TrainingState | undefined;
    const controller = new AbortController();
    const callbacks = {
      onStep: ({ step }: { step: number }) => void (step === 3 && controller.abort()),
      onInterrupt: (interrupted: TrainingState) => void (state = interrupted),
    };
    await train(pruned, images, { batchSize: 10, signal: controller.signal, callbacks }).catch(() => undefined);
    const resumed = reload(pruned);
    await train(resumed, images, { batchSize: 10, ...(state === undefined ? {} : { start: state }) });
    expect(stepOf(resumed, 'conv1/kernel')).to.equal(Math.ceil(64 / 10));
    // Inference between steps does not count.
    await predict(resumed, images.x);
    expect(stepOf(resumed, 'conv1/kernel')).to.equal(7);
  });
});
