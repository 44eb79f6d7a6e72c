/** Scalar f64 forward pass of a program without chains and fake quantization, in training mode: the oracle of the gradient tests. */
import type { Instruction, ProgramSpec } from '../../binding.js';
import { product } from './support.js';

type Op<K extends Instruction['op']> = Extract<Instruction, { op: K }>;
type Values = Float64Array[];

export interface ReferenceInput {
  readonly tensors: readonly ArrayLike<number>[];
  readonly x: ArrayLike<number>;
  readonly y: ArrayLike<number>;
  readonly rows: number;
  /** Factor per element of the output of each dropout (by its output value). */
  readonly dropout?: ReadonlyMap<number, ArrayLike<number>>;
}

const activate = (v: number, activation: string | undefined): number =>
  activation === 'relu' ? Math.max(v, 0) : activation === 'relu6' ? Math.min(Math.max(v, 0), 6) : v;

/** Calls visit(outputIndex, inputIndex, windowIndex) for every pair inside the image, per row and output pixel. */
function windows(
  inShape: readonly number[],
  outShape: readonly number[],
  window: readonly number[],
  strides: readonly number[],
  padding: readonly number[],
  dilation: readonly number[],
  visit: (outPixel: number, inPixel: number, tap: number) => void,
): void {
  for (let oy = 0; oy < outShape[0]; ++oy) {
    for (let ox = 0; ox < outShape[1]; ++ox) {
      for (let ky = 0; ky < window[0]; ++ky) {
        for (let kx = 0; kx < window[1]; ++kx) {
          const iy = oy * strides[0] + ky * dilation[0] - padding[0];
          const ix = ox * strides[1] + kx * dilation[1] - padding[2];
          if (iy >= 0 && iy < inShape[0] && ix >= 0 && ix < inShape[1])
            visit(oy * outShape[1] + ox, iy * inShape[1] + ix, ky * window[1] + kx);
        }
      }
    }
  }
}

function convolution(program: ProgramSpec, i: Op<'conv2d' | 'depthwiseConv2d'>, input: ReferenceInput, x: Float64Array): Float64Array {
  const inShape = program.values[i.input].shape;
  const outShape = program.values[i.output].shape;
  const shape = program.tensors[i.kernel].shape;
  const kernel = input.tensors[i.kernel];
  const [cin, last] = [shape[2], shape[3]];
  const cout = outShape[2];
  const y = new Float64Array(input.rows * product(outShape));
  for (let row = 0; row < input.rows; ++row) {
    const xRow = row * product(inShape);
    const yRow = row * product(outShape);
    windows(inShape, outShape, shape, i.strides, i.padding, i.dilation, (out, from, tap) => {
      for (let c = 0; c < cin; ++c) {
        for (let m = 0; m < last; ++m) {
          const o = i.op === 'conv2d' ? m : c * last + m;
          y[yRow + out * cout + o] += x[xRow + from * cin + c] * kernel[(tap * cin + c) * last + m];
        }
      }
    });
  }
  return y.map((v, k) => activate(v + (i.bias === undefined ? 0 : input.tensors[i.bias][k % cout]), i.activation));
}

/** Every input pixel times the kernel, added where the window lies in the (larger) output. */
function transposedConvolution(program: ProgramSpec, i: Op<'conv2dTranspose'>, input: ReferenceInput, x: Float64Array): Float64Array {
  const inShape = program.values[i.input].shape;
  const outShape = program.values[i.output].shape;
  const shape = program.tensors[i.kernel].shape;
  const kernel = input.tensors[i.kernel];
  const [cout, cin] = [shape[2], shape[3]];
  const y = new Float64Array(input.rows * product(outShape));
  for (let row = 0; row < input.rows; ++row) {
    windows(outShape, inShape, shape, i.strides, i.padding, [1, 1], (from, to, tap) => {
      for (let o = 0; o < cout; ++o) {
        for (let c = 0; c < cin; ++c) {
          y[row * product(outShape) + to * cout + o] += x[row * product(inShape) + from * cin + c] * kernel[(tap * cout + o) * cin + c];
        }
      }
    });
  }
  return y.map((v, k) => activate(v + (i.bias === undefined ? 0 : input.tensors[i.bias][k % cout]), i.activation));
}

function unary(v: number, i: Op<'unary'>): number {
  switch (i.function) {
    case 'sigmoid':
      return 1 / (1 + Math.exp(-v));
    case 'tanh':
      return Math.tanh(v);
    case 'hardSwish':
      return (v * Math.min(Math.max(v + 3, 0), 6)) / 6;
    case 'leakyRelu':
      return v < 0 ? v * i.alpha! : v;
  }
}

