import { listParameters, type Model, type Tensor } from '../../graph/model.js';
import { usedWeight } from './fold-float.js';

/**
 * A float model with the weights that the layers use: masked, clustered and on the grid of their fake quantization. Chains, codebooks and the
 * fake quantization of activations go. For formats that hold float models only (ONNX, tfjs, float `.tflite`), where the weights then have the
 * zeros and shared values of the int8 file.
 *
 * @returns a new model, without optimizer state
 * @throws PcqatError `ERR_NON_FINITE` for NaN or infinity in weights; `ERR_INVARIANT` when chain state is missing
 * @example
 * ```ts
 * import { quantizeModel, stripQuantization, zoo } from 'pcqat';
 * const float = stripQuantization(quantizeModel(zoo.lenet5()));
 * console.log(float.quantizers.size, float.chains.size); // 0 0
 * ```
 */
export function stripQuantization(model: Model): Model {
  const tensors = new Map<string, Tensor>();
  for (const { name, shape } of listParameters(model.graph)) {
    tensors.set(name, { shape, data: usedWeight(model, name) });
  }
  return { graph: model.graph, tensors, chains: new Map(), quantizers: new Map() };
}
