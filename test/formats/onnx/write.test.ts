import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { Int8Runner } from '#lib/evaluate/int8.js';
import { runOnnx } from '#lib/evaluate/onnxruntime.js';
import { readOnnx } from '#lib/formats/onnx/read.js';
import { DATA_TYPES, type OnnxModel } from '#lib/formats/onnx/types.js';
import { encodeOnnx, writeOnnx } from '#lib/formats/onnx/write.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import { elementCount, inferShapes } from '#lib/graph/shapes.js';
import * as zoo from '#lib/graph/zoo/index.js';
import { expectCode, expectRejection } from '../../support/errors.js';
import { int8Cases, newerCases, randomDataset } from '../../support/int8-graphs.js';
import { channelsLast, readModel, relativeError } from '../../support/onnx.js';

const ROWS = 8;
const TOLERANCE = 1e-5;
const cases = [...int8Cases(), ...newerCases()];

/** `[n, …, c]` → `[n, c, …]`. */
function channelsFirst(x: Float32Array, shape: readonly number[]): Float32Array {
  const channels = shape.at(-1) ?? 1;
  return shape.length < 2 ? x : channelsLast(x, [x.length / elementCount(shape), elementCount(shape) / channels, channels]);
}

/** What onnx.checker's full check demands of files like ours. */
function checkStructure({ irVersion, opsets, graph }: OnnxModel): void {
  expect(irVersion).to.equal(8);
  expect([...opsets]).to.deep.equal([['', 17]]);
  expect(graph.name).to.not.equal('');
  const known = new Set(['', ...graph.initializers.keys(), ...graph.inputs.map(({ name }) => name)]);
  const nodeNames = new Set<string>();
  for (const { name, inputs, outputs } of graph.nodes) {
    expect(nodeNames.has(name), `two nodes are called ${name}`).to.equal(false);
    nodeNames.add(name);
    for (const input of inputs) expect(known.has(input), `${input} is used before it is made`).to.equal(true);
    for (const output of outputs) {
      expect(known.has(output), `${output} is made twice`).to.equal(false);
      known.add(output);
    }
  }
  for (const { name, dims, raw } of graph.initializers.values()) expect(raw, name).to.have.length.of.at.least(elementCount(dims));
  // Every tensor that a node makes has its type and shape, with an open batch.
  const described = new Map([...graph.valueInfos, ...graph.outputs].map((info) => [info.name, info]));
  for (const { outputs, op, inputs } of graph.nodes) {
    for (const output of outputs) {
      const { dataType, shape } = described.get(output) ?? {};
      const isWeight = op === 'DequantizeLinear' && graph.initializers.has(inputs[0] ?? '');
      expect(shape, output).to.not.equal(undefined);
      if (!isWeight) expect(shape?.[0], output).to.equal('batch');
      if (op === 'QuantizeLinear') expect(dataType).to.equal(DATA_TYPES.int8);
      else if (op !== 'Transpose' && op !== 'Reshape') expect(dataType).to.equal(DATA_TYPES.float);
    }
  }
}

