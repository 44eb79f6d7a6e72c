import { expect } from 'chai';
import type { LayerPolicy } from '#lib/compress/sparsity/layer-policy.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { pruneForLatencyOnXnnpack } from '#lib/compress/sparsity/xnnpack.js';
import { GraphBuilder, type Value } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { cloneModel, type Model } from '#lib/graph/model.js';
import { PcqatError } from '#lib/errors.js';
import { expectCode } from '../../support/errors.js';
import { collect } from '../../support/models.js';

const policy = pruneForLatencyOnXnnpack;
const ring = (sides: number) => ({ padding: [[sides, sides], [sides, sides]] }) as const; // prettier-ignore

type Middle = (g: GraphBuilder, x: Value) => Value;
const pointwise = (g: GraphBuilder, x: Value, name = 'pointwise'): Value => g.conv2d(x, { name, filters: 8, kernelSize: 1 });

/** Entry and exit as XNNPACK needs them around `middle`; input 32×32×3, behind the entry 16×16×8. */
function network(middle: Middle, options: { channels?: number; strides?: number; padding?: number; exit?: boolean } = {}): Model {
  const { channels = 3, strides = 2, padding = 1, exit = true } = options;
  const g = new GraphBuilder('net');
  let x = g.input([32, 32, channels]);
  if (padding > 0) x = g.zeroPad2d(x, ring(padding));
  x = middle(g, g.relu(g.conv2d(x, { name: 'entry', filters: 8, kernelSize: 3, strides })));
  return createModel(g.build(g.dense(exit ? g.globalAveragePool2d(x) : g.flatten(x), { name: 'logits', units: 4 })));
}

const pruned = (model: Model): string[] => [...pruneLowMagnitude(model, { policy, onNotice: () => undefined }).chains.keys()];

