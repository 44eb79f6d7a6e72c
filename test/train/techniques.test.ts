import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import {
  adam,
  clusterWeights,
  constantSparsity,
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  evaluate,
  fit,
  type History,
  materializeWeight,
  type Model,
  polynomialDecay,
  pruneLowMagnitude,
  quantizeAnnotateModel,
  quantizeApply,
  quantizeModel,
  sparsityOf,
  stripClustering,
  stripPruning,
  type Summary,
} from '#lib/index.js';
import { fingerprint, toyData, toyModel } from './toy.js'; // prettier-ignore

const train = toyData(96);
const optimizer = adam({ learningRate: 0.01 });
const options = { train, epochs: 4, batchSize: 16, optimizer } as const;
const onNotice = (): void => undefined;

async function trained(model: Model, epochs = 6): Promise<Model> {
  await fit(model, { ...options, epochs });
  return model;
}

const schedule = polynomialDecay({ initialSparsity: 0, finalSparsity: 0.5, beginStep: 0, endStep: 12, frequency: 4 });
const pruned = (model: Model): Model => pruneLowMagnitude(model, { schedule });
const distinct = (model: Model, weight: string): number => new Set(materializeWeight(model, weight)).size;

function learned({ epochs }: History): void {
  expect(epochs.at(-1)!.accuracy).to.be.greaterThan(0.95);
  expect(epochs.at(-1)!.loss).to.be.lessThan(epochs[0]!.loss);
}

describe('fit with each technique', () => {
  let float: Model, sparse: Model, clustered: Model;

  before(async () => {
    float = await trained(toyModel());
    sparse = stripPruning(await trained(pruned(float), 4));
    clustered = clusterWeights(sparse, { numberOfClusters: 6, centroidInit: 'kmeans++', preserveSparsity: true, onNotice });
  });

  it('pruning: every model between epochs is sparse (W26), masks follow the schedule', async () => {
    const model = pruned(float);
    const sparsities: number[] = [];
    const summaries: Summary[] = [];
    const history = await fit(model, {
      ...options,
      callbacks: {
        onEpoch: () => void sparsities.push(sparsityOf(model.tensors.get('logits/kernel')!.data)),
        onSummary: (summary) => void summaries.push(summary),
      },
    });
    // Six steps per epoch; masks at steps 4, 8 and 12, as the polynomial says.
    const expected = [4, 12, 12, 12].map((step) => 0.5 - 0.5 * (1 - step / 12) ** 3);
    sparsities.forEach((sparsity, i) => expect(sparsity).to.be.closeTo(expected[i]!, 0.5 / 288 + 1e-9));
    expect(summaries.map((summary) => summary.step)).to.deep.equal([6, 12, 18, 24]);
    const layer = summaries.at(-1)!.layers.find((entry) => entry.weight === 'logits/kernel')!;
    expect(layer.sparsity).to.equal(0.5);
    expect(layer.threshold).to.be.greaterThan(0);
    expect(model.tensors.get('logits/kernel:pruning_step')!.data[0]).to.equal(24);
    expect(summaries.at(-1)!.layers.map(({ maskSparsity: _, ...rest }) => rest)).to.deep.equal(history.epochs.at(-1)!.layers);
  });

  it('pruning: masked weights are +0, never -0 (W27)', async () => {
    const model = await trained(pruned(float), 2);
    const weights = model.tensors.get('conv/kernel')!.data;
    expect(sparsityOf(weights)).to.equal(0.5);
    expect([...weights].some((weight) => Object.is(weight, -0))).to.equal(false);
  });

  it('pruning: the pruning step goes on in a second fit, and an m-by-n mask is made once, at step 1', async () => {
    const model = pruneLowMagnitude(float, {
      schedule: constantSparsity({ targetSparsity: 0.9 }),
      mByN: [2, 4],
      onNotice,
    });
    await fit(model, { ...options, epochs: 1 });
    const mask = model.tensors.get('logits/kernel:mask')!.data.slice();
    expect(sparsityOf(mask)).to.equal(0.5);
    await fit(model, { ...options, epochs: 2 });
    expect(model.tensors.get('logits/kernel:mask')!.data).to.deep.equal(mask);
    expect(model.tensors.get('logits/kernel:pruning_step')!.data[0]).to.equal(18);
  });

  it('clustering: at most K values, zeros kept', async () => {
    const model = clusterWeights(sparse, { numberOfClusters: 6, centroidInit: 'kmeans++', preserveSparsity: true, onNotice });
    const history = await fit(model, options);
    learned(history);
    expect(distinct(model, 'logits/kernel')).to.be.at.most(6);
    expect(sparsityOf(materializeWeight(model, 'logits/kernel'))).to.be.at.least(0.5);
    const layer = history.epochs.at(-1)!.layers.find((entry) => entry.weight === 'logits/kernel')!;
    expect(layer.distinct).to.equal(distinct(model, 'logits/kernel'));
  });

  it('QAT: ranges come from data before the first step (W21, W22)', async () => {
    const model = quantizeModel(float);
    const loss: number[] = [];
    learned(await fit(model, { ...options, callbacks: { onStep: (info) => void loss.push(info.loss) } }));
    // The float model is trained; with calibrated ranges its first quantized step is about as good.
    expect(loss[0]).to.be.lessThan(0.2);
    for (const [name] of model.quantizers) expect(model.tensors.get(`${name}:max`)!.data[0], name).to.be.greaterThan(0);
    expect((await evaluate(model, train)).accuracy).to.be.greaterThan(0.95);
  });

  it('PQAT: zeros stay zero', async () => {
    const model = quantizeApply(quantizeAnnotateModel(sparse), { scheme: new Default8BitPrunePreserveQuantizeScheme(), onNotice });
    const zeros = [...sparse.tensors.get('logits/kernel')!.data].map((weight) => weight === 0);
    learned(await fit(model, options));
    materializeWeight(model, 'logits/kernel').forEach((weight, i) => zeros[i] && expect(weight).to.equal(0));
  });

  for (const [name, preserveSparsity] of [
    ['CQAT', false],
    ['PCQAT', true],
  ] as const) {
    it(`${name}: clusters${preserveSparsity ? ' and zeros' : ''} survive`, async () => {
      const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity });
      const model = quantizeApply(quantizeAnnotateModel(stripClustering(clustered)), { scheme, onNotice });
      const zeros = [...materializeWeight(clustered, 'logits/kernel')].map((weight) => weight === 0);
      learned(await fit(model, options));
      expect(distinct(model, 'logits/kernel')).to.be.within(2, 6);
      if (preserveSparsity) materializeWeight(model, 'logits/kernel').forEach((weight, i) => zeros[i] && expect(weight).to.equal(0));
    });
  }

  it('1, 2 and 4 threads give the same PCQAT bytes', async () => {
    const prints = new Set<string>();
    for (const threads of [1, 2, 4]) {
      const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true });
      const model = quantizeApply(quantizeAnnotateModel(stripClustering(clustered)), { scheme, onNotice });
      await fit(model, { ...options, epochs: 1, threads });
      prints.add(fingerprint(model));
    }
    expect(prints.size).to.equal(1);
  });
});