describe('float ONNX files', () => {
  for (const { name, model, shape } of cases) {
    it(`${name}: ONNX Runtime's outputs are ours, and it reads back the same`, async () => {
      const { x } = randomDataset(shape, ROWS, 3);
      const expected = await predict(model, x);
      for (const layout of ['NHWC', 'NCHW'] as const) {
        const bytes = encodeOnnx(model, { layout });
        checkStructure(readOnnx(bytes, name));
        const input = layout === 'NCHW' ? channelsFirst(x, shape) : x;
        const outer = inferShapes(model.graph).get(model.graph.nodes.at(-1)?.name ?? '') ?? [];
        const y = await runOnnx(bytes, input);
        expect(relativeError(y, layout === 'NCHW' ? channelsFirst(expected, outer) : expected), layout).to.be.below(TOLERANCE);
        expect(relativeError(await predict(readModel(bytes), x), expected), `read back, ${layout}`).to.be.below(TOLERANCE);
      }
    });
  }

  it('keeps layer names, batch norms and weights to the bit', () => {
    const model = zoo.dsCnn({ size: 'S', classes: 12 });
    const back = readModel(encodeOnnx(model));
    for (const [name, { data }] of model.tensors) expect(back.tensors.get(name)?.data, name).to.deep.equal(data);
    expect(back.graph.nodes.map(({ op }) => op)).to.deep.equal(model.graph.nodes.map(({ op }) => op));
  });

  it('has weights as the layers use them: masks and codebooks applied', () => {
    const pruned = pruneLowMagnitude(zoo.lenet5());
    const clustered = clusterWeights(zoo.lenet5(), { numberOfClusters: 4 });
    for (const model of [pruned, clustered]) {
      const kernel = readModel(encodeOnnx(model)).tensors.get('conv1/kernel');
      expect(kernel?.data).to.deep.equal(materializeWeight(model, 'conv1/kernel'));
    }
  });

  it('is deterministic, and refuses what cannot be', () => {
    expect(encodeOnnx(zoo.lenet5())).to.deep.equal(encodeOnnx(zoo.lenet5()));
    expectCode(() => encodeOnnx(zoo.lenet5(), { io: 'int8' }), 'ERR_OPTION', /convertToInt8/);
    expectCode(() => encodeOnnx(zoo.lenet5(), { layout: 'NWHC' as 'NHWC' }), 'ERR_OPTION', /layout/);
    const broken = zoo.lenet5();
    broken.tensors.get('conv1/bias')!.data[0] = NaN;
    expectCode(() => encodeOnnx(broken), 'ERR_NON_FINITE', /conv1\/bias/);
    const builder = new GraphBuilder('nothing');
    expectCode(() => encodeOnnx(createModel(builder.build(builder.input([4])))), 'ERR_GRAPH', /no operator/);
  });

  it('small convolutional networks of any geometry come back the same', async () => {
    const options = fc.record({
      height: fc.integer({ min: 5, max: 11 }),
      width: fc.integer({ min: 5, max: 11 }),
      channels: fc.integer({ min: 1, max: 4 }),
      kernel: fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 })),
      strides: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
      padding: fc.constantFrom('same', 'valid'),
      layout: fc.constantFrom('NHWC', 'NCHW'),
    });
    await fc.assert(
      fc.asyncProperty(options, async ({ height, width, channels, kernel, strides, padding, layout }) => {
        const g = new GraphBuilder('any');
        let x = g.input([height, width, channels]);
        x = g.maxPool2d(g.conv2d(x, { filters: 3, kernelSize: kernel, strides, padding }), { poolSize: 2, padding: 'same' });
        const model = createModel(g.build(g.dense(g.flatten(x), { units: 4 })), { seed: 3 });
        const data = randomDataset([height, width, channels], 2, 7);
        const back = readModel(encodeOnnx(model, { layout }));
        expect(back.graph.nodes.map(({ op }) => op)).to.deep.equal(model.graph.nodes.map(({ op }) => op));
        expect(await predict(back, data.x)).to.deep.equal(await predict(model, data.x));
      }),
      { numRuns: 40, seed: 1 },
    );
  });
});

/**
 * Where more than one step is right: a convolution that rounds another way is one step off, and what follows enlarges that by its slope; TFLite
 * interpolates in fixed point, with a rounding in each direction. Other operators are alone in their graph and differ by a rounding.
 */
const STEPS: Readonly<Record<string, number>> = {
  'bilinear upsampling 3x2': 2,
  'conv, hard-swish': 2,
  'conv, leaky relu': 2,
  'multiply relu': 2,
};