describe('pruneForLatencyOnXnnpack', () => {
  it('P40: three distinct errors for the entry, the exit and a layer in between; a fourth for what is no policy', () => {
    const messages: string[] = [];
    const refuse = (model: Model, message: RegExp): void => {
      expectCode(() => pruneLowMagnitude(model, { policy }), 'ERR_UNSUPPORTED', message);
      try {
        pruneLowMagnitude(model, { policy });
      } catch (error) {
        messages.push((error as PcqatError).message);
      }
    };
    refuse(
      network((g, x) => pointwise(g, x), { channels: 4 }),
      /entry.*3×3 conv2d over 3 channels/,
    );
    refuse(
      network((g, x) => pointwise(g, x), { exit: false }),
      /exit.*globalAveragePool2d/,
    );
    refuse(
      network((g, x) => g.maxPool2d(pointwise(g, x), { name: 'pool' })),
      /layer 'pool' \(maxPool2d\) lies in between/,
    );
    expect(new Set(messages).size).to.equal(3);
    expectCode(() => pruneLowMagnitude(network(pointwise), { policy: {} as LayerPolicy }), 'ERR_OPTION', /policy must be an object/);
  });

  it('P40: each part of the entry is looked at', () => {
    for (const options of [{ channels: 1 }, { strides: 1 }, { padding: 0 }, { padding: 2 }]) {
      expectCode(() => pruned(network((g, x) => pointwise(g, x), options)), 'ERR_UNSUPPORTED', /entry/);
    }
    // One branch from the input goes around the entry.
    const around = network((g, x) => pointwise(g, x));
    const g = new GraphBuilder('around');
    const x = g.input([32, 32, 3]);
    const main = g.conv2d(g.zeroPad2d(x, ring(1)), { filters: 8, kernelSize: 3, strides: 2 });
    const side = g.conv2d(x, { filters: 8, kernelSize: 1, strides: 2 });
    expectCode(() => pruned(createModel(g.build(g.globalAveragePool2d(g.add(main, side))))), 'ERR_UNSUPPORTED', /entry/);
    expect(pruned(around)).to.deep.equal(['pointwise/kernel']);
  });

  const supported: Record<string, Middle> = {
    'add, batch norm, relu6, dropout': (g, x) => g.dropout(g.relu6(g.add(g.batchNorm(pointwise(g, x)), x)), { rate: 0.1 }),
    'multiply, sigmoid, leaky relu': (g, x) => g.leakyRelu(g.multiply(x, g.sigmoid(pointwise(g, x)))),
    'bilinear upsampling': (g, x) => g.upSampling2d(pointwise(g, x), { interpolation: 'bilinear' }),
    'depthwise 3×3 SAME': (g, x) => g.depthwiseConv2d(pointwise(g, x), { kernelSize: 3, padding: 'same' }),
    'depthwise 5×5 SAME': (g, x) => g.depthwiseConv2d(pointwise(g, x), { kernelSize: 5, padding: 'same' }),
    'depthwise 3×3 behind padding': (g, x) => g.depthwiseConv2d(g.zeroPad2d(pointwise(g, x), ring(1)), { kernelSize: 3 }),
    'depthwise 3×3 stride 2': (g, x) => g.depthwiseConv2d(g.zeroPad2d(pointwise(g, x), ring(1)), { kernelSize: 3, strides: 2 }),
    'depthwise 5×5 stride 2': (g, x) => g.depthwiseConv2d(g.zeroPad2d(pointwise(g, x), ring(2)), { kernelSize: 5, strides: 2 }),
  };
  for (const [what, middle] of Object.entries(supported)) {
    it(`P40: in between, ${what} is supported`, () => expect(pruned(network(middle))).to.deep.equal(['pointwise/kernel']));
  }
  const unsupported: Record<string, Middle> = {
    'conv2d 3×3': (g, x) => g.conv2d(x, { filters: 8, kernelSize: 3 }),
    'conv2d 1×1 stride 2': (g, x) => g.conv2d(x, { filters: 8, kernelSize: 1, strides: 2 }),
    'depthwise multiplier 2': (g, x) => g.depthwiseConv2d(x, { kernelSize: 3, padding: 'same', depthMultiplier: 2 }),
    'depthwise dilation 2': (g, x) => g.depthwiseConv2d(x, { kernelSize: 3, padding: 'same', dilation: 2 }),
    'depthwise 7×7': (g, x) => g.depthwiseConv2d(x, { kernelSize: 7, padding: 'same' }),
    'depthwise stride 2 SAME': (g, x) => g.depthwiseConv2d(x, { kernelSize: 3, padding: 'same', strides: 2 }),
    'depthwise VALID without padding': (g, x) => g.depthwiseConv2d(x, { kernelSize: 3 }),
    'depthwise 5×5 behind a padding of 1': (g, x) => g.depthwiseConv2d(g.zeroPad2d(x, ring(1)), { kernelSize: 5 }),
    'nearest upsampling': (g, x) => g.upSampling2d(x, { interpolation: 'nearest' }),
    tanh: (g, x) => g.tanh(x),
    'average pool': (g, x) => g.averagePool2d(x),
  };
  for (const [what, middle] of Object.entries(unsupported)) {
    it(`P40: in between, ${what} is not supported`, () =>
      expectCode(() => pruned(network(middle)), 'ERR_UNSUPPORTED', /lies in between and is not supported/));
  }

  it('P40 (held differently): counts of pruned layers: 1 in a chain, 2 in two parts, 0 without a 1×1, 1 in a copy and when pruned twice', () => {
    const simple = network((g, x) => pointwise(g, x));
    expect(pruned(simple)).to.have.length(1);
    // The reference nests a model in a model, and shares a layer; a graph is flat and a node is used once.
    expect(pruned(network((g, x) => pointwise(g, g.relu(pointwise(g, x, 'first')), 'second')))).to.have.length(2);
    expect(pruned(network((g, x) => g.depthwiseConv2d(x, { kernelSize: 3, padding: 'same' })))).to.have.length(0);
    expect(pruned(cloneModel(simple))).to.have.length(1);
    const once = pruneLowMagnitude(simple, { policy, onNotice: () => undefined });
    expect(pruned(once)).to.have.length(1);
    // Branches that part and meet: every 1×1 of both, where the reference has two inputs and outputs.
    const branches = network((g, x) =>
      g.add(pointwise(g, g.relu(pointwise(g, x, 'a1')), 'a2'), pointwise(g, g.relu6(pointwise(g, x, 'b1')), 'b2')),
    );
    expect(pruned(branches)).to.deep.equal(['a1/kernel', 'a2/kernel', 'b1/kernel', 'b2/kernel']);
  });

  it('W34: combines with `layers`, and says what it leaves out; the reference ignores the policy there', () => {
    const model = network((g, x) => pointwise(g, g.relu(pointwise(g, x, 'first')), 'second'));
    const { codes, onNotice } = collect();
    const chosen = pruneLowMagnitude(model, { policy, layers: ['entry', 'second'], onNotice });
    expect([...chosen.chains.keys()]).to.deep.equal(['second/kernel']);
    expect(codes()).to.deep.equal(['entry: not-allowed']);
    const unsuited = network((g, x) => pointwise(g, x), { channels: 1 });
    expectCode(() => pruneLowMagnitude(unsuited, { policy, layers: ['pointwise'] }), 'ERR_UNSUPPORTED', /entry/);
  });

  it('a policy of the user is consulted once for the graph and for each layer of the selection', () => {
    const seen: string[] = [];
    const own: LayerPolicy = {
      name: 'own',
      check: ({ name }) => seen.push(name),
      allows: (node) => seen.push(node.name) > 0 && node.op === 'dense',
    };
    const model = network((g, x) => pointwise(g, x));
    expect([...pruneLowMagnitude(model, { policy: own, onNotice: () => undefined }).chains.keys()]).to.deep.equal(['logits/kernel']);
    expect(seen).to.deep.equal(['net', 'entry', 'pointwise', 'logits']);
  });
});
