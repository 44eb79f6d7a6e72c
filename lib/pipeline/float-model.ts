import { materializeWeight } from '../compress/materialize.js';
import { listParameters, type Model, type Tensor } from '../graph/model.js';

/**
 * The model without any technique, for formats that have none: weights as its layers use them, masked and shared, without the fake
 * quantization of weights and activations. Arrays that stay as they are, are shared with the source.
 */
export function floatModel(model: Model): Model {
  const tensors = new Map<string, Tensor>();
  for (const { name } of listParameters(model.graph)) {
    const tensor = model.tensors.get(name)!;
    tensors.set(name, model.chains.has(name) ? { shape: tensor.shape, data: materializeWeight(model, name) } : tensor);
  }
  return { graph: model.graph, tensors, chains: new Map(), quantizers: new Map() };
}
