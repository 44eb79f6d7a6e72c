import { expect } from 'chai';
import { describe, it } from 'mocha';
import { compareModels } from '#lib/evaluate/compare.js';
import { DifferenceSum } from '#lib/evaluate/difference.js';
import { blocksOf, blocksOfFile, pairBlocks } from '#lib/evaluate/layer-pairs.js';
import { predict } from '#lib/evaluate/evaluate.js';
import type { Runner } from '#lib/evaluate/runner.js';
import { openRunner } from '#lib/evaluate/runners.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import { certifiedPcqat } from '../support/certified.js';
import { expectRejection } from '../support/errors.js';
import { randomDataset } from '../support/int8-graphs.js';
import { smallCnn, twoDense, valuesOf } from '../support/models.js';

/** Other names for all nodes of a model. */
function renamed(model: Model): Model {
  const name = (old: string): string => `other_${old}`;
  const nodes = model.graph.nodes.map((node) => ({ ...node, name: name(node.name), inputs: node.inputs.map(name) }));
  const tensors = new Map([...model.tensors].map(([key, tensor]) => [name(key), tensor]));
  return {
    graph: { name: 'other', nodes: nodes as unknown as Model['graph']['nodes'] },
    tensors,
    chains: new Map(),
    quantizers: new Map(),
  };
}

async function compared(a: Model | Runner, b: Model | Runner, x: Float32Array, options = {}) {
  const open = await Promise.all([a, b].map(async (one) => ('graph' in one ? openRunner(one) : one)));
  try {
    return await compareModels(open[0]!, open[1]!, x, options);
  } finally {
    for (const runner of open) runner.dispose();
  }
}

const x = randomDataset([8, 8, 3], 20, 3).x;

describe('compareModels', () => {
  it('finds no difference between a model and itself', async () => {
    const result = await compared(smallCnn(), smallCnn(), x);
    expect(result).to.deep.include({ rows: 20, agreement: 1, maxAbs: 0, meanAbs: 0, relative: 0 });
    expect(result.layers!.by).to.equal('name');
    expect(result.layers!.rows).to.equal(16);
    expect(result.layers!.layers.map(({ a, maxAbs }) => [a, maxAbs])).to.deep.equal(
      ['conv1', 'dw', 'conv2', 'logits'].map((name) => [name, 0]),
    );
  });

  it('measures outputs as they are', async () => {
    const [a, b] = [smallCnn(), cloneModel(smallCnn())];
    valuesOf(b, 'logits/bias')[1]! += 0.5;
    const one = await predict(a, x);
    const { maxAbs, meanAbs, relative, agreement, layers } = await compared(a, b, x, { batchSize: 7 });
    expect(maxAbs).to.be.closeTo(0.5, 1e-6);
    expect(meanAbs).to.be.closeTo(0.125, 1e-6);
    const length = Math.sqrt(one.reduce((sum, value) => sum + value * value, 0));
    expect(relative).to.be.closeTo(Math.sqrt(20 * 0.25) / length, 1e-5);
    const other = await predict(b, x);
    const best = (y: Float32Array, row: number): number =>
      y.subarray(4 * row, 4 * row + 4).indexOf(Math.max(...y.subarray(4 * row, 4 * row + 4)));
    const same = Array.from({ length: 20 }, (_, row) => row).filter((row) => best(one, row) === best(other, row)).length;
    expect(agreement).to.equal(same / 20);
    expect(layers!.layers.map((layer) => layer.maxAbs > 0)).to.deep.equal([false, false, false, true]);
  });

  it('names the first layer that differs, behind its batch normalization and activation', async () => {
    const [a, b] = [smallCnn(), cloneModel(smallCnn())];
    valuesOf(b, 'bn2/beta').fill(0.25);
    const { layers } = (await compared(a, b, x)).layers!;
    expect(layers.map(({ a: name, maxAbs }) => [name, maxAbs > 0])).to.deep.equal([
      ['conv1', false],
      ['dw', true],
      ['conv2', true],
      ['logits', true],
    ]);
    expect(layers[1]!.maxAbs).to.be.closeTo(0.25, 1e-6);
  });

  it('pairs layers by their order where the names are others', async () => {
    const result = await compared(smallCnn(), renamed(smallCnn()), x);
    expect(result.layers).to.deep.include({ by: 'order', unmatched: [[], []] });
    expect(result.layers!.layers.map(({ a, b, maxAbs }) => [a, b, maxAbs])).to.deep.equal(
      ['conv1', 'dw', 'conv2', 'logits'].map((name) => [name, `other_${name}`, 0]),
    );
  });

  it('compares a model with its int8 file', async () => {
    const { model, bytes, data } = await certifiedPcqat();
    const file = readTflite(bytes);
    const { input, output } = { input: file.tensors[file.inputs[0]!]!, output: file.tensors[file.outputs[0]!]! };
    const runner: Runner = {
      name: 'file',
      inputShape: input.shape.slice(1),
      outputShape: output.shape.slice(1),
      tflite: file,
      run: async (rows) => predict(model, rows),
      dispose: () => undefined,
    };
    const { layers } = await compared(model, runner, data.x, { layerRows: 8 });
    expect(layers).to.deep.include({ by: 'name', rows: 8, unmatched: [[], []] });
    expect(layers!.layers.map(({ a }) => a)).to.deep.equal(['conv1', 'dw', 'conv2', 'hidden', 'logits']);
    // Both hold codes of the same scale: they are a few steps of 8 bits apart.
    for (const { relative } of layers!.layers) expect(relative).to.be.within(0, 0.05);
    const forwards = (await compared(model, runner, data.x)).layers!.layers;
    const backwards = (await compared(runner, model, data.x)).layers!.layers;
    expect(backwards.map(({ maxAbs }) => maxAbs)).to.deep.equal(forwards.map(({ maxAbs }) => maxAbs));
  });

  it('leaves layers out where they cannot be paired or are not asked for', async () => {
    expect(await compared(smallCnn(), smallCnn(), x, { layerRows: 0 })).not.to.have.property('layers');
    const [a, b] = [twoDense(6, 5, 4), renamed(twoDense(6, 7, 4))];
    const { layers, unmatched } = (await compared(a, b, new Float32Array(12).fill(0.5))).layers!;
    expect(layers.map(({ a: name }) => name)).to.deep.equal(['dense2']);
    expect(unmatched).to.deep.equal([['dense1'], ['other_dense1']]);
  });

  it('refuses models and rows that do not fit', async () => {
    await expectRejection(compared(twoDense(6, 5, 4), twoDense(7, 5, 4), new Float32Array(6)), 'ERR_SHAPE', /take \[6\] and \[7\]/);
    await expectRejection(compared(twoDense(6, 5, 4), twoDense(6, 5, 3), new Float32Array(6)), 'ERR_SHAPE', /give \[4\] and \[3\]/);
    await expectRejection(compared(twoDense(6, 5, 4), twoDense(6, 5, 4), new Float32Array(7)), 'ERR_SHAPE', /7 values/);
    await expectRejection(compared(twoDense(6, 5, 4), twoDense(6, 5, 4), new Float32Array(6), { batchSize: 0 }), 'ERR_OPTION');
    await expectRejection(compared(twoDense(6, 5, 4), twoDense(6, 5, 4), new Float32Array(6), { layerRows: -1 }), 'ERR_OPTION');
  });
});

