import type { TfliteModel, TfliteOperator, TfliteTensor } from '#lib/formats/tflite/types.js';
import { randomNumbers } from './random.js';

/** A hand-written model: one operator, or one with what it takes to give it two inputs. */
export interface OperatorCase {
  readonly name: string;
  readonly model: TfliteModel;
  /** Runtimes that refuse this model although it is valid, with the reason. */
  readonly refused?: Readonly<Partial<Record<'tflite29' | 'litert', string>>>;
  /** Is the operator defined alike for uint8? */
  readonly uint8?: boolean;
}

type Options = TfliteOperator['options'];

interface Quantization {
  readonly scale: number;
  readonly zeroPoint: number;
}

const INPUT: Quantization = { scale: 0.05, zeroPoint: -7 };

function activation(name: string, shape: readonly number[], { scale, zeroPoint }: Quantization): TfliteTensor {
  return { name, shape, dtype: 'int8', scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zeroPoint), axis: 0 };
}

function integers(name: string, values: readonly number[]): TfliteTensor {
  const data = new Uint8Array(Int32Array.from(values).buffer);
  return { name, shape: [values.length], dtype: 'int32', scale: new Float32Array(), zeroPoint: new Int32Array(), axis: 0, data };
}

function unary(op: string, input: Quantization, output: Quantization, options: Options = {}, shape = [1, 6, 5, 4]): TfliteModel {
  return {
    description: op,
    tensors: [activation('x', shape, input), activation('y', shape, output)],
    operators: [{ op, inputs: [0], outputs: [1], options }],
    inputs: [0],
    outputs: [1],
  };
}

const SIGMOID: Quantization = { scale: 1 / 256, zeroPoint: -128 };
const TANH: Quantization = { scale: 1 / 128, zeroPoint: 0 };

/** x times the sigmoid of its maximum over the image, per channel (as in squeeze-and-excitation), or of itself. */
function multiply(
  output: Quantization,
  form: 'same' | '[1, 1, 1, c]' | '[1, c]' | 'first',
  options: Options = {},
  input = INPUT,
): TfliteModel {
  const shape = [1, 6, 5, 4];
  const pooled = form === 'same' ? shape : [1, 1, 1, 4];
  const pool = {
    padding: form === 'same' ? 'SAME' : 'VALID',
    strideW: 1,
    strideH: 1,
    filterWidth: form === 'same' ? 3 : 5,
    filterHeight: form === 'same' ? 3 : 6,
  };
  const gate = form === '[1, c]' ? [1, 4] : pooled;
  return {
    description: 'MUL',
    tensors: [
      activation('x', shape, input),
      activation('pooled', pooled, input),
      activation('squeezed', gate, input),
      activation('gate', gate, SIGMOID),
      activation('y', shape, output),
      integers('shape', gate),
    ],
    operators: [
      { op: 'MAX_POOL_2D', inputs: [0], outputs: [1], options: pool },
      { op: 'RESHAPE', inputs: [1, 5], outputs: [2], options: { newShape: gate } },
      { op: 'LOGISTIC', inputs: [2], outputs: [3], options: {} },
      { op: 'MUL', inputs: form === 'first' ? [3, 0] : [0, 3], outputs: [4], options },
    ],
    inputs: [0],
    outputs: [4],
  };
}

/** x, its 3×3 maximum and x again along an axis. */
function concatenation(shape: readonly number[], axis: number): TfliteModel {
  const out = shape.map((dimension, i) => (i === (axis + shape.length) % shape.length ? 3 * dimension : dimension));
  return {
    description: 'CONCATENATION',
    tensors: [activation('x', shape, INPUT), activation('pooled', shape, INPUT), activation('y', out, INPUT)],
    operators: [
      {
        op: 'MAX_POOL_2D',
        inputs: [0],
        outputs: [1],
        options: { padding: 'SAME', strideW: 1, strideH: 1, filterWidth: 3, filterHeight: 3 },
      },
      { op: 'CONCATENATION', inputs: [0, 1, 0], outputs: [2], options: { axis, fusedActivationFunction: 'NONE' } },
    ],
    inputs: [0],
    outputs: [2],
  };
}

