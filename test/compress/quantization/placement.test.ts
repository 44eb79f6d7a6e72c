import { expect } from 'chai';
import { placeQuantizers } from '#lib/compress/quantization/placement.js';
import { quantizeAnnotateLayer, quantizeAnnotateModel } from '#lib/compress/quantization/annotate.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Graph } from '#lib/graph/types.js';
import { mnistCnn, resnet8 } from '#lib/graph/zoo/index.js';
import { expectCode } from '../../support/errors.js';
import { smallCnn, twoDense } from '../../support/models.js';

function graphOf(build: (g: GraphBuilder, x: Value) => Value): Graph {
  const g = new GraphBuilder('net');
  return g.build(build(g, g.input([8, 8, 4])));
}

/** Placement with every layer annotated, or the given ones. */
function place(graph: Graph, names: readonly string[] = graph.nodes.map((node) => node.name)): { outputs: string[]; weights: string[] } {
  const { outputs, weights } = placeQuantizers(graph, new Set(names));
  return { outputs: graph.nodes.map((node) => node.name).filter((name) => outputs.has(name)), weights: [...weights] };
}

describe('placement of fake quantization', () => {
  it('3.7: the set of the reference MNIST model', () => {
    const { graph } = mnistCnn();
    const relu = graph.nodes.find((node) => node.op === 'relu')?.name;
    expect(place(graph)).to.deep.equal({ outputs: ['input', relu, 'dense'], weights: ['conv1', 'dense'] });
  });

  it('3.6: conv → BN → ReLU has one fake quantization, behind the ReLU', () => {
    expect(place(smallCnn().graph)).to.deep.equal({
      outputs: ['input', 'relu1', 'relu2', 'conv2_relu', 'pool', 'logits'],
      weights: ['conv1', 'dw', 'conv2', 'logits'],
    });
  });

  it('3.6: BN without ReLU is quantized itself; relu6 counts as ReLU', () => {
    const graph = graphOf((g, x) =>
      g.relu6(g.maxPool2d(g.batchNorm(g.conv2d(x, { name: 'c', filters: 2, kernelSize: 1 }), { name: 'bn' })), { name: 'r' }),
    );
    expect(place(graph).outputs).to.deep.equal(['input', 'bn', 'r']);
    const fused = graphOf((g, x) => g.relu6(g.batchNorm(g.conv2d(x, { filters: 2, kernelSize: 1 })), { name: 'r' }));
    expect(place(fused).outputs).to.deep.equal(['input', 'r']);
  });

  it('W1: a convolution or dense layer before a ReLU keeps its weight quantization', () => {
    const graph = graphOf((g, x) => {
      x = g.relu(g.conv2d(x, { name: 'c', filters: 2, kernelSize: 1 }), { name: 'r1' });
      x = g.relu(g.depthwiseConv2d(x, { name: 'd', kernelSize: 1 }), { name: 'r2' });
      return g.relu(g.dense(g.flatten(x), { name: 'f', units: 2 }), { name: 'r3' });
    });
    expect(place(graph)).to.deep.equal({ outputs: ['input', 'r1', 'r2', 'r3'], weights: ['c', 'd', 'f'] });
  });

  it('W16: dense → BN → ReLU has one fake quantization', () => {
    const graph = graphOf((g, x) => g.relu(g.batchNorm(g.dense(g.flatten(x), { units: 3 })), { name: 'r' }));
    expect(place(graph).outputs).to.deep.equal(['input', 'r']);
  });

  it('Q24: add → ReLU is quantized behind the ReLU, add alone itself', () => {
    const graph = graphOf((g, x) => {
      const a = g.conv2d(x, { name: 'a', filters: 4, kernelSize: 1 });
      const sum = g.relu(g.add(a, x, { name: 'sum' }), { name: 'r' });
      return g.add(sum, a, { name: 'out' });
    });
    expect(place(graph).outputs).to.deep.equal(['input', 'a', 'r', 'out']);
  });

  it('3.6: a value with two readers is quantized where it is made', () => {
    const graph = graphOf((g, x) => {
      const a = g.conv2d(x, { name: 'a', filters: 4, kernelSize: 1 });
      return g.add(g.relu(a, { name: 'r' }), a, { name: 'sum' });
    });
    expect(place(graph).outputs).to.deep.equal(['input', 'a', 'r', 'sum']);
  });

  it('3.2: average pools are quantized; max pool, padding, reshape, flatten, dropout, softmax are not', () => {
    const graph = graphOf((g, x) => {
      x = g.averagePool2d(g.maxPool2d(x), { name: 'avg' });
      x = g.zeroPad2d(x, {
        padding: [
          [1, 1],
          [1, 1],
        ],
      });
      x = g.dropout(g.reshape(g.flatten(x), [4, 4, 4]), { rate: 0.5 });
      x = g.globalAveragePool2d(x, { name: 'gap' });
      return g.softmax(g.dense(x, { name: 'logits', units: 2 }));
    });
    expect(place(graph).outputs).to.deep.equal(['input', 'avg', 'gap', 'logits']);
  });

  it('Q5: the direct predecessor of an annotated layer gets output quantization only', () => {
    const { graph } = twoDense(4, 4, 2);
    expect(place(graph, ['dense2'])).to.deep.equal({ outputs: ['dense1_relu', 'dense2'], weights: ['dense2'] });
    const cnn = graphOf((g, x) => {
      x = g.conv2d(g.conv2d(x, { name: 'a', filters: 4, kernelSize: 1 }), { name: 'b', filters: 4, kernelSize: 1 });
      return g.dense(g.flatten(g.conv2d(x, { name: 'c', filters: 4, kernelSize: 1 })), { name: 'd', units: 2 });
    });
    expect(place(cnn, ['b'])).to.deep.equal({ outputs: ['a', 'b'], weights: ['b'] });
    // A flatten has no output quantizer to give, as in the reference.
    expect(place(cnn, ['d'])).to.deep.equal({ outputs: ['d'], weights: ['d'] });
  });

  it('Q6: the input is quantized exactly if a layer that reads it is', () => {
    const { graph } = twoDense(4, 4, 2);
    expect(place(graph, ['dense1']).outputs).to.deep.equal(['input', 'dense1_relu']);
    expect(place(graph, ['dense2']).outputs).to.not.include('input');
  });

  for (const layer of ['convolution', 'depthwise', 'dense'] as const) {
    for (const relu of [undefined, 'relu', 'relu6'] as const) {
      it(`Q22: ${layer}, batch norm${relu === undefined ? '' : `, ${relu}`}: one fake quantization, behind the last; nothing is rewritten`, () => {
        const graph = graphOf((g, x) => {
          if (layer === 'convolution') x = g.conv2d(x, { name: 'weights', filters: 3, kernelSize: 3 });
          else if (layer === 'depthwise') x = g.depthwiseConv2d(x, { name: 'weights', kernelSize: 3 });
          else x = g.dense(g.flatten(x), { name: 'weights', units: 3 });
          x = g.batchNorm(x, { name: 'norm' });
          return relu === undefined ? x : g[relu](x, { name: 'last' });
        });
        const before = JSON.stringify(graph);
        expect(place(graph)).to.deep.equal({ outputs: ['input', relu === undefined ? 'norm' : 'last'], weights: ['weights'] });
        // They are one operator once the layer with the weights is annotated.
        const others = graph.nodes.map((node) => node.name).filter((name) => name !== 'norm' && name !== 'last');
        expect(place(graph, others)).to.deep.equal(place(graph));
        expect(JSON.stringify(graph)).to.equal(before);
      });
    }
  }

  it('Q27: chains, branches and repeated patterns are found wherever they stand, each once', () => {
    const block = (g: GraphBuilder, x: Value, name: string): Value =>
      g.relu(g.batchNorm(g.conv2d(x, { name, filters: 4, kernelSize: 1 }), { name: `${name}_bn` }), { name: `${name}_relu` });
    const chain = graphOf((g, x) => block(g, block(g, block(g, x, 'a'), 'b'), 'c'));
    expect(place(chain).outputs).to.deep.equal(['input', 'a_relu', 'b_relu', 'c_relu']);
    // The last node of a pattern may have two readers, the ones before may not.
    const branch = graphOf((g, x) => {
      const head = block(g, x, 'a');
      return g.add(block(g, head, 'b'), head, { name: 'sum' });
    });
    expect(place(branch).outputs).to.deep.equal(['input', 'a_relu', 'b_relu', 'sum']);
    const inside = graphOf((g, x) => {
      const norm = g.batchNorm(g.conv2d(x, { name: 'a', filters: 4, kernelSize: 1 }), { name: 'norm' });
      return g.add(g.relu(norm, { name: 'r' }), norm, { name: 'sum' });
    });
    expect(place(inside).outputs).to.deep.equal(['input', 'norm', 'r', 'sum']);
  });

  it('Q27: only annotated layers take part, and the order of nodes or of annotations does not matter', () => {
    const { graph } = smallCnn();
    const names = graph.nodes.map((node) => node.name);
    expect(place(graph, [...names].reverse())).to.deep.equal(place(graph, names));
    expect(place(graph, [])).to.deep.equal({ outputs: [], weights: [] });
    expect(place(graph, ['relu1', 'bn2']).weights).to.deep.equal([]);
    // Topological orders of one graph: the branches swapped.
    const ordered = (swap: boolean): Graph =>
      graphOf((g, x) => {
        const conv = (name: string): Value => g.conv2d(x, { name, filters: 4, kernelSize: 1 });
        const [a, b] = swap ? [conv('b'), conv('a')].reverse() : [conv('a'), conv('b')];
        return g.relu(g.add(a!, b!, { name: 'sum' }), { name: 'r' });
      });
    expect(place(ordered(true)).outputs).to.have.members(place(ordered(false)).outputs);
  });

  it('Q17, 3.2: leaky ReLU, hard-swish, upsampling, multiply and the 1-D average pools are quantized; a convolution before them too', () => {
    const graph = graphOf((g, x) => {
      x = g.leakyRelu(g.conv2d(x, { name: 'c', filters: 4, kernelSize: 1 }), { name: 'leaky' });
      x = g.hardSwish(g.conv2dTranspose(x, { name: 't', filters: 4, kernelSize: 2 }), { name: 'swish' });
      x = g.multiply(g.upSampling2d(x, { name: 'up' }), g.sigmoid(g.globalAveragePool2d(x, { name: 'gap' }), { name: 'gate' }), {
        name: 'product',
      });
      x = g.reshape(x, [162, 8]);
      x = g.averagePool1d(g.conv1d(x, { name: 's', filters: 3, kernelSize: 3 }), { name: 'pool' });
      return g.globalAveragePool1d(g.maxPool1d(g.depthwiseConv1d(x, { name: 'd', kernelSize: 3 })), { name: 'gap1' });
    });
    expect(place(graph)).to.deep.equal({
      outputs: ['input', 'c', 'leaky', 't', 'swish', 'up', 'gap', 'product', 's', 'pool', 'd', 'gap1'],
      weights: ['c', 't', 's', 'd'],
    });
  });

  it('Q13, 3.3: sigmoid and tanh have one fake quantization before them, none behind', () => {
    const graph = graphOf((g, x) => {
      x = g.tanh(g.conv2d(x, { name: 'c', filters: 4, kernelSize: 1 }), { name: 'tanh' });
      return g.sigmoid(g.batchNorm(g.dense(g.flatten(x), { name: 'd', units: 3 }), { name: 'bn' }), { name: 'out' });
    });
    expect(place(graph)).to.deep.equal({ outputs: ['input', 'c', 'bn'], weights: ['c', 'd'] });
  });

  it('3.6: batch norm and ReLU behind 1-D and transposed convolutions, ReLU behind multiply: one fake quantization, the last', () => {
    const graph = graphOf((g, x) => {
      x = g.relu(g.batchNorm(g.conv2dTranspose(x, { name: 't', filters: 4, kernelSize: 3 }), { name: 'bt' }), { name: 'rt' });
      x = g.relu6(g.multiply(x, x, { name: 'square' }), { name: 'rm' });
      x = g.reshape(x, [100, 4]);
      x = g.relu(g.batchNorm(g.conv1d(x, { name: 'c', filters: 4, kernelSize: 3 }), { name: 'bc' }), { name: 'rc' });
      return g.relu(g.depthwiseConv1d(x, { name: 'd', kernelSize: 3 }), { name: 'rd' });
    });
    expect(place(graph)).to.deep.equal({ outputs: ['input', 'rt', 'rm', 'rc', 'rd'], weights: ['t', 'c', 'd'] });
    expect(place(graph, ['t', 'c']).outputs).to.deep.equal(['input', 'rt', 'rc']);
  });

  it('Q26, W3: a concat takes the fake quantization of values that only it reads, through ReLU; their kernels stay quantized', () => {
    const graph = graphOf((g, x) => {
      const a = g.conv2d(x, { name: 'a', filters: 4, kernelSize: 1 });
      const b = g.relu(g.batchNorm(g.conv2d(x, { name: 'b', filters: 4, kernelSize: 1 }), { name: 'bn' }), { name: 'rb' });
      const c = g.hardSwish(g.conv2d(x, { name: 'c', filters: 4, kernelSize: 1 }), { name: 'swish' });
      return g.concat([a, b, c], { name: 'cat' });
    });
    // c has the hard-swish behind it, an operator of its own.
    expect(place(graph)).to.deep.equal({ outputs: ['input', 'c', 'cat'], weights: ['a', 'b', 'c'] });
  });

  it('Q26: inputs of a concat that others read keep theirs, and so does the graph input; chained concats quantize only the last', () => {
    const graph = graphOf((g, x) => {
      const a = g.conv2d(x, { name: 'a', filters: 4, kernelSize: 1 });
      const inner = g.concat([a, x], { name: 'inner' });
      const pooled = g.averagePool2d(a, { name: 'pool', poolSize: 1 });
      const outer = g.concat([inner, pooled, g.maxPool2d(a, { poolSize: 1 })], { name: 'outer' });
      return g.relu(outer, { name: 'r' });
    });
    expect(place(graph).outputs).to.deep.equal(['input', 'a', 'outer', 'r']);
  });

  it('Q26: only an annotated concat takes anything over', () => {
    const graph = graphOf((g, x) => {
      const a = g.conv2d(x, { name: 'a', filters: 4, kernelSize: 1 });
      return g.concat([a, x], { name: 'cat' });
    });
    expect(place(graph, ['a'])).to.deep.equal({ outputs: ['input', 'a'], weights: ['a'] });
  });

  it('an annotated convolution takes the BN and ReLU behind it along', () => {
    expect(place(smallCnn().graph, ['conv1'])).to.deep.equal({ outputs: ['input', 'relu1'], weights: ['conv1'] });
  });

  it('a batch norm that cannot fold is quantized as an operator of its own', () => {
    const pooled = graphOf((g, x) => g.relu(g.batchNorm(g.maxPool2d(x), { name: 'bn' }), { name: 'r' }));
    expect(place(pooled).outputs).to.deep.equal(['input', 'r']);
    const shared = graphOf((g, x) => {
      const a = g.conv2d(x, { name: 'a', filters: 4, kernelSize: 1 });
      return g.add(g.batchNorm(a, { name: 'bn' }), a, { name: 'sum' });
    });
    expect(place(shared).outputs).to.deep.equal(['input', 'a', 'bn', 'sum']);
    expect(place(smallCnn().graph, ['bn1'])).to.deep.equal({ outputs: ['conv1', 'bn1'], weights: [] });
  });

  it('covers ResNet-8: every convolution, one fake quantization per int8 operator', () => {
    const { graph } = resnet8();
    const { outputs, weights } = place(graph);
    const count = (op: string) => graph.nodes.filter((node) => node.op === op).length;
    expect(weights).to.have.length(count('conv2d') + count('dense'));
    // Each convolution, each add, the pool and the dense layer give one int8 tensor; so does the input.
    expect(outputs).to.have.length(
      1 + count('conv2d') + count('add') + count('dense') + count('globalAveragePool2d') + count('averagePool2d'),
    );
  });
});

describe('annotation', () => {
  it('Q2: marks layers, keeps the model, adds to earlier annotations', () => {
    const model = smallCnn();
    const all = quantizeAnnotateModel(model);
    expect(all.model).to.equal(model);
    expect(all.layers.size).to.equal(model.graph.nodes.length - 1);
    const some = quantizeAnnotateLayer(quantizeAnnotateLayer(model, 'conv1'), ['logits']);
    expect([...some.layers]).to.deep.equal(['conv1', 'logits']);
    expect(quantizeAnnotateModel(some).layers.size).to.equal(all.layers.size);
    expect([...quantizeAnnotateLayer(model, (node) => node.op === 'conv2d').layers]).to.deep.equal(['conv1', 'conv2']);
  });

  it('names the layers for an unknown one, the input included', () => {
    expectCode(() => quantizeAnnotateLayer(smallCnn(), ['conv9']), 'ERR_UNKNOWN_LAYER', /'conv9'.*conv1/);
    expectCode(() => quantizeAnnotateLayer(smallCnn(), 'input'), 'ERR_UNKNOWN_LAYER');
    expect(createModel(smallCnn().graph).quantizers.size).to.equal(0);
  });
});