describe('pairs of layers', () => {
  it('are found by name, by the node that ends them, else by order and kind', async () => {
    const { model, bytes } = await certifiedPcqat();
    const [graph, file] = [blocksOf(model.graph), blocksOfFile(readTflite(bytes))];
    expect(graph.map(({ layer, end }) => [layer, end])).to.deep.include.members([
      ['conv1', 'relu1'],
      ['hidden', 'relu2'],
      ['logits', 'logits'],
    ]);
    expect(pairBlocks(graph, file)!.pairs.map(([a, b]) => [a.layer, b.layer])).to.deep.include.members([['conv1', 'relu1']]);
    const other = graph.map((block) => ({ ...block, layer: `x${block.layer}`, end: `x${block.end}` }));
    expect(pairBlocks(graph, other)).to.have.property('by', 'order');
    expect(pairBlocks(graph, other.slice(1))).to.equal(undefined);
    expect(pairBlocks(graph, other.toReversed())).to.equal(undefined);
    expect(pairBlocks(graph, [...graph.slice(1), ...other.slice(0, 1)])).to.deep.include({
      by: 'name',
      unmatched: [['conv1'], ['xconv1']],
    });
    expect(pairBlocks([], [])).to.equal(undefined);
  });
});

describe('differences', () => {
  it('do not hide NaN', () => {
    const { maxAbs, meanAbs } = new DifferenceSum().add(Float32Array.of(1, NaN, 2), Float32Array.of(1, 2, 9)).result();
    expect([maxAbs, meanAbs]).to.deep.equal([NaN, NaN]);
  });

  it('are relative to the first', () => {
    expect(new DifferenceSum().add(Float32Array.of(3, 4), Float32Array.of(0, 0)).result().relative).to.equal(1);
    expect(new DifferenceSum().add(Float32Array.of(0), Float32Array.of(1)).result().relative).to.equal(null);
    expect(new DifferenceSum().add(Float32Array.of(0), Float32Array.of(0)).result().relative).to.equal(0);
  });
});