function resize(
  op: 'RESIZE_NEAREST_NEIGHBOR' | 'RESIZE_BILINEAR',
  [height, width]: readonly [number, number],
  options: Options,
): TfliteModel {
  return {
    description: op,
    tensors: [activation('x', [1, 5, 7, 3], INPUT), integers('size', [height, width]), activation('y', [1, height, width, 3], INPUT)],
    operators: [{ op, inputs: [0, 1], outputs: [2], options }],
    inputs: [0],
    outputs: [2],
  };
}

export interface TransposeConvCase {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly padding: 'SAME' | 'VALID';
  readonly scales?: 'channel' | 'tensor';
  readonly bias?: boolean;
  readonly activation?: 'NONE' | 'RELU' | 'RELU6';
}

export function transposeConv({
  kernel,
  strides,
  padding,
  scales = 'channel',
  bias = true,
  activation: fused = 'NONE',
}: TransposeConvCase): TfliteModel {
  const random = randomNumbers(99);
  const [h, w, depth, filters] = [5, 4, 6, 7];
  const size = (n: number, k: number, s: number): number => (padding === 'SAME' ? n * s : n * s + Math.max(k - s, 0));
  const out = [1, size(h, kernel[0], strides[0]), size(w, kernel[1], strides[1]), filters];
  const shape = [filters, kernel[0], kernel[1], depth];
  const count = scales === 'channel' ? filters : 1;
  const weightScale = Float32Array.from({ length: count }, () => 0.002 + 0.004 * random());
  const codes = Int8Array.from({ length: shape.reduce((a, b) => a * b) }, () => Math.floor(random() * 255) - 127);
  const biases = Int32Array.from({ length: filters }, () => Math.floor((random() - 0.5) * 8000));
  const output = { scale: fused === 'NONE' ? 0.06 : 0.035, zeroPoint: fused === 'NONE' ? 9 : -100 };
  return {
    description: 'TRANSPOSE_CONV',
    tensors: [
      integers('shape', out),
      {
        name: 'up/kernel',
        shape,
        dtype: 'int8',
        scale: weightScale,
        zeroPoint: new Int32Array(count),
        axis: 0,
        data: new Uint8Array(codes.buffer),
      },
      activation('x', [1, h, w, depth], INPUT),
      {
        name: 'bias',
        shape: [filters],
        dtype: 'int32',
        scale: weightScale.map((scale) => scale * INPUT.scale),
        zeroPoint: new Int32Array(count),
        axis: 0,
        data: new Uint8Array(biases.buffer),
      },
      activation('y', out, output),
    ],
    operators: [
      {
        op: 'TRANSPOSE_CONV',
        inputs: bias ? [0, 1, 2, 3] : [0, 1, 2],
        outputs: [4],
        options: { padding, strideW: strides[1], strideH: strides[0], fusedActivationFunction: fused },
        ...(fused === 'NONE' ? {} : { version: 4 }),
      },
    ],
    inputs: [2],
    outputs: [4],
  };
}

