import { expect } from 'chai';
import { describe, it } from 'mocha';
import { assembleConfig } from '#lib/formats/keras/config.js';
import type { StoredWeight } from '#lib/formats/keras/layer.js';
import type { ImportFormat, ImportOptions, UnsupportedNode } from '#lib/formats/import/types.js';
import type { Model } from '#lib/graph/model.js';
import { expectCode } from '../../support/errors.js';

type Config = Readonly<Record<string, unknown>>;
type Layer = Readonly<Record<string, unknown>>;
type Shapes = Readonly<Record<string, readonly (readonly number[])[]>>;

/** A layer as Keras 2 and tfjs write it; `inputs` name the layers that feed it. */
function layer(className: string, name: string, config: Config = {}, inputs?: readonly string[]): Layer {
  const nodes = inputs === undefined || inputs.length === 0 ? [] : [inputs.map((input) => [input, 0, 0, {}])];
  return { class_name: className, config: { name, ...config }, name, inbound_nodes: nodes };
}

const input = (shape: readonly (number | null)[], name = 'x'): Layer => layer('InputLayer', name, { batch_input_shape: [null, ...shape] });

const sequential = (...layers: readonly Layer[]): Layer => ({ class_name: 'Sequential', config: { name: 'net', layers } });

function functional(layers: readonly Layer[], outputs: readonly string[], name = 'net', inputs = ['x']): Layer {
  const refs = (names: readonly string[]): unknown => names.map((each) => [each, 0, 0]);
  return { class_name: 'Functional', config: { name, layers, input_layers: refs(inputs), output_layers: refs(outputs) } };
}

/** Reads a config; the arrays of a layer have the given shapes, and count up. */
function assemble(
  model: Layer,
  options: ImportOptions = {},
  shapes: Shapes = {},
  format: ImportFormat = 'keras-h5',
): ReturnType<typeof assembleConfig> {
  const stored = (shape: readonly number[]): StoredWeight => ({
    shape,
    read: () => Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i + 1),
  });
  const store = { find: ({ name }: { readonly name: string }) => (shapes[name] ?? []).map(stored) };
  return assembleConfig(model, { format, where: 'test', store }, options);
}

function read(...given: Parameters<typeof assemble>): Model {
  const { assembler, output } = assemble(...given);
  return assembler.finish(output);
}

const unsupported = (...given: Parameters<typeof assemble>): readonly UnsupportedNode[] => assemble(...given).assembler.check().unsupported;

/** The only reason why a layer between an input of that shape and nothing is refused. */
function reasonFor(shape: readonly number[], className: string, config: Config, format?: ImportFormat): string {
  const nodes = unsupported(sequential(input(shape), layer(className, 'odd', config)), {}, {}, format);
  expect(nodes.map(({ name, op }) => [name, op])).to.deep.equal([['odd', className]]);
  expect(nodes[0]!.remedy).to.match(/\w/);
  return nodes[0]!.reason;
}

const ops = (model: Model): string[] => model.graph.nodes.map(({ op }) => op);

