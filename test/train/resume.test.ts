import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import {
  adam,
  clusterWeights,
  constantSparsity,
  Default8BitClusterPreserveQuantizeScheme,
  exponentialDecay,
  fit,
  type FitOptions,
  loadModel,
  type Model,
  pruneLowMagnitude,
  quantizeAnnotateModel,
  quantizeApply,
  saveModel,
  stripClustering,
  stripPruning,
  type TrainingState,
} from '#lib/index.js';
import { fingerprint, toyData, toyModel } from './toy.js'; // prettier-ignore

const optimizer = adam({ learningRate: exponentialDecay({ initial: 0.01, decaySteps: 5, decayRate: 0.9 }) });
/** 4 steps per epoch, 12 in all. */
const options: FitOptions = { train: toyData(30), validation: toyData(20, 2), epochs: 3, batchSize: 8, optimizer, seed: 5 };

describe('interrupted and resumed training', () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(path.join(tmpdir(), 'pcqat-'))));
  after(() => rm(folder, { recursive: true }));

  /** Stops after each of the given steps, saves model and state, loads them and goes on. */
  async function interrupted(model: Model, stops: readonly number[]): Promise<[Model, unknown]> {
    let current = model;
    let state: TrainingState | undefined;
    for (const stop of [...stops, Infinity]) {
      const controller = new AbortController();
      const start = state === undefined ? {} : { start: JSON.parse(JSON.stringify(state)) as TrainingState };
      const done = fit(current, {
        ...options, ...start, signal: controller.signal,
        callbacks: {
          onStep: ({ step }) => void (step >= stop && controller.abort()),
          onInterrupt: async (interruptedState) => {
            state = interruptedState;
            await saveModel(current, path.join(folder, 'checkpoint'));
          },
        },
      }); // prettier-ignore
      if (stop === Infinity) return [current, (await done).epochs.map(({ seconds: _, ...record }) => record)];
      expect(await done.catch((reason: unknown) => reason)).to.equal(controller.signal.reason);
      current = await loadModel(path.join(folder, 'checkpoint'));
    }
    throw new Error('unreachable');
  }

  const pruned = (): Model =>
    pruneLowMagnitude(toyModel({ dropout: 0.2 }), { schedule: constantSparsity({ targetSparsity: 0.5, beginStep: 2, frequency: 3 }) });
  const pcqat = (): Model => {
    const clustered = clusterWeights(stripPruning(pruned()), {
      numberOfClusters: 4,
      centroidInit: 'kmeans++',
      preserveSparsity: true,
      onNotice: () => undefined,
    });
    const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true });
    return quantizeApply(quantizeAnnotateModel(stripClustering(clustered)), { scheme, onNotice: () => undefined });
  };
  const models: [string, () => Model][] = [
    ['float with dropout', () => toyModel({ dropout: 0.2 })],
    ['pruning', pruned],
    ['PCQAT', pcqat],
  ];
  for (const [name, make] of models) {
    it(`${name}: the same bytes and history, wherever it stops`, async () => {
      const whole = make();
      const history = (await fit(whole, options)).epochs.map(({ seconds: _, ...record }) => record);
      // In the middle of an epoch, at its last step (before validation), one step later, and twice in one epoch.
      for (const stops of [[1], [4], [5, 6], [2, 8, 11]]) {
        const [model, records] = await interrupted(make(), stops);
        expect(records, `history after stops at ${stops.join()}`).to.deep.equal(history);
        expect(fingerprint(model), `bytes after stops at ${stops.join()}`).to.equal(fingerprint(whole));
      }
    });
  }

  it('continues after a finished epoch with more epochs', async () => {
    const [whole, parts] = [toyModel(), toyModel()];
    await fit(whole, options);
    let state: TrainingState | undefined;
    await fit(parts, { ...options, epochs: 2, callbacks: { onEpoch: (_, next) => void (state = next) } });
    const { epochs } = await fit(parts, { ...options, start: state! });
    expect(epochs.map((record) => record.epoch)).to.deep.equal([0, 1, 2]);
    expect(fingerprint(parts)).to.equal(fingerprint(whole));
  });
});
