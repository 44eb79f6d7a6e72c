import { expect } from 'chai';
import { pruneLowMagnitude, type PruneOptions } from '#lib/compress/sparsity/prune.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { isWeighted, weightedNodes } from '#lib/compress/registry.js';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { OPERATORS } from '#lib/graph/attributes.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { inferShapes, parameterShapes } from '#lib/graph/shapes.js';
import type { Graph, GraphNode } from '#lib/graph/types.js';
import { validateGraph } from '#lib/graph/validate.js';
import { expectCode } from '../../support/errors.js';
import { smallCnn, twoDense, valuesOf } from '../../support/models.js';
import { imageNet, reload, sequenceNet, transposedNet, twoBranches } from '../../support/training.js';

const silent = { onNotice: () => undefined };
const chainsOf = (model: Model): string[] => [...model.chains.keys()];

/** A graph with one layer of a type that does not exist. */
function unknownLayer(): Graph {
  const { graph } = twoDense(4, 4, 2);
  const recurrent = { op: 'convLstm2d', name: 'recurrent', inputs: ['dense2'] } as unknown as GraphNode;
  return { ...graph, nodes: [...graph.nodes, recurrent] };
}

describe('which layers pruning takes', () => {
  it('P1: a dense layer keeps its node and the four parameters of pruning', () => {
    const model = twoDense(8, 8, 4);
    const schedule = constantSparsity({ targetSparsity: 0.25, beginStep: 3 });
    const blocks = pruneLowMagnitude(model, { schedule, blockSize: [2, 4], blockPooling: 'MAX' });
    expect(blocks.graph).to.equal(model.graph);
    expect(blocks.chains.get('dense1/kernel')?.mask?.pruning).to.deep.equal({ schedule, blockSize: [2, 4], blockPooling: 'MAX' });
    const pattern = pruneLowMagnitude(model, { schedule, mByN: [2, 4] });
    expect(pattern.chains.get('dense1/kernel')?.mask?.pruning).to.deep.include({ schedule, mByN: [2, 4] });
  });

  it('P1 (held differently): a layer without weights is passed over, and cannot be asked for by name', () => {
    const g = new GraphBuilder('net');
    const x = g.dropout(g.dense(g.input([4]), { name: 'dense', units: 2 }), { name: 'dropout', rate: 0.5 });
    const model = createModel(g.build(x));
    expect(chainsOf(pruneLowMagnitude(model))).to.deep.equal(['dense/kernel']);
    expectCode(() => pruneLowMagnitude(model, { layers: ['dropout'] }), 'ERR_UNKNOWN_LAYER', /'dropout' is no layer with weights.*dense/);
  });

  it('P1, P3, P37, C3 (held differently): a layer type that is not known is an error of the graph, before any technique sees it', () => {
    expectCode(() => validateGraph(unknownLayer()), 'ERR_UNKNOWN_LAYER', /'convLstm2d'.*recurrent/);
    expectCode(() => createModel(unknownLayer()), 'ERR_UNKNOWN_LAYER', /recurrent/);
  });

  it('P4 (held differently): a list of names gives one chain each, in graph order; a name given twice counts once', () => {
    const pruned = pruneLowMagnitude(smallCnn(), { layers: ['logits', 'conv1', 'conv1', 'dw'], ...silent });
    expect(chainsOf(pruned)).to.deep.equal(['conv1/kernel', 'dw/kernel', 'logits/kernel']);
  });

  it('P6 (held differently): a chain of layers, branches that meet, and a part used twice; graphs are flat, so nothing nests', () => {
    expect(chainsOf(pruneLowMagnitude(twoDense(8, 8, 4)))).to.deep.equal(['dense1/kernel', 'dense2/kernel']);
    // The sum has no weights, so there are two chains where the reference has three wrappers.
    expect(chainsOf(pruneLowMagnitude(twoBranches()))).to.deep.equal(['left/kernel', 'right/kernel']);
    const g = new GraphBuilder('parts');
    const part = (x: ReturnType<typeof g.input>, name: string) => g.dense(g.relu(x), { name, units: 4 });
    const model = createModel(g.build(part(part(g.input([4]), 'inner'), 'outer')));
    expect(chainsOf(pruneLowMagnitude(model))).to.deep.equal(['inner/kernel', 'outer/kernel']);
  });

  it('P7, C6 (held differently): there are no unbuilt models; shapes are static and survive a round trip', () => {
    for (const model of [smallCnn(), twoBranches(), sequenceNet()]) {
      const [pruned, clustered] = [pruneLowMagnitude(model, silent), clusterWeights(model, { numberOfClusters: 4, ...silent })];
      for (const treated of [pruned, clustered]) {
        const loaded = reload(treated);
        expect(loaded.graph).to.deep.equal(model.graph);
        expect(inferShapes(loaded.graph)).to.deep.equal(inferShapes(model.graph));
        expect(loaded.chains).to.deep.equal(treated.chains);
      }
      expect(model.chains.size, 'the source').to.equal(0);
    }
  });

  it('P8, C5, C8, W36: anything but a model is refused, with what it was; the reference returns nothing when clustering', () => {
    const model = twoDense(4, 4, 2);
    const layer = model.graph.nodes[1];
    const others: [unknown, RegExp][] = [
      ['model', /a Model is needed, not a String/],
      [undefined, /not undefined/],
      [null, /not null/],
      [layer, /not a Object/],
      [model.graph, /not a Object/],
      [[model], /not a Array/],
      [new (class Subclassed {})(), /not a Subclassed/],
    ];
    for (const [other, message] of others) {
      const value = other as Model;
      for (const call of [
        () => pruneLowMagnitude(value),
        () => pruneLowMagnitude(value, { normalizeSigns: false }),
        () => clusterWeights(value, { numberOfClusters: 4 }),
        () => clusterWeights(value, { numberOfClusters: 4, normalizeSigns: false }),
        () => stripPruning(value),
        () => stripClustering(value),
      ]) {
        expectCode(call, 'ERR_OPTION', message);
        expectCode(call, 'ERR_OPTION', /createModel, loadModel or the zoo/);
      }
    }
  });

  it('P9: stripping leaves no chain, no state and the graph as it was, for a chain of layers and for branches', () => {
    for (const model of [smallCnn(), twoBranches()]) {
      const stripped = stripPruning(pruneLowMagnitude(model, silent));
      expect(stripped.chains.size).to.equal(0);
      expect(stripped.graph).to.deep.equal(model.graph);
      expect([...stripped.tensors.keys()]).to.deep.equal([...model.tensors.keys()]);
    }
  });

  it('P36 (held differently): one mask for each kernel, of its shape; layers without weights have no wrapper to count', () => {
    const g = new GraphBuilder('net');
    let x = g.maxPool2d(g.conv2d(g.input([28, 28, 1]), { name: 'conv1', filters: 4, kernelSize: 5 }));
    x = g.flatten(g.maxPool2d(g.conv2d(x, { name: 'conv2', filters: 8, kernelSize: 5 })));
    x = g.dropout(g.dense(x, { name: 'dense1', units: 16 }), { rate: 0.4 });
    const pruned = pruneLowMagnitude(createModel(g.build(g.dense(x, { name: 'dense2', units: 10 }))));
    const masks = [...pruned.tensors].filter(([name]) => name.endsWith(':mask'));
    expect(masks.map(([name, { shape }]) => [name, shape])).to.deep.equal([
      ['conv1/kernel:mask', [5, 5, 1, 4]],
      ['conv2/kernel:mask', [5, 5, 4, 8]],
      ['dense1/kernel:mask', [128, 16]],
      ['dense2/kernel:mask', [16, 10]],
    ]);
  });

  it('P37, C24–C46 (held differently), W35: every operator of the graph is known, and has a kernel to treat or nothing to prune', () => {
    const treated = Object.keys(OPERATORS).filter((op) => isWeighted({ op } as GraphNode));
    expect(treated).to.have.members(['conv2d', 'depthwiseConv2d', 'conv1d', 'depthwiseConv1d', 'conv2dTranspose', 'dense']);
    // What the registry says is what the operator has: a kernel if and only if it is listed.
    const pair: readonly [number, number] = [1, 1];
    const attributes = { kernelSize: pair, filters: 1, units: 1, depthMultiplier: 1, useBias: true };
    for (const op of Object.keys(OPERATORS)) {
      const size = op.endsWith('1d') ? 1 : pair;
      const node = { op, name: op, inputs: [], ...attributes, kernelSize: size } as unknown as GraphNode;
      expect(parameterShapes(node, [4, 4, 3]).has('kernel'), op).to.equal(isWeighted(node));
    }
  });

  it('P37, C24–C46: instances of every weighted layer type are pruned and clustered; biases and batch norms never', () => {
    for (const model of [imageNet(), sequenceNet(), transposedNet()]) {
      const all: PruneOptions['layers'] = () => true;
      const kernels = weightedNodes(model).map((node) => `${node.name}/kernel`);
      expect(chainsOf(pruneLowMagnitude(model, { layers: all }))).to.deep.equal(kernels);
      expect(chainsOf(clusterWeights(model, { numberOfClusters: 4, layers: all }))).to.deep.equal(kernels);
    }
    expect(chainsOf(pruneLowMagnitude(imageNet(), silent)), 'pointwise kernels only').to.deep.equal([
      'conv2d/kernel',
      'separable2d/kernel',
      'logits/kernel',
    ]);
    expect(chainsOf(pruneLowMagnitude(sequenceNet(), silent))).to.deep.equal(['conv1d/kernel', 'separable1d/kernel', 'logits/kernel']);
  });

  it('W37: a layer that a technique cannot treat fails nothing else; the rest is chosen by name', () => {
    const model = sequenceNet();
    expectCode(() => pruneLowMagnitude(model, { mByN: [2, 4], ...silent }), 'ERR_SHAPE', /layer 'conv1d'/);
    expect(chainsOf(pruneLowMagnitude(model, { mByN: [2, 4], layers: ['logits'] }))).to.deep.equal(['logits/kernel']);
    expect(chainsOf(clusterWeights(model, { numberOfClusters: 4, layers: ['conv1d'] }))).to.deep.equal(['conv1d/kernel']);
  });

  it('P14, P16: a kernel of rank 3 has no blocks and no m-by-n pattern, said when pruning begins', () => {
    const layers = ['conv1d'];
    expectCode(() => pruneLowMagnitude(sequenceNet(), { blockSize: [2, 2], layers }), 'ERR_SHAPE', /\[3, 3, 8\].*layer 'conv1d'/);
    expectCode(() => pruneLowMagnitude(sequenceNet(), { mByN: [2, 4], layers }), 'ERR_SHAPE', /\[3, 3, 8\].*layer 'conv1d'/);
  });

  it('W11: depthwise kernels are pruned when asked, and say so when not', () => {
    const model = imageNet();
    const told: string[] = [];
    pruneLowMagnitude(model, { onNotice: ({ layer, code }) => told.push(`${layer} ${code}`) });
    expect(told).to.deep.equal(['depthwise2d depthwise-not-selected', 'separable2d_depthwise depthwise-not-selected']);
    const pruned = pruneLowMagnitude(model, { layers: ['depthwise2d'] });
    expect(pruned.tensors.get('depthwise2d/kernel:mask')?.data).to.have.length(valuesOf(model, 'depthwise2d/kernel').length);
  });
});