/** Each operator that was not in the convolutional nets of old, with every option that changes its arithmetic. */
export function operatorCases(): OperatorCase[] {
  const cases: OperatorCase[] = [];
  const add = (name: string, model: TfliteModel, more: Omit<OperatorCase, 'name' | 'model'> = {}): void => {
    cases.push({ name, model, uint8: true, ...more });
  };
  for (const scale of [0.003, 0.0217, 0.0471, 0.11, 0.9]) {
    for (const zeroPoint of [-128, -7, 54]) {
      const input = { scale, zeroPoint };
      add(`LOGISTIC, input scale ${scale}, zero point ${zeroPoint}`, unary('LOGISTIC', input, SIGMOID));
      add(`TANH, input scale ${scale}, zero point ${zeroPoint}`, unary('TANH', input, TANH));
      add(
        `HARD_SWISH, input scale ${scale}, zero point ${zeroPoint}`,
        unary('HARD_SWISH', input, { scale: scale * 0.83, zeroPoint: -100 }),
      );
      add(
        `LEAKY_RELU, input scale ${scale}, zero point ${zeroPoint}`,
        unary('LEAKY_RELU', input, { scale: scale * 0.71, zeroPoint: -31 }, { alpha: 0.1 }),
      );
    }
  }
  for (const alpha of [0, 0.3, 1, 1.7, -0.4]) {
    add(`LEAKY_RELU, alpha ${alpha}`, unary('LEAKY_RELU', INPUT, { scale: 0.044, zeroPoint: -12 }, { alpha }));
  }
  add('HARD_SWISH, output scale far above the input scale', unary('HARD_SWISH', INPUT, { scale: 1.3, zeroPoint: 0 }));
  add('LOGISTIC of a vector', unary('LOGISTIC', INPUT, SIGMOID, {}, [1, 19]));
  for (const form of ['same', '[1, 1, 1, c]', '[1, c]', 'first'] as const)
    add(`MUL, operand ${form}`, multiply({ scale: 0.031, zeroPoint: 5 }, form));
  for (const fusedActivationFunction of ['RELU', 'RELU6']) {
    add(`MUL, fused ${fusedActivationFunction}`, multiply({ scale: 0.031, zeroPoint: -80 }, 'same', { fusedActivationFunction }));
  }
  add('MUL, multiplier above 1', multiply({ scale: 0.0011, zeroPoint: 3 }, '[1, 1, 1, c]', {}, { scale: 0.4, zeroPoint: 11 }));
  for (const axis of [1, 2, 3, -1]) add(`CONCATENATION, axis ${axis}`, concatenation([1, 6, 5, 4], axis));
  const none = { alignCorners: false, halfPixelCenters: false };
  const half = { alignCorners: false, halfPixelCenters: true };
  const align = { alignCorners: true, halfPixelCenters: false };
  for (const [style, options] of Object.entries({ plain: none, 'half-pixel': half, 'aligned corners': align })) {
    for (const size of [
      [10, 14],
      [15, 14],
      [5, 7],
      [13, 9],
      [3, 4],
    ] as const) {
      add(`RESIZE_NEAREST_NEIGHBOR to ${size.join('×')}, ${style}`, resize('RESIZE_NEAREST_NEIGHBOR', size, options));
      add(`RESIZE_BILINEAR to ${size.join('×')}, ${style}`, resize('RESIZE_BILINEAR', size, options), { uint8: false });
    }
  }
  for (const padding of ['SAME', 'VALID'] as const) {
    for (const [kernel, strides] of [
      [
        [3, 3],
        [2, 2],
      ],
      [
        [3, 3],
        [1, 1],
      ],
      [
        [2, 4],
        [2, 3],
      ],
      [
        [1, 1],
        [2, 2],
      ],
      [
        [4, 3],
        [3, 1],
      ],
    ] as const) {
      add(`TRANSPOSE_CONV ${kernel.join('×')} ${padding} stride ${strides.join('×')}`, transposeConv({ kernel, strides, padding }));
    }
  }
  const window = { kernel: [3, 3], strides: [2, 2], padding: 'SAME' } as const;
  add('TRANSPOSE_CONV, one scale', transposeConv({ ...window, scales: 'tensor' }));
  add('TRANSPOSE_CONV without bias', transposeConv({ ...window, bias: false }));
  for (const fused of ['RELU', 'RELU6'] as const) {
    add(`TRANSPOSE_CONV, fused ${fused}`, transposeConv({ ...window, activation: fused }), {
      refused: { tflite29: 'version 4 of the operator came later' },
      uint8: false,
    });
  }
  return cases;
}
