import { expect } from 'chai';
import { describe, it } from 'mocha';
import { decodeModel } from '#lib/formats/pcqat/load.js';
import { encodeModel } from '#lib/formats/pcqat/save.js';
import {
  adam,
  adamw,
  calibrate,
  cloneModel,
  clusterWeights,
  constantSparsity,
  convertToInt8,
  Default8BitClusterPreserveQuantizeScheme,
  evaluate,
  fit,
  type FitOptions,
  materializeWeight,
  type Model,
  pruneLowMagnitude,
  quantizeModel,
  sgd,
  stripClustering,
  type WeightChain,
} from '#lib/index.js';
import { expectCode, expectRejection } from '../support/errors.js';
import { fingerprint, toyData, toyModel } from './toy.js';

const quiet = { onNotice: (): void => undefined };
const parameter = 'logits/kernel';

/** Half of the dense kernel pruned, 4 clusters, PCQAT. */
function pcqat(): Model {
  const start = toyModel();
  const kernel = start.tensors.get(parameter)!.data as Float32Array;
  kernel.forEach((_, i) => i % 2 === 0 && (kernel[i] = 0));
  const clustered = clusterWeights(start, { numberOfClusters: 4, layers: ['conv', 'logits'], preserveSparsity: true, ...quiet });
  return quantizeModel(stripClustering(clustered), { scheme: new Default8BitClusterPreserveQuantizeScheme(), ...quiet });
}

/** Masked weights of {@link pcqat}: half of the kernel, and what clustering added. */
const masked = pcqat()
  .tensors.get(`${parameter}:mask`)!
  .data.filter((keep) => keep === 0).length;

/** The same with a codebook that lost its zero: masked weights have none to go to. */
function withoutZero(): Model {
  const model = pcqat();
  const chain = model.chains.get(parameter)!;
  const { zeroPin: _, ...codebook } = chain.codebook!;
  const centroids = model.tensors.get(`${parameter}:centroids`)!.data;
  centroids.forEach((value, i) => value === 0 && (centroids[i] = 0.01));
  return { ...model, chains: new Map(model.chains).set(parameter, { ...chain, codebook }) };
}

/** Clustered without a zero, and a mask that a schedule fills at step 8: in the second step of the second epoch. */
function breaksAtStep8(): Model {
  const schedule = constantSparsity({ targetSparsity: 0.5, beginStep: 8, frequency: 100 });
  const model = pruneLowMagnitude(toyModel(), { schedule, ...quiet });
  const { shape, data } = model.tensors.get(parameter)!;
  model.tensors.set(`${parameter}:centroids`, { shape: [3], data: Float32Array.of(-0.2, 0.1, 0.3) });
  model.tensors.set(`${parameter}:indices`, { shape, data: new Int32Array(data.length) });
  const chain: WeightChain = { ...model.chains.get(parameter)!, codebook: { perChannel: false, aggregation: 'sum' } };
  return { ...model, chains: new Map(model.chains).set(parameter, chain) };
}