describe('int8 ONNX files (QDQ)', () => {
  for (const { name, model, shape } of cases) {
    it(`${name}: ONNX Runtime is at most a step from our executor`, async () => {
      const data = randomDataset(shape, ROWS, 3);
      const int8 = await convertToInt8(model, { representativeData: data });
      const runner = new Int8Runner(int8);
      try {
        const expected = await runner.run(data.x);
        const bytes = encodeOnnx(int8);
        checkStructure(readOnnx(bytes, name));
        const y = await runOnnx(bytes, data.x);
        const step = runner.output.scale[0]!;
        const steps = Array.from(y, (value, i) => Math.abs(value - expected[i]!) / step);
        expect(Math.max(...steps)).to.be.below((STEPS[name] ?? 1) + 0.01);
      } finally {
        runner.dispose();
      }
    });
  }

  it('takes and returns codes, in either layout', async () => {
    const { model, shape } = cases.find(({ name }) => name === 'conv relu')!;
    const data = randomDataset(shape, ROWS, 3);
    const int8 = await convertToInt8(model, { representativeData: data });
    const codes = Int8Array.from({ length: data.x.length }, (_, i) => ((i * 37) % 256) - 128);
    const runner = new Int8Runner(int8);
    const expected = (await runner.runQuantized(codes)) as Int8Array;
    runner.dispose();
    const bytes = encodeOnnx(int8, { io: 'int8' });
    const y = await runOnnx(bytes, codes);
    expect(y).to.be.instanceOf(Int8Array);
    expect(Math.max(...Array.from(y, (code, i) => Math.abs(code - expected[i]!)))).to.be.at.most(1);
    const turned = Int8Array.from(channelsFirst(Float32Array.from(codes), shape));
    const first = await runOnnx(encodeOnnx(int8, { io: 'int8', layout: 'NCHW' }), turned);
    expect(channelsLast(Float32Array.from(first), [ROWS, 8, 7, 5])).to.deep.equal(Float32Array.from(y));
  });

  it('has the scales, codes and biases of the .tflite file', async () => {
    const { model, shape } = cases.find(({ name }) => name === 'conv batch norm relu')!;
    const int8 = await convertToInt8(model, { representativeData: randomDataset(shape, ROWS, 3) });
    const { graph } = readOnnx(encodeOnnx(int8), 'qdq');
    const raw = (name: string): Uint8Array => Uint8Array.from(graph.initializers.get(name)?.raw ?? []);
    const kernel = int8.tensors.find(({ name }) => name.endsWith('/kernel'))!;
    const bias = int8.tensors.find(({ name }) => name.endsWith('/bias'))!;
    expect(raw(`${kernel.name}/scale`)).to.deep.equal(new Uint8Array(kernel.scale.buffer));
    expect(raw(`${bias.name}/scale`)).to.deep.equal(new Uint8Array(bias.scale.buffer));
    expect(raw(`${bias.name}/codes`)).to.deep.equal(Uint8Array.from(bias.data!));
    expect(raw(`${kernel.name}/codes`).toSorted()).to.deep.equal(Uint8Array.from(kernel.data!).toSorted());
  });

  it('refuses what it cannot write, naming the operator', () => {
    const quantized = { scale: Float32Array.of(0.1), zeroPoint: Int32Array.of(0), axis: 0, dtype: 'int8' as const };
    const model = (op: string, change: Partial<TfliteModel> = {}): TfliteModel => ({
      description: 'one',
      tensors: [{ name: 'x', shape: [1, 4], ...quantized }, { name: 'y', shape: [1, 4], ...quantized }], // prettier-ignore
      operators: [{ op, inputs: [0], outputs: [1], options: {} }],
      inputs: [0],
      outputs: [1],
      ...change,
    });
    expect(encodeOnnx(model('TANH')).length).to.be.above(100);
    expectCode(() => encodeOnnx(model('GATHER')), 'ERR_UNSUPPORTED', /operator 0 \(GATHER\)/);
    expectCode(() => encodeOnnx(model('TANH', { inputs: [] })), 'ERR_UNSUPPORTED', /one input/);
    expectCode(() => encodeOnnx(model('TANH', { operators: [] })), 'ERR_OPTION', /output/);
    const floats = [{ ...quantized, name: 'x', shape: [1, 4], dtype: 'float32' as const }, { name: 'y', shape: [1, 4], ...quantized }]; // prettier-ignore
    expectCode(() => encodeOnnx(model('TANH', { tensors: floats })), 'ERR_UNSUPPORTED', /float32/);
  });
});

describe('writing ONNX files', () => {
  it('writes the bytes in one step, also of a promise', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'pcqat-onnx-'));
    try {
      const file = path.join(folder, 'model.onnx');
      await writeOnnx(Promise.resolve(zoo.lenet5()), file);
      expect(new Uint8Array(readFileSync(file))).to.deep.equal(encodeOnnx(zoo.lenet5()));
      await expectRejection(writeOnnx(zoo.lenet5(), path.join(folder, 'missing', 'model.onnx')), 'ERR_IO', /folder/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
