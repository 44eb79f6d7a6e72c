import { PcqatError } from '../../errors.js';
import { elementCount, MAX_ELEMENTS } from '../../graph/shapes.js';
import { halvesToFloats } from '../float16.js';
import { field, isObject, listOf } from '../keras/json.js';
import type { StoredWeight } from '../keras/layer.js';

/** One array of a tfjs model, as its manifest describes it. */
export interface WeightSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** How its values are stored when not as `dtype`. */
  readonly quantization?: { readonly dtype: string; readonly scale: number; readonly min: number };
}

const BYTES: ReadonlyMap<string, number> = new Map([
  ['float32', 4],
  ['float16', 2],
  ['int32', 4],
  ['uint16', 2],
  ['uint8', 1],
  ['bool', 1],
  ['complex64', 8],
]);

/** @throws PcqatError `ERR_FORMAT` for an entry that is none */
export function parseSpecs(list: unknown, where: string): WeightSpec[] {
  return listOf(list).map((entry, i) => {
    const [name, shape, dtype] = [field(entry, 'name'), listOf(field(entry, 'shape')), field(entry, 'dtype')];
    const isShape = shape.every((dimension) => Number.isSafeInteger(dimension) && (dimension as number) >= 0);
    if (typeof name !== 'string' || typeof dtype !== 'string' || !isShape || elementCount(shape as number[]) > MAX_ELEMENTS) {
      throw new PcqatError('ERR_FORMAT', `weight ${i} has no valid name, shape or dtype`, { where });
    }
    const quantization = field(entry, 'quantization');
    return {
      name,
      shape: shape as number[],
      dtype,
      ...(isObject(quantization) ? { quantization: parseQuantization(quantization, name, where) } : {}),
    };
  });
}

function parseQuantization(quantization: unknown, name: string, where: string): NonNullable<WeightSpec['quantization']> {
  const [dtype, scale, min] = ['dtype', 'scale', 'min'].map((key) => field(quantization, key));
  if (dtype === 'float16') return { dtype, scale: 1, min: 0 };
  if ((dtype === 'uint8' || dtype === 'uint16') && typeof scale === 'number' && typeof min === 'number') return { dtype, scale, min };
  throw new PcqatError('ERR_FORMAT', `the quantization of '${name}' is not uint8 or uint16 with scale and min, nor float16`, { where });
}

/** @throws PcqatError `ERR_UNSUPPORTED` for elements that are no numbers of a fixed size */
export function byteLength({ name, shape, dtype, quantization }: WeightSpec, where: string): number {
  const bytes = BYTES.get(quantization?.dtype ?? dtype);
  if (bytes !== undefined) return elementCount(shape) * bytes;
  throw new PcqatError('ERR_UNSUPPORTED', `weight '${name}' has elements of type '${dtype.slice(0, 100)}'`, { where });
}

/** The array that a spec describes, in the bytes that are its own. Integer codes stand for code · scale + min. */
export function storedWeight(spec: WeightSpec, bytes: Uint8Array, where: string): StoredWeight {
  const { name, shape, dtype, quantization } = spec;
  const read = (): Float32Array => {
    if (dtype !== 'float32' && dtype !== 'float16') {
      throw new PcqatError('ERR_UNSUPPORTED', `weight '${name}' has elements of type '${dtype.slice(0, 100)}'`, { where });
    }
    // A copy, since the place in the file need not be aligned. (slice of a Buffer would be a view.)
    const { buffer } = new Uint8Array(bytes);
    const stored = quantization?.dtype ?? dtype;
    if (stored === 'float32') return new Float32Array(buffer);
    if (stored === 'float16') return halvesToFloats(new Uint8Array(buffer));
    const { scale = 1, min = 0 } = quantization ?? {};
    return Float32Array.from(stored === 'uint8' ? new Uint8Array(buffer) : new Uint16Array(buffer), (code) => code * scale + min);
  };
  return { shape, read };
}
