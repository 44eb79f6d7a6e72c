import type { Model } from '../../graph/model.js';
import { PcqatError } from '../../errors.js';
import { atomicWrite } from '../atomic-write.js';
import type { TfliteModel } from '../tflite/types.js';
import type { OnnxLayout } from './graph-writer.js';
import { encodeFloat } from './write-float.js';
import { encodeQdq } from './write-qdq.js';

/** Options of {@link encodeOnnx} and {@link writeOnnx}. */
export interface OnnxOptions {
  /**
   * Order of the axes of an input or output that is an image or a sequence. `NHWC`, the default, is that of pcqat and of its `.tflite`
   * files (one Transpose at the start), `NCHW` that of ONNX. Inside, the file has its channels first in any case.
   */
  readonly layout?: OnnxLayout;
  /** Only for int8 models: `int8` takes and returns the codes, `float32`, the default, real numbers. */
  readonly io?: 'float32' | 'int8';
}

/**
 * The bytes of an ONNX file (opset 17, for ONNX Runtime 1.12 and later), with an open batch.
 *
 * - A {@link Model} becomes a float file: weights as its layers use them (masks and codebooks applied), batch norm as its own node, dropout
 *   left out. Fake quantization is not written: convert to int8 first.
 * - An int8 model, as {@link convertToInt8} makes and `.tflite` files hold, becomes a file with QuantizeLinear and DequantizeLinear
 *   around every operator (QDQ): int8 weights with their scales per channel, int32 biases, the same scales and zero points.
 *
 * Equal models give equal bytes.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` for an operator of an int8 model that cannot be written; `ERR_OPTION` for a bad option; `ERR_GRAPH`,
 *   `ERR_SHAPE` for a graph that is wrong; `ERR_NON_FINITE` for NaN or infinity in weights.
 * @example
 * ```ts
 * import { encodeOnnx, zoo } from 'pcqat';
 * const bytes = encodeOnnx(zoo.lenet5());
 * console.log(bytes.length);
 * ```
 */
export function encodeOnnx(model: Model | TfliteModel, options: OnnxOptions = {}): Uint8Array {
  const { layout = 'NHWC', io = 'float32' } = options;
  check('layout', layout, ['NHWC', 'NCHW']);
  check('io', io, ['float32', 'int8']);
  if ('operators' in model) return encodeQdq(model, layout, io);
  if (options.io === 'int8') {
    throw new PcqatError('ERR_OPTION', 'a float model has no int8 input', { where: 'io', remedy: 'Convert it with convertToInt8 first.' });
  }
  return encodeFloat(model, layout);
}

/**
 * Writes an ONNX file; see {@link encodeOnnx}. The file appears complete or not at all.
 *
 * @param model - the model, or a promise of it (so that `convertToInt8(…)` can be passed directly)
 * @param file - its path
 * @throws PcqatError `ERR_IO` when the file cannot be written; else as {@link encodeOnnx}.
 * @example
 * ```ts
 * import { importModel, writeOnnx, zoo } from 'pcqat';
 * await writeOnnx(zoo.lenet5(), 'lenet5.onnx');
 * const { model } = await importModel('lenet5.onnx');
 * console.log(model.graph.nodes.length);
 * ```
 */
export async function writeOnnx(
  model: Model | TfliteModel | Promise<Model | TfliteModel>,
  file: string,
  options: OnnxOptions = {},
): Promise<void> {
  await atomicWrite(file, encodeOnnx(await model, options));
}

function check(where: string, value: string, known: readonly string[]): void {
  if (!known.includes(value)) {
    throw new PcqatError('ERR_OPTION', `${where} is '${value}'`, { where, remedy: `Use '${known.join("' or '")}'.` });
  }
}