describe('Promises of a chain', () => {
  const options: FitOptions = { train: toyData(48), batchSize: 8, epochs: 3, optimizer: adam({ learningRate: 1e-3 }) };

  it('stop training with layer, epoch, step and count, the model as after the last good step', async () => {
    const model = breaksAtStep8();
    await expectRejection(
      fit(model, options),
      'ERR_INVARIANT',
      /^108 weights of 'logits\/kernel' are masked but would not be zero \(layer 'logits', epoch 1, step 1\)/,
    );
    const twin = breaksAtStep8();
    const controller = new AbortController();
    const stopped = fit(twin, {
      ...options,
      signal: controller.signal,
      callbacks: { onStep: ({ step }) => void (step === 7 && controller.abort()) },
    });
    expect(await stopped.catch((reason: unknown) => reason)).to.equal(controller.signal.reason);
    expect(model.optimizer!.step).to.equal(7);
    expect(model.tensors.get(`${parameter}:pruning_step`)!.data[0]).to.equal(7);
    expect(fingerprint(model)).to.equal(fingerprint(twin));
  });

  it('hold in every other way to run a model: calibrate, evaluate', async () => {
    const data = toyData(8);
    await expectRejection(
      calibrate(withoutZero(), data),
      'ERR_INVARIANT',
      new RegExp(`^${masked} weights of '${parameter}' are masked but not zero`),
    );
    await expectRejection(evaluate(breaksLater(), data), 'ERR_INVARIANT', /108 weights/);
  });

  /** A float model, which evaluate takes without ranges. */
  function breaksLater(): Model {
    const model = breaksAtStep8();
    model.tensors.get(`${parameter}:mask`)!.data.fill(0, 0, 108);
    return model;
  }

  it('are checked when a model is loaded, with layer and count', () => {
    const load = (model: Model): Model => {
      const { json, bin } = encodeModel(model);
      return decodeModel(json, bin);
    };
    load(pcqat());
    const at = /\(layer 'logits'\)/;
    expectCode(
      () => load(withoutZero()),
      'ERR_INVARIANT',
      new RegExp(`^${masked} weights are masked but their codebook has no zero \\(layer 'logits'\\)`),
    );
    const broken = (state: string, data: Float32Array | Int32Array | undefined, shape = [data?.length ?? 0]): Model => {
      const model = pcqat();
      if (data === undefined) model.tensors.delete(`${parameter}:${state}`);
      else model.tensors.set(`${parameter}:${state}`, { shape, data });
      return model;
    };
    expectCode(() => load(broken('centroids', undefined)), 'ERR_INVARIANT', /logits\/kernel:centroids/);
    expectCode(() => load(broken('indices', Int32Array.of(1))), 'ERR_INVARIANT', at);
    expectCode(() => load(broken('zero_index', Int32Array.of(0, 0))), 'ERR_INVARIANT', at);
    const unpinned = broken('zero_index', Int32Array.of(-1));
    unpinned.tensors.get(`${parameter}:centroids`)!.data.fill(0.5);
    expectCode(() => load(unpinned), 'ERR_INVARIANT', new RegExp(`^${masked} weights are masked`));
  });

  it('are checked at export, with layer and count', async () => {
    const model = withoutZero();
    await expectRejection(
      convertToInt8(model, { representativeData: toyData(8) }),
      'ERR_INVARIANT',
      new RegExp(`^${masked} weights.*layer 'logits'`),
    );
    const indices = pcqat();
    indices.tensors.get(`${parameter}:indices`)!.data.fill(4, 0, 7);
    await expectRejection(convertToInt8(indices), 'ERR_INVARIANT', /^7 entries of its indices.*layer 'logits'/);
  });

  for (const optimizer of [adamw({ learningRate: 0.05, weightDecay: 0.1 }), sgd({ learningRate: 0.05, momentum: 0.9, weightDecay: 0.1 })]) {
    it(`W18: ${optimizer.spec.kind} with weight decay moves no used weight off its codebook`, async () => {
      for (const start of [clusterWeights(toyModel(), { numberOfClusters: 4, ...quiet }), pcqat()]) {
        const model = cloneModel(start);
        await fit(model, { ...options, optimizer });
        const { data } = model.tensors.get(parameter)!;
        const used = materializeWeight(model, parameter);
        const centroids = new Set(model.tensors.get(`${parameter}:centroids`)!.data);
        if (model.chains.get(parameter)!.mask !== undefined) centroids.add(0);
        expect(used.every((value) => centroids.has(value))).to.equal(true);
        // The decay did act on the weights that choose a cluster, and not on the centroids alone.
        const still = cloneModel(start);
        await fit(still, { ...options, optimizer: { ...optimizer, spec: { ...optimizer.spec, weightDecay: 0 } } });
        expect(data).not.to.deep.equal(still.tensors.get(parameter)!.data);
      }
    });
  }
});
