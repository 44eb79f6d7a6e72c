import { createModel } from '#lib/graph/initialize.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { inferShapes } from '#lib/graph/shapes.js';
import { loadBinding } from '#lib/native.js';
import { lower } from '#lib/train/lower.js';
import { meanSquaredError } from '#lib/train/losses.js';
import { sgd } from '#lib/train/optimizers.js';
import { interleave } from './interleave.js';
import { noise } from './nets.js';

/** Layers of the benchmark networks. */
interface Shape {
  readonly name: string;
  readonly op: 'conv2d' | 'depthwiseConv2d';
  readonly input: readonly [height: number, width: number, channels: number];
  readonly filters: number;
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly batch: number;
}

const SHAPES: readonly Shape[] = [
  { name: 'ds-cnn-s conv1', op: 'conv2d', input: [49, 10, 1], filters: 64, kernel: [10, 4], strides: [2, 2], batch: 100 },
  { name: 'ds-cnn-s depthwise', op: 'depthwiseConv2d', input: [25, 5, 64], filters: 64, kernel: [3, 3], strides: [1, 1], batch: 100 },
  { name: 'ds-cnn-s pointwise', op: 'conv2d', input: [25, 5, 64], filters: 64, kernel: [1, 1], strides: [1, 1], batch: 100 },
  { name: 'ds-cnn-l conv1', op: 'conv2d', input: [49, 10, 1], filters: 276, kernel: [10, 4], strides: [2, 1], batch: 100 },
  { name: 'ds-cnn-l depthwise', op: 'depthwiseConv2d', input: [13, 5, 276], filters: 276, kernel: [3, 3], strides: [1, 1], batch: 100 },
  { name: 'ds-cnn-l pointwise', op: 'conv2d', input: [13, 5, 276], filters: 276, kernel: [1, 1], strides: [1, 1], batch: 100 },
  { name: 'mobilenet conv1', op: 'conv2d', input: [96, 96, 3], filters: 8, kernel: [3, 3], strides: [2, 2], batch: 32 },
  { name: 'mobilenet depthwise', op: 'depthwiseConv2d', input: [24, 24, 32], filters: 32, kernel: [3, 3], strides: [1, 1], batch: 32 },
  { name: 'mobilenet pointwise', op: 'conv2d', input: [6, 6, 128], filters: 128, kernel: [1, 1], strides: [1, 1], batch: 32 },
];

/** Rate of one layer. */
export interface KernelResult {
  readonly name: string;
  readonly gflop: number;
  readonly forwardGflops: number;
  /** Forward, both gradients and update. */
  readonly stepGflops: number;
}

/** So many layers in a row where the shape allows, so that copying input and output hardly counts. */
const DEPTH = 8;

async function measureShape(shape: Shape, threads: number, seconds: number): Promise<KernelResult> {
  const { op, input, filters, kernel, strides, batch } = shape;
  const stackable = op === 'depthwiseConv2d' || input[2] === filters;
  const depth = stackable ? DEPTH : 1;
  const g = new GraphBuilder('kernel');
  let x = g.input(input);
  const layers: string[] = [];
  for (let i = 0; i < depth; i++) {
    const name = `layer${i}`;
    const common = { name, kernelSize: kernel, strides, padding: 'same', useBias: false } as const;
    x = op === 'conv2d' ? g.conv2d(x, { ...common, filters }) : g.depthwiseConv2d(x, common);
    layers.push(name);
  }
  x = g.globalAveragePool2d(x);
  const model = createModel(g.build(x), { seed: 1 });
  const shapes = inferShapes(model.graph);
  const perOutput = 2 * kernel[0] * kernel[1] * (op === 'conv2d' ? input[2] : 1);
  const outputs = layers.reduce((sum, name) => sum + shapes.get(name)!.reduce((product, length) => product * length, 1), 0);
  const gflop = (outputs * perOutput * batch) / 1e9;
  // the first layer has no input gradient
  const stepGflop = gflop * (3 - 1 / depth);

  const { program, tensors } = lower(model, { loss: meanSquaredError(), labels: 'dense' });
  const { Session } = loadBinding();
  const session = new Session(program, { maxBatch: batch, training: true, optimizer: sgd().spec, threads });
  for (const [name, id] of tensors) session.setTensor(id, model.tensors.get(name)!.data);
  const data = noise(batch * input[0] * input[1] * input[2]);
  const target = noise(batch * filters, 2);
  let step = 0;
  const times = await interleave(
    [
      { name: 'forward', run: () => session.forward(data) },
      { name: 'step', run: () => session.trainStep(data, target, { learningRate: 1e-9, step: ++step }) },
    ],
    seconds,
  );
  session.dispose();
  const rate = (name: string, work: number): number => (work / times.get(name)!.median) * 1000;
  return { name: shape.name, gflop: gflop / depth, forwardGflops: rate('forward', gflop), stepGflops: rate('step', stepGflop) };
}

/** Rates of the convolution kernels at the shapes of the benchmark networks. */
export async function measureKernels(threads: number, seconds: number): Promise<KernelResult[]> {
  const results: KernelResult[] = [];
  for (const shape of SHAPES) results.push(await measureShape(shape, threads, seconds));
  return results;
}
