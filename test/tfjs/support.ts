import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-layers'; // registers the gradients
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'chai';
import { batches } from '#lib/data/batches.js';
import type { Dataset } from '#lib/data/types.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import { TfjsEngine } from '#lib/tfjs/engine.js';
import { lower } from '#lib/train/lower.js';
import { softmaxCrossEntropy } from '#lib/train/losses.js';
import { ModelSession } from '#lib/train/model-session.js';
import { sgd } from '#lib/train/optimizers.js';
import { fit } from '#lib/train/fit.js';
import type { FitOptions } from '#lib/train/fit-options.js';
import { fitTfjs } from '#lib/tfjs/index.js';

// Spares the tests the backend's advice to install another one.
tf.env().set('IS_TEST', true);

export { tf };

/** Largest difference, relative to the largest magnitude of the expected tensor. */
export function relativeDistance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [worst, scale] = [actual.length === expected.length ? 0 : Infinity, 0];
  for (let i = 0; i < expected.length; i++) {
    worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
    scale = Math.max(scale, Math.abs(expected[i]));
    if (Number.isNaN(actual[i])) return NaN;
  }
  return worst === 0 ? 0 : worst / scale;
}

/** What differs by how much between the models that two engines trained: tensors, slots and the loss of every step. */
export interface Comparison {
  readonly native: Model;
  readonly tfjs: Model;
  readonly distances: ReadonlyMap<string, number>;
  readonly losses: readonly [native: number[], tfjs: number[]];
}

export async function trainBoth(model: Model, options: FitOptions): Promise<Comparison> {
  const [native, tfjs] = [cloneModel(model), cloneModel(model)];
  const losses: [number[], number[]] = [[], []];
  const norms: [number[], number[]] = [[], []];
  const correct: [number[], number[]] = [[], []];
  const record = (engine: 0 | 1): FitOptions => ({
    ...options,
    callbacks: {
      onStep: (info) => {
        losses[engine].push(info.loss);
        norms[engine].push(info.gradientNorm);
        correct[engine].push(info.accuracy);
      },
    },
  });
  await fit(native, { ...record(0), threads: 1 });
  await fitTfjs(tf, tfjs, record(1));
  const distances = new Map<string, number>([
    ['loss', relativeDistance(losses[1], losses[0])],
    ['gradientNorm', relativeDistance(norms[1], norms[0])],
    ['accuracy', relativeDistance(correct[1], correct[0])],
  ]);
  expect([...tfjs.tensors.keys()]).to.deep.equal([...native.tensors.keys()]);
  for (const [name, { data }] of native.tensors) distances.set(name, relativeDistance(tfjs.tensors.get(name)!.data, data));
  expect(tfjs.optimizer?.step).to.equal(native.optimizer?.step);
  for (const [name, slots] of native.optimizer!.slots) {
    slots.forEach((slot, i) => distances.set(`${name} slot ${i}`, relativeDistance(tfjs.optimizer!.slots.get(name)![i], slot)));
  }
  return { native, tfjs, distances, losses };
}

/** The largest distance of each tensor and velocity after single steps of SGD in batches of four, all from the native core's state. */
export async function lockstep(model: Model, data: Dataset, seed: number): Promise<ReadonlyMap<string, number>> {
  const [native, tfjs] = [cloneModel(model), cloneModel(model)];
  const lowered = lower(model, { loss: softmaxCrossEntropy() });
  const optimizer = sgd({ momentum: 0.9 }).spec;
  const one = new ModelSession(native, lowered, { maxBatch: 4, optimizer, threads: 1 });
  const other = new TfjsEngine(tf, tfjs, lowered, { maxBatch: 4, optimizer });
  const distances = new Map<string, number>();
  const note = (name: string, distance: number): void => void distances.set(name, Math.max(distances.get(name) ?? 0, distance));
  for (const { x, y } of batches(data, { batchSize: 4, shuffle: true, seed })) {
    const expected = await one.train(x, y, { learningRate: 0.05 });
    const actual = await other.train(x, y, { learningRate: 0.05 });
    note('loss', relativeDistance([actual.loss], [expected.loss]));
    one.pullAll();
    other.pullAll();
    for (const [name, tensor] of native.tensors) {
      const mine = tfjs.tensors.get(name)!.data;
      note(name, relativeDistance(mine, tensor.data));
      mine.set(tensor.data);
      if (lowered.tensors.has(name)) other.push(name);
    }
    for (const [name, [velocity]] of native.optimizer!.slots) {
      note(`${name} slot 0`, relativeDistance(tfjs.optimizer!.slots.get(name)![0], velocity));
    }
    other.restoreOptimizer(native.optimizer!);
  }
  one.dispose();
  other.dispose();
  return distances;
}
