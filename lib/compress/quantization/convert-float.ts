import { PcqatError } from '../../errors.js';
import type { TfliteModel } from '../../formats/tflite/types.js';
import type { Model } from '../../graph/model.js';
import { validateGraph } from '../../graph/validate.js';
import { checkChain } from '../invariants.js';
import { emitModel } from './emit-model.js';
import { int8Layers } from './int8-layers.js';
import { TfliteProgram } from './tflite-program.js';

/** Options of {@link convertToFloat}. */
export interface ConvertFloatOptions {
  /** How weights and biases are stored: as they are, or in half the space, rounded to 11 significant bits. Default `'f32'`. */
  readonly weights?: 'f32' | 'f16';
  /** Description in the file. Default: the graph's name. */
  readonly name?: string;
}

/**
 * Converts a model to a float `.tflite` with a batch of 1: float32 in and out, all arithmetic in float32.
 *
 * Layers become the operators that {@link convertToInt8} makes of them: batch norm is folded, ReLU and ReLU6 are fused, dropout is
 * dropped. Weights are as the layers use them, masked, clustered and on the grid of their fake quantization; the fake quantization of
 * activations is left out. With `weights: 'f16'` every constant is followed by a `DEQUANTIZE`, as TensorFlow's converter writes it.
 *
 * @throws PcqatError `ERR_OPTION` for bad options; `ERR_NON_FINITE` for NaN or infinity in weights; `ERR_UNSUPPORTED` naming the tensor for a
 *   weight too large for float16; `ERR_GRAPH` when there is nothing to convert
 * @example
 * ```ts
 * import { convertToFloat, encodeTflite, zoo } from 'pcqat';
 * const model = zoo.lenet5();
 * console.log(encodeTflite(convertToFloat(model)).length, encodeTflite(convertToFloat(model, { weights: 'f16' })).length);
 * ```
 */
export function convertToFloat(model: Model, options: ConvertFloatOptions = {}): TfliteModel {
  const { weights = 'f32', name = model.graph.name } = options;
  if (weights !== 'f32' && weights !== 'f16') {
    throw new PcqatError('ERR_OPTION', `weights is '${String(weights)}' but must be 'f32' or 'f16'`, { where: 'weights' });
  }
  validateGraph(model.graph);
  for (const parameter of model.chains.keys()) checkChain(model, parameter);
  return emitModel(model, int8Layers(model.graph, new Map()), new Map(), new TfliteProgram(weights), name);
}