function multiply(program: ProgramSpec, i: Op<'multiply'>, values: Values): Float64Array {
  const [size, factors] = [product(program.values[i.input].shape), product(program.values[i.other].shape)];
  return values[i.input].map((v, k) => v * values[i.other][size === factors ? k : Math.floor(k / size) * factors + (k % factors)]);
}

function concat(program: ProgramSpec, i: Op<'concat'>, values: Values): Float64Array {
  const operands = [i.input, ...i.others].map((id) => ({ width: program.values[id].shape.at(-1)!, data: values[id] }));
  const pixels = operands[0].data.length / operands[0].width;
  const rows = Array.from({ length: pixels }, (_, p) => operands.flatMap(({ width, data }) => [...data.slice(p * width, (p + 1) * width)]));
  return Float64Array.from(rows.flat());
}

/** Weight of input position `from` at output position `to` of one axis; bilinear: a tent around the centre, clamped at the border. */
function axisWeight(i: Op<'upSample'>, axis: 0 | 1, size: number, from: number, to: number): number {
  if (i.interpolation === 'nearest') return Math.floor(to / i.size[axis]) === from ? 1 : 0;
  const center = Math.min(Math.max((to + 0.5) / i.size[axis] - 0.5, 0), size - 1);
  return Math.max(1 - Math.abs(center - from), 0);
}

function upSample(program: ProgramSpec, i: Op<'upSample'>, rows: number, x: Float64Array): Float64Array {
  const [h, w, c] = program.values[i.input].shape;
  const [outH, outW] = [h * i.size[0], w * i.size[1]];
  const y = new Float64Array(rows * outH * outW * c);
  return y.map((_, k) => {
    const [row, oy, ox] = [Math.floor(k / (outH * outW * c)), Math.floor(k / (outW * c)) % outH, Math.floor(k / c) % outW];
    let sum = 0;
    for (let iy = 0; iy < h; ++iy) {
      for (let ix = 0; ix < w; ++ix) {
        sum += axisWeight(i, 0, h, iy, oy) * axisWeight(i, 1, w, ix, ox) * x[((row * h + iy) * w + ix) * c + (k % c)];
      }
    }
    return sum;
  });
}

function dense(program: ProgramSpec, i: Op<'dense'>, input: ReferenceInput, x: Float64Array): Float64Array {
  const [features, units] = program.tensors[i.kernel].shape;
  const y = new Float64Array(input.rows * units);
  for (let row = 0; row < input.rows; ++row) {
    for (let u = 0; u < units; ++u) {
      let sum = i.bias === undefined ? 0 : input.tensors[i.bias][u];
      for (let f = 0; f < features; ++f) sum += x[row * features + f] * input.tensors[i.kernel][f * units + u];
      y[row * units + u] = activate(sum, i.activation);
    }
  }
  return y;
}

function batchNorm(program: ProgramSpec, i: Op<'batchNorm'>, input: ReferenceInput, x: Float64Array): Float64Array {
  const channels = program.tensors[i.gamma].shape[0];
  const count = x.length / channels;
  const mean = new Float64Array(channels);
  const variance = new Float64Array(channels);
  x.forEach((v, k) => (mean[k % channels] += v / count));
  x.forEach((v, k) => (variance[k % channels] += (v - mean[k % channels]) ** 2 / count));
  return x.map((v, k) => {
    const c = k % channels;
    return activate(
      ((v - mean[c]) / Math.sqrt(variance[c] + i.epsilon)) * input.tensors[i.gamma][c] + input.tensors[i.beta][c],
      i.activation,
    );
  });
}

function pool(program: ProgramSpec, i: Op<'averagePool' | 'maxPool'>, rows: number, x: Float64Array): Float64Array {
  const inShape = program.values[i.input].shape;
  const outShape = program.values[i.output].shape;
  const channels = inShape[2];
  const average = i.op === 'averagePool';
  const y = new Float64Array(rows * product(outShape)).fill(average ? 0 : -Infinity);
  const counts = new Float64Array(outShape[0] * outShape[1]);
  windows(inShape, outShape, i.pool, i.strides, i.padding, [1, 1], (out) => counts[out]++);
  for (let row = 0; row < rows; ++row) {
    windows(inShape, outShape, i.pool, i.strides, i.padding, [1, 1], (out, from) => {
      for (let c = 0; c < channels; ++c) {
        const k = row * product(outShape) + out * channels + c;
        const v = x[row * product(inShape) + from * channels + c];
        y[k] = average ? y[k] + v / counts[out] : Math.max(y[k], v);
      }
    });
  }
  return y;
}

