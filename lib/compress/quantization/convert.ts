import type { Dataset } from '../../data/types.js';
import { PcqatError } from '../../errors.js';
import type { TfliteModel } from '../../formats/tflite/types.js';
import type { Model } from '../../graph/model.js';
import { validateGraph } from '../../graph/validate.js';
import { checkChain } from '../invariants.js';
import { emitModel } from './emit-model.js';
import { withFloatInterface } from './float-interface.js';
import { int8Layers } from './int8-layers.js';
import { activationRanges } from './ranges.js';
import { TfliteProgram } from './tflite-program.js';

/** Options of {@link convertToInt8}. */
export interface ConvertOptions {
  /** Typical inputs. Needed for layers without trained activation ranges (post-training quantization). */
  readonly representativeData?: Dataset;
  /** How many of them to look at, from the first. Default 500. */
  readonly samples?: number;
  /**
   * Element type of the file's input and output. With `'float'` a `QUANTIZE` and a `DEQUANTIZE` stand around the same int8 operators, so
   * that applications pass real numbers. Default `'int8'`.
   */
  readonly inputOutput?: 'int8' | 'float';
  /** Description in the file. Default: the graph's name. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}

/**
 * Converts a model to full-integer int8 (int8 in and out, unless `inputOutput` is `'float'`), as the reference's converter does (spec 5.1).
 *
 * - Weights: int8, symmetric, one scale per output channel (dense: one scale). A fake-quantized weight keeps its codes through batch-norm
 *   folding, so zeros and codebooks survive; other weights are quantized by their content.
 * - Activations: int8, asymmetric, with the trained range of their fake quantization. Layers without one (all layers of a float,
 *   pruned or clustered model) take the smallest and largest value seen on `representativeData`: post-training quantization.
 * - Biases: int32. Softmax and sigmoid: 1/256, −128; tanh: 1/128, 0. Values that a concat reads take its scale or are requantized.
 * - Sequences `[length, channels]` become images of height 1; only the model's input and output keep their rank.
 * - ReLU, ReLU6 and batch norm are fused, dropout is dropped. A dense layer with batch norm becomes a 1×1 convolution, because
 *   only that has a scale per channel in old runtimes; a batch norm that stands alone becomes a depthwise convolution.
 *
 * Quantizers of a {@link QuantizeConfig} come out with the scale and zero point of their ranges: symmetric, narrow weights of 2 to 8 bits;
 * outputs of 8 bits, or of fewer where a ReLU bounds them.
 *
 * Clustered and masked weights are computed from the model's present state, last update included.
 *
 * @throws PcqatError `ERR_OPTION` without `representativeData` when a layer has no trained range, or for a bad `samples`; `ERR_NON_FINITE`
 * for NaN or infinity in weights, ranges or data; `ERR_UNSUPPORTED` naming the layer for a quantizer that int8 cannot express; `ERR_INVARIANT` naming the layer when zeros or codebooks would not survive; `ERR_GRAPH` when
 * there is nothing to convert; errors of {@link calibrate} for bad data.
 * @example
 * ```ts
 * import { convertToInt8, createModel, encodeTflite, GraphBuilder } from 'pcqat';
 * const builder = new GraphBuilder('tiny');
 * const logits = builder.dense(builder.input([4]), { units: 2 });
 * const model = createModel(builder.build(logits), { seed: 1 });
 * const x = Float32Array.from({ length: 32 }, (_, i) => Math.sin(i));
 * const representativeData = { name: 'sine', size: 8, inputShape: [4], x, y: new Int32Array(8) };
 * const tflite = await convertToInt8(model, { representativeData });
 * console.log(encodeTflite(tflite).length);
 * ```
 */
export async function convertToInt8(model: Model, options: ConvertOptions = {}): Promise<TfliteModel> {
  const { samples = 500, name = model.graph.name, inputOutput = 'int8', representativeData, signal } = options;
  if (!Number.isInteger(samples) || samples < 1) {
    throw new PcqatError('ERR_OPTION', `samples is ${samples} but must be an integer of at least 1`, { where: 'samples' });
  }
  if (inputOutput !== 'int8' && inputOutput !== 'float') {
    throw new PcqatError('ERR_OPTION', `inputOutput is '${String(inputOutput)}' but must be 'int8' or 'float'`, { where: 'inputOutput' });
  }
  validateGraph(model.graph);
  for (const parameter of model.chains.keys()) checkChain(model, parameter);
  const layers = int8Layers(model.graph, model.quantizers);
  const parameters = await activationRanges(model, layers, {
    samples,
    ...(representativeData === undefined ? {} : { representativeData }),
    ...(signal === undefined ? {} : { signal }),
  });
  const converted = emitModel(model, layers, parameters, new TfliteProgram(), name);
  return inputOutput === 'float' ? withFloatInterface(converted) : converted;
}
