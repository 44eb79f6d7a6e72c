import { describe, it } from 'mocha';
import type { IntegerOperatorSpec, IntegerProgramSpec, IntegerTensorSpec } from '../../binding.js';
import { loadBinding } from '#lib/native.js';
import { expectCode } from '../support/errors.js';
import { integers, program, quantized, rejects, weights } from '../support/integer-programs.js';

const { IntegerSession } = loadBinding();
const other = { scale: Float32Array.of(0.25) };

describe('IntegerSession, bad operators', () => {
  const pair = (op: string, options: IntegerOperatorSpec['options'] = {}, y: Partial<IntegerTensorSpec> = {}): IntegerProgramSpec =>
    program(op, [quantized('x', [1, 4]), quantized('y', [1, 4], y)], options);
  const sigmoid = { scale: Float32Array.of(1 / 256), zeroPoint: Int32Array.of(-128) };
  rejects('a sigmoid with a scale of its own', pair('LOGISTIC'), 'ERR_UNSUPPORTED', /1\/256/);
  rejects('a sigmoid that changes the shape', pair('LOGISTIC', {}, { ...sigmoid, shape: [1, 2, 2] }), 'ERR_FORMAT', /shape/);
  rejects(
    'a sigmoid without scale',
    pair('LOGISTIC', {}, { scale: new Float32Array(), zeroPoint: new Int32Array() }),
    'ERR_FORMAT',
    /scale/,
  );
  rejects('a tanh of another type', pair('TANH', {}, { dtype: 'uint8' }), 'ERR_FORMAT', /type/);
  rejects('an infinite slope', pair('LEAKY_RELU', { alpha: Infinity }), 'ERR_FORMAT', /alpha/);
  rejects('a slope that is text', pair('LEAKY_RELU', { alpha: '0.1' }), 'ERR_FORMAT', /alpha/);
  rejects('a slope beyond all reason', pair('LEAKY_RELU', { alpha: -1e30 }), 'ERR_UNSUPPORTED', /ratio/);
  rejects('a hard-swish to a far smaller scale', pair('HARD_SWISH', {}, { scale: Float32Array.of(1e-3) }), 'ERR_UNSUPPORTED', /scale/);

  const product = (b: readonly number[], y: readonly number[], change: Partial<IntegerTensorSpec> = {}): IntegerProgramSpec => {
    const tensors = [quantized('x', [1, 3, 4]), quantized('b', b, change), quantized('y', y)];
    const reshaped = { op: 'RELU', inputs: [0], outputs: [1], options: {} };
    const multiplied = { op: 'MUL', inputs: [0, 1], outputs: [2], options: {} };
    return { tensors, operators: change.data === undefined ? [reshaped, multiplied] : [multiplied], inputs: [0], outputs: [2] };
  };
  rejects('a product with a constant', product([1, 3, 4], [1, 3, 4], { data: new Uint8Array(12) }), 'ERR_UNSUPPORTED', /constant/);
  rejects('a product of another shape', product([1, 3, 4], [1, 6, 4]), 'ERR_UNSUPPORTED', /broadcasting/);
  rejects('a product larger than its operands', product([1, 3, 4], [5, 3, 4]), 'ERR_FORMAT', /follow/);
  rejects('a product of lower rank', product([1, 3, 4], [3, 4]), 'ERR_UNSUPPORTED', /rank/);
  rejects('a product of one operand', pair('MUL'), 'ERR_FORMAT', /input 1/);

  const joined = (y: Partial<IntegerTensorSpec>, options: IntegerOperatorSpec['options'] = { axis: -1 }): IntegerProgramSpec => ({
    tensors: [quantized('x', [1, 3, 4]), quantized('y', [1, 3, 8], y)],
    operators: [{ op: 'CONCATENATION', inputs: [0, 0], outputs: [1], options }],
    inputs: [0],
    outputs: [1],
  });
  it('accepts the concatenation that the next ones are derived from', () => new IntegerSession(joined({})).dispose());
  rejects('a concatenation along no axis', joined({}, { axis: 3 }), 'ERR_FORMAT', /axis/);
  rejects('a concatenation along another axis', joined({}, { axis: 1 }), 'ERR_FORMAT', /shapes/);
  rejects('a concatenation of another size', joined({ shape: [1, 3, 9] }), 'ERR_FORMAT', /follow/);
  rejects('a concatenation of other ranks', joined({ shape: [24] }, { axis: 0 }), 'ERR_FORMAT', /shapes/);
  rejects('a concatenation that rescales', joined(other), 'ERR_UNSUPPORTED', /parameters/);
  rejects('a concatenation with an activation', joined({}, { axis: 2, fusedActivationFunction: 'RELU' }), 'ERR_UNSUPPORTED', /activation/);
  rejects('a missing operand', { ...joined({}), operators: [{ ...joined({}).operators[0]!, inputs: [0, -1] }] }, 'ERR_FORMAT', /input 1/);

  for (const op of ['RESIZE_BILINEAR', 'RESIZE_NEAREST_NEIGHBOR']) {
    const resized = (change: { size?: IntegerTensorSpec; y?: Partial<IntegerTensorSpec>; options?: object }): IntegerProgramSpec =>
      program(op, [quantized('x', [1, 2, 3, 2]), change.size ?? integers('size', [4, 6]), quantized('y', [1, 4, 6, 2], change.y)], {
        ...change.options,
      });
    it(`accepts the ${op} that the next ones are derived from`, () => new IntegerSession(resized({})).dispose());
    rejects(`${op} to a size that is no constant`, resized({ size: quantized('size', [2]) }), 'ERR_FORMAT', /before/);
    rejects(`${op} to three dimensions`, resized({ size: integers('size', [4, 6, 2]) }), 'ERR_FORMAT', /size/);
    rejects(`${op} to a negative size`, resized({ size: integers('size', [-4, 6]) }), 'ERR_FORMAT', /follow/);
    rejects(`${op} to another shape`, resized({ y: { shape: [1, 4, 6, 3] } }), 'ERR_FORMAT', /follow/);
    rejects(`${op} that rescales`, resized({ y: other }), 'ERR_FORMAT', /parameters/);
    rejects(
      `${op} with both kinds of positions`,
      resized({ options: { alignCorners: true, halfPixelCenters: true } }),
      'ERR_FORMAT',
      /both/,
    );
    it(`refuses ${op} to so many rows that tables of them would take all memory, before it allocates`, () => {
      const tensors = [quantized('x', [1, 2, 1, 1]), integers('size', [2 ** 28, 1]), quantized('y', [1, 2 ** 28, 1, 1])];
      expectCode(() => new IntegerSession(program(op, tensors)), 'ERR_UNSUPPORTED', /size/);
    });
  }
  rejects(
    'bilinear resizing of uint8 values',
    program('RESIZE_BILINEAR', [
      quantized('x', [1, 2, 3, 2], { dtype: 'uint8' }),
      integers('size', [4, 6]),
      quantized('y', [1, 4, 6, 2], { dtype: 'uint8' }),
    ]),
    'ERR_UNSUPPORTED',
    /uint8/,
  );

  const up = (change: {
    shape?: readonly number[];
    w?: Partial<IntegerTensorSpec>;
    x?: Partial<IntegerTensorSpec>;
    y?: Partial<IntegerTensorSpec>;
    options?: object;
  }): IntegerProgramSpec => ({
    tensors: [
      integers('shape', change.shape ?? change.y?.shape ?? [1, 4, 6, 5]),
      weights([5, 3, 3, 2], change.w),
      quantized('x', [1, 2, 3, 2], change.x),
      integers('b', [1, 2, 3, 4, 5]),
      quantized('y', [1, 4, 6, 5], change.y),
    ],
    operators: [
      { op: 'TRANSPOSE_CONV', inputs: [0, 1, 2, 3], outputs: [4], options: { padding: 'SAME', strideW: 2, strideH: 2, ...change.options } },
    ],
    inputs: [2],
    outputs: [4],
  });
  it('accepts the transposed convolution that the next ones are derived from', () => new IntegerSession(up({})).dispose());
  rejects('a transposed convolution to another shape than it says', up({ shape: [1, 4, 5, 5] }), 'ERR_FORMAT', /first input/);
  rejects('a shape of three dimensions', up({ shape: [4, 6, 5] }), 'ERR_FORMAT', /4 elements/);
  rejects('a size that does not belong to the input', up({ y: { shape: [1, 7, 6, 5] } }), 'ERR_FORMAT', /belong/);
  rejects('a stride that does not belong to the shapes', up({ options: { strideW: 3 } }), 'ERR_FORMAT', /belong/);
  rejects('filters of another depth', up({ x: { shape: [1, 2, 3, 4] } }), 'ERR_FORMAT', /depth/);
  rejects('another number of filters', up({ y: { shape: [1, 4, 6, 4] } }), 'ERR_FORMAT', /filters/);
  rejects('a batch', up({ x: { shape: [2, 2, 3, 2] } }), 'ERR_UNSUPPORTED', /batch/);
  rejects('an output of another type', up({ y: { dtype: 'uint8' } }), 'ERR_FORMAT', /type/);
  rejects(
    'float values',
    up({ x: { dtype: 'float32' }, w: { dtype: 'float32', data: new Uint8Array(4 * 90) } }),
    'ERR_UNSUPPORTED',
    /float32/,
  );
  rejects(
    'filters with scales along their depth',
    up({ w: { scale: new Float32Array(2).fill(1), zeroPoint: new Int32Array(2), axis: 3 } }),
    'ERR_FORMAT',
    /axis/,
  );
  const fixed = up({ x: { data: new Uint8Array(12) } });
  rejects(
    'a constant that is convolved',
    { ...fixed, tensors: [...fixed.tensors, quantized('q', [1])], inputs: [5] },
    'ERR_UNSUPPORTED',
    /constant/,
  );
});