function globalAverage(shape: readonly number[], rows: number, x: Float64Array): Float64Array {
  const pixels = shape[0] * shape[1];
  const y = new Float64Array(rows * shape[2]);
  x.forEach((v, k) => (y[Math.floor(k / (pixels * shape[2])) * shape[2] + (k % shape[2])] += v / pixels));
  return y;
}

function pad(program: ProgramSpec, i: Op<'pad'>, rows: number, x: Float64Array): Float64Array {
  const [h, w, c] = program.values[i.input].shape;
  const outShape = program.values[i.output].shape;
  const y = new Float64Array(rows * product(outShape));
  for (let k = 0; k < x.length; ++k) {
    const [row, py, px] = [Math.floor(k / (h * w * c)), Math.floor(k / (w * c)) % h, Math.floor(k / c) % w];
    y[((row * outShape[0] + py + i.padding[0]) * outShape[1] + px + i.padding[2]) * c + (k % c)] = x[k];
  }
  return y;
}

function softmax(width: number, x: Float64Array): Float64Array {
  const y = x.map(Math.exp);
  for (let start = 0; start < y.length; start += width) {
    const sum = y.subarray(start, start + width).reduce((a, b) => a + b, 0);
    for (let k = start; k < start + width; ++k) y[k] /= sum;
  }
  return y;
}

function run(program: ProgramSpec, i: Instruction, input: ReferenceInput, values: Values): Float64Array {
  const x = values[i.input];
  const shape = program.values[i.input].shape;
  switch (i.op) {
    case 'conv2d':
    case 'depthwiseConv2d':
      return convolution(program, i, input, x);
    case 'dense':
      return dense(program, i, input, x);
    case 'batchNorm':
      return batchNorm(program, i, input, x);
    case 'activation':
      return x.map((v) => activate(v, i.activation));
    case 'conv2dTranspose':
      return transposedConvolution(program, i, input, x);
    case 'unary':
      return x.map((v) => unary(v, i));
    case 'multiply':
      return multiply(program, i, values);
    case 'concat':
      return concat(program, i, values);
    case 'upSample':
      return upSample(program, i, input.rows, x);
    case 'add':
      return x.map((v, k) => activate(v + values[i.other][k], i.activation));
    case 'averagePool':
    case 'maxPool':
      return pool(program, i, input.rows, x);
    case 'globalAveragePool':
      return globalAverage(shape, input.rows, x);
    case 'pad':
      return pad(program, i, input.rows, x);
    case 'reshape':
      return x;
    case 'dropout':
      return x.map((v, k) => v * (input.dropout?.get(i.output)?.[k] ?? NaN));
    case 'softmax':
      return softmax(shape[shape.length - 1], x);
    case 'fakeQuant':
    case 'requantize':
      throw new Error('not differentiable');
  }
}

function lossOf(program: ProgramSpec, input: ReferenceInput, values: Values): number {
  const spec = program.loss!;
  if (spec.kind === 'meanSquaredError') {
    const p = values[spec.prediction];
    return p.reduce((sum, v, k) => sum + (v - input.y[k]) ** 2, 0) / p.length;
  }
  const logits = values[spec.logits];
  const classes = logits.length / input.rows;
  const smoothing = spec.labelSmoothing ?? 0;
  const probabilities = softmax(classes, logits);
  return (
    -probabilities.reduce((sum, p, k) => {
      const hard = spec.labels === 'sparse' ? Number(input.y[Math.floor(k / classes)] === k % classes) : input.y[k];
      return sum + ((1 - smoothing) * hard + smoothing / classes) * Math.log(p);
    }, 0) / input.rows
  );
}

/** Every value and the loss. */
export function reference(program: ProgramSpec, input: ReferenceInput): { values: Values; loss: number } {
  const values: Values = [];
  values[program.input] = Float64Array.from(input.x);
  for (const instruction of program.instructions) values[instruction.output] = run(program, instruction, input, values);
  return { values, loss: program.loss === undefined ? NaN : lossOf(program, input, values) };
}

/** Central finite differences of the loss with respect to one tensor, in f64. */
export function numericalGradient(program: ProgramSpec, input: ReferenceInput, tensor: number): Float64Array {
  const tensors = input.tensors.map((t) => Float64Array.from(t));
  const w = tensors[tensor];
  const h = 1e-6;
  return w.map((original, k) => {
    w[k] = original + h;
    const up = reference(program, { ...input, tensors }).loss;
    w[k] = original - h;
    const down = reference(program, { ...input, tensors }).loss;
    w[k] = original;
    return (up - down) / (2 * h);
  });
}