describe('Keras model configs', () => {
  describe('structure', () => {
    it('orders layers so that inputs come first', () => {
      const layers = [layer('ReLU', 'b', {}, ['a']), layer('Activation', 'a', { activation: 'tanh' }, ['x']), input([3])];
      expect(read(functional(layers, ['b'])).graph.nodes.map(({ name }) => name)).to.deep.equal(['x', 'a', 'b']);
    });

    it('dissolves nested models', () => {
      const inner = sequential(input([4], 'inner_input'), layer('ReLU', 'r'));
      const block = functional([input([4], 'i'), layer('Add', 'a', {}, ['i', 'i'])], ['a'], 'block', ['i']);
      const layers = [
        input([4]),
        { ...inner, name: 'one', config: { ...(inner['config'] as Config), name: 'one' }, inbound_nodes: [[['x', 0, 0, {}]]] },
        { ...block, name: 'block', inbound_nodes: [[['one', 1, 0, {}]]] },
        layer('Activation', 'last', { activation: 'sigmoid' }, ['block']),
      ];
      const model = read(functional(layers, ['last']));
      expect(model.graph.nodes.map(({ name, inputs }) => [name, inputs])).to.deep.equal([
        ['x', []],
        ['r', ['x']],
        ['a', ['r', 'r']],
        ['last', ['a']],
      ]);
    });

    it('takes the config of old Sequential models, a list, and an input that only the first layer states', () => {
      const layers = [layer('ReLU', 'r', { batch_input_shape: [null, 5] }), layer('Activation', 't', { activation: 'tanh' })];
      expect(ops(read({ class_name: 'Sequential', config: layers }))).to.deep.equal(['input', 'relu', 'tanh']);
    });

    it("takes Keras 3's calls, and Keras 2's with one tensor", () => {
      const tensor = (name: string): unknown => ({
        class_name: '__keras_tensor__',
        config: { shape: [null, 4], keras_history: [name, 0, 0] },
      });
      const layers = [
        input([4]),
        { ...layer('ReLU', 'r'), inbound_nodes: [{ args: [tensor('x')], kwargs: { mask: null } }] },
        { ...layer('Add', 'a'), inbound_nodes: [{ args: [[tensor('x'), tensor('r')]], kwargs: {} }] },
        { ...layer('ReLU', 'last'), inbound_nodes: [['a', 0, 0, {}]] },
      ];
      const model = functional(layers, ['last']);
      expect(ops(read({ ...model, config: { ...(model['config'] as Config), output_layers: ['last', 0, 0] } }))).to.deep.equal([
        'input',
        'relu',
        'add',
        'relu',
      ]);
    });

    it('refuses layers that are shared, take constants, or are told to train', () => {
      const tensor = { class_name: '__keras_tensor__', config: { keras_history: ['x', 0, 0] } };
      const layers = [
        input([4]),
        { ...layer('Dense', 'shared', { units: 4 }), inbound_nodes: [[['x', 0, 0, {}]], [['x', 0, 0, {}]]] },
        { ...layer('Multiply', 'twice'), inbound_nodes: [{ args: [tensor, 2], kwargs: {} }] },
        { ...layer('Dropout', 'noisy', { rate: 0.5 }), inbound_nodes: [[['x', 0, 0, { training: true }]]] },
        layer('Concatenate', 'all', {}, ['shared', 'twice', 'noisy']),
      ];
      expect(unsupported(functional(layers, ['all'])).map(({ name, reason }) => [name, reason])).to.deep.equal([
        ['shared', 'it is called 2 times'],
        ['twice', 'it works on a constant beside the values of layers'],
        ['noisy', 'it is called with training=True'],
      ]);
    });

    it('lists several inputs and outputs, and takes a part of the model', () => {
      const layers = [
        input([4]),
        input([4], 'y'),
        layer('ReLU', 'a', {}, ['x']),
        layer('ReLU', 'b', {}, ['y']),
        layer('Add', 'sum', {}, ['a', 'b']),
      ];
      const model = functional(layers, ['sum', 'a'], 'net', ['x', 'y']);
      expect(unsupported(model).map(({ name, reason }) => [name, reason])).to.deep.equal([
        ['a', 'the model has several outputs'],
        ['y', 'the model has several inputs'],
      ]);
      expect(read(model, { output: 'a' }).graph.nodes.map(({ name }) => name)).to.deep.equal(['x', 'a']);
      expect(read(model, { output: 'b', input: 'y' }).graph.nodes.map(({ name }) => name)).to.deep.equal(['y', 'b']);
    });

    it('starts at the output of a layer within, whose shape must be known', () => {
      const model = sequential(input([4]), layer('GRU', 'g'), layer('ReLU', 'r'), {
        ...layer('ReLU', 's'),
        build_config: { input_shape: [null, 4] },
      });
      expectCode(() => read(model, { input: 'g' }), 'ERR_OPTION', /shape of the input.*inputShape/);
      expect(read(model, { input: 'g', inputShape: [7] }).graph.nodes.map(({ name }) => name)).to.deep.equal(['g', 'r', 's']);
      expect(read(model, { input: 'r' }).graph.nodes[0]).to.include({ name: 'r', op: 'input' });
      const scaled = sequential(input([7]), layer('Rescaling', 's'), layer('Rescaling', 't'), layer('ReLU', 'r'));
      expect(read(scaled, { input: 't' }).graph.nodes[0]).to.deep.include({ name: 't', shape: [7] });
      expectCode(() => read(model, { input: 'nothing' }), 'ERR_OPTION', /no layer 'nothing'.*g, r, s/);
      expectCode(() => read(model, { input: 's', output: 'r' }), 'ERR_OPTION', /does not depend on 's'/);
    });

    it('takes open dimensions from inputShape', () => {
      const model = sequential(input([null, 3]), layer('Conv1D', 'c', { filters: 2, kernel_size: [1] }));
      const shapes = { c: [[1, 3, 2], [2]] };
      expectCode(() => read(model, {}, shapes), 'ERR_OPTION', /open: \[\?, 3\].*inputShape/);
      expect(read(model, { inputShape: [8, 3] }, shapes).graph.nodes[0]).to.deep.include({ shape: [8, 3] });
      expectCode(() => read(model, { inputShape: [8, 4] }, shapes), 'ERR_OPTION', /does not fit/);
    });

    it('refuses what is no network', () => {
      expectCode(() => read({ class_name: 'MyModel', config: {} }), 'ERR_UNSUPPORTED', /MyModel.*Sequential/);
      expectCode(() => read(sequential()), 'ERR_FORMAT', /no layers/);
      expectCode(() => read(functional([input([4])], [])), 'ERR_FORMAT', /no output/);
      expectCode(() => read(functional([input([4]), layer('ReLU', 'a', {}, ['b'])], ['a'])), 'ERR_FORMAT', /layer 'b'/);
      const circle = [input([4]), layer('ReLU', 'a', {}, ['b']), layer('ReLU', 'b', {}, ['a'])];
      expectCode(() => read(functional(circle, ['a'])), 'ERR_FORMAT', /circle/);
      expectCode(() => read(functional([input([4]), input([4])], ['x'])), 'ERR_FORMAT', /two layers are named 'x'/);
      expectCode(() => read(functional([layer('ReLU', 'r')], ['r'])), 'ERR_FORMAT', /no input/);
      expectCode(
        () => read(sequential(input([4]), layer('Dense', 'd', { units: 'many' }))),
        'ERR_FORMAT',
        /units is not a number.*layer 'd'/,
      );
    });

    it('bounds nesting', () => {
      let model = sequential(input([4]), layer('ReLU', 'r'));
      for (let i = 0; i < 100; i++) model = sequential(input([4]), { ...model, name: `m${i}` });
      expectCode(() => read(model), 'ERR_FORMAT', /nested more than 32/);
    });

    it('reads keys such as __proto__ as what they are', () => {
      const model = JSON.parse(
        '{"class_name":"Sequential","config":{"name":"n","layers":[{"class_name":"constructor","config":{"__proto__":{"a":1}}}]}}',
      ) as Layer;
      expect(unsupported(sequential(input([4]), { class_name: 'toString', config: { name: 'odd' } })).map(({ op }) => op)).to.deep.equal([
        'toString',
      ]);
      expectCode(() => read(model), 'ERR_OPTION');
    });
  });

  describe('layers that are not taken', () => {
    const image = [4, 4, 2];
    const cases: readonly (readonly [string, string, Config, RegExp, (readonly number[])?, ImportFormat?])[] = [
      ['another layout', 'MaxPooling2D', { data_format: 'channels_first' }, /data_format is channels_first/],
      ['a bound of a ReLU', 'ReLU', { max_value: 3 }, /max_value 3/],
      ['a threshold', 'ReLU', { threshold: 1 }, /threshold is 1/],
      ['a bounded leaky ReLU', 'ReLU', { max_value: 6, negative_slope: 0.1 }, /negative_slope 0.1/],
      ['an axis of softmax', 'Softmax', { axis: 1 }, /axis/],
      ['an axis of batch norm', 'BatchNormalization', { axis: [1] }, /axis/],
      ['renormalization', 'BatchNormalization', { renorm: true }, /renormalization/],
      ['an activation', 'Activation', { activation: 'hard_sigmoid' }, /'hard_sigmoid'/],
      ['a function', 'Activation', { activation: { class_name: 'function', config: 'mine' } }, /'mine'/],
      ['an interpolation', 'UpSampling2D', { interpolation: 'bicubic' }, /bicubic/],
      ["tfjs' own interpolation", 'UpSampling2D', { interpolation: 'bilinear' }, /corners/, image, 'tfjs'],
      ["tfjs' lack of dilation", 'DepthwiseConv2D', { kernel_size: 2, dilation_rate: 2 }, /ignores/, image, 'tfjs'],
      ['output padding', 'Conv2DTranspose', { kernel_size: 2, filters: 1, output_padding: [1, 1] }, /output_padding/],
      ['a dilated transpose', 'Conv2DTranspose', { kernel_size: 2, filters: 1, dilation_rate: [2, 2] }, /dilated/],
      ['groups', 'Conv2D', { kernel_size: 2, filters: 4, groups: 2 }, /2 groups/, [4, 4, 4]],
      ['padding', 'MaxPooling2D', { padding: 'full' }, /'full'/],
      ['rank', 'Reshape', { target_shape: [1, 1, 2, 4, 4] }, /5 dimensions/],
      ['one input', 'Concatenate', {}, /fewer than two/],
      ['noise', 'GaussianNoise', { stddev: 1 }, /no such layer/],
      ['recurrence', 'GRU', {}, /no such layer/],
      ['quantized weights', 'Dense', { units: 2, dtype: { class_name: 'QuantizedDTypePolicy', config: { mode: 'int8' } } }, /quantized/],
    ];
    for (const [what, className, config, pattern, shape = image, format] of cases) {
      it(what, () => expect(reasonFor(shape, className, config, format)).to.match(pattern));
    }

    it('axes of concatenation, and sums of different shapes', () => {
      const layers = [
        input([4, 2]),
        layer('GlobalAveragePooling1D', 'g', {}, ['x']),
        layer('Concatenate', 'c', { axis: 1 }, ['x', 'x']),
        layer('Add', 'a', {}, ['g', 'x']),
        layer('Add', 'last', {}, ['c', 'a']),
      ];
      expect(unsupported(functional(layers, ['last'])).map(({ name }) => name)).to.include.members(['c', 'a']);
    });

    it('all of them at once', () => {
      const model = sequential(
        input([4, 4, 2]),
        layer('Lambda', 'l'),
        layer('ReLU', 'r', { max_value: 1 }),
        layer('GRU', 'g'),
        layer('Flatten', 'f'),
      );
      expect(unsupported(model).map(({ name }) => name)).to.deep.equal(['l', 'r', 'g']);
      expectCode(() => read(model), 'ERR_UNSUPPORTED', /3 nodes[^]*'l'.*\n.*'r'.*\n.*'g'/);
    });
  });

  describe('weights', () => {
    it('must have the shapes that the layer asks for', () => {
      const model = sequential(input([4]), layer('Dense', 'd', { units: 3 }));
      expectCode(() => read(model, {}, { d: [[4, 2], [3]] }), 'ERR_FORMAT', /kernel has the shape \[4, 2\] and not \[4, 3\].*layer 'd'/);
    });

    it('of one group per channel are those of a depthwise convolution', () => {
      const model = sequential(input([4, 4, 2]), layer('Conv2D', 'c', { filters: 6, kernel_size: [3, 3], groups: 2, use_bias: false }));
      const { graph, tensors } = read(model, {}, { c: [[3, 3, 1, 6]] });
      expect(graph.nodes[1]).to.include({ op: 'depthwiseConv2d', depthMultiplier: 3 });
      expect(tensors.get('c/kernel')!.shape).to.deep.equal([3, 3, 2, 3]);
      expect(Array.from(tensors.get('c/kernel')!.data.slice(0, 7))).to.deep.equal([1, 2, 3, 4, 5, 6, 7]);
    });

    it('take a scale from before; an offset only where nothing is padded', () => {
      const conv = (padding: string): Layer => layer('Conv1D', 'c', { filters: 2, kernel_size: [1], padding });
      const shapes = { c: [[1, 2, 2], [2]] };
      const scaled = read(sequential(input([4, 2]), layer('Rescaling', 's', { scale: 0.5, offset: 0 }), conv('same')), {}, shapes);
      expect(Array.from(scaled.tensors.get('c/kernel')!.data)).to.deep.equal([0.5, 1, 1.5, 2]);
      expect(Array.from(scaled.tensors.get('c/bias')!.data)).to.deep.equal([1, 2]);
      const shifted = sequential(input([4, 2]), layer('Rescaling', 's', { scale: [1, 2], offset: [0, 10] }), conv('valid'));
      const { tensors } = read(shifted, {}, shapes);
      expect(Array.from(tensors.get('c/kernel')!.data)).to.deep.equal([1, 2, 6, 8]);
      expect(Array.from(tensors.get('c/bias')!.data)).to.deep.equal([1 + 30, 2 + 40]);
      const padded = sequential(input([4, 2]), layer('Rescaling', 's', { scale: 1, offset: -1 }), conv('same'));
      expect(unsupported(padded, {}, shapes)[0]!.reason).to.match(/pads its input with zeros after 's'/);
    });

    it('take the statistics of a Normalization that the file holds', () => {
      const net = sequential(input([2]), layer('Normalization', 'n'), layer('Dense', 'd', { units: 1 }));
      const { tensors } = read(net, {}, { n: [[2], [2], []], d: [[2, 1], [1]] }); // mean and variance 1 and 2, kernel 1 and 2, bias 1
      expect(tensors.get('d/kernel')!.data).to.deep.equal(Float32Array.of(1, 2 / Math.sqrt(2)));
      expect(tensors.get('d/bias')!.data[0]).to.be.closeTo(1 - 1 - 4 / Math.sqrt(2), 1e-6);
      expect(
        unsupported(sequential(input([2]), layer('Normalization', 'n', { axis: null, mean: [1, 2, 3], variance: 1 }))).length,
      ).to.equal(1);
      expect(unsupported(sequential(input([2]), layer('Normalization', 'n', { invert: true })))[0]!.reason).to.match(/inverted/);
    });

    it('two scalings become one; one that nothing follows is refused', () => {
      const twice = [layer('Rescaling', 's', { scale: 2, offset: 1 }), layer('Rescaling', 't', { scale: 3, offset: 1 })];
      const model = read(sequential(input([1]), ...twice, layer('Dense', 'd', { units: 1 })), {}, { d: [[1, 1], [1]] });
      expect([...model.tensors.values()].map(({ data }) => data[0])).to.deep.equal([6, 1 + 4]); // 3 (2 x + 1) + 1
      expect(unsupported(sequential(input([1]), ...twice)).map(({ name, reason }) => [name, reason])).to.deep.equal([
        ['t', 'no layer follows into which it could be folded'],
      ]);
      expect(unsupported(sequential(input([1]), ...twice, layer('ReLU', 'r')))[0]!.remedy).to.match(/input: 't'/);
    });
  });
});
