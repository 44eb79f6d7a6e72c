import { PcqatError } from '../errors.js';
import type { Model, Tensor } from './model.js';
import { Random } from './random.js';
import { elementCount, MAX_ELEMENTS, parameterShapes } from './shapes.js';
import type { Graph, Shape } from './types.js';
import { validateGraph } from './validate.js';

/** Options of {@link createModel}. */
export interface CreateModelOptions {
  /** Seed of the kernels, a safe integer. Default 0. */
  readonly seed?: number;
}

/** Glorot & Bengio 2010, uniform, with Keras' fans: receptive field × the last two axes. */
function glorotUniform(shape: Shape, random: Random): Float32Array {
  const receptive = elementCount(shape.slice(0, -2));
  const fans = receptive * ((shape.at(-2) ?? 1) + (shape.at(-1) ?? 1));
  const limit = Math.sqrt(6 / fans);
  return Float32Array.from({ length: elementCount(shape) }, () => (2 * random.uniform() - 1) * limit);
}

function initialValue(parameter: string, shape: Shape, random: () => Random): Float32Array {
  if (parameter === 'kernel') return glorotUniform(shape, random());
  const ones = parameter === 'gamma' || parameter === 'moving_variance';
  return new Float32Array(elementCount(shape)).fill(ones ? 1 : 0);
}

/**
 * A model with freshly initialised parameters, as Keras does: Glorot uniform kernels, zero biases, batch normalization 1/0/0/1.
 * Each kernel's values depend on the seed and its own name only.
 *
 * @throws PcqatError `ERR_OPTION` for a bad seed; what {@link validateGraph} throws.
 *
 * @example
 * ```ts
 * import { createModel, countParameters, GraphBuilder } from 'pcqat';
 * const g = new GraphBuilder('net');
 * const model = createModel(g.build(g.dense(g.input([4]), { units: 3 })), { seed: 7 });
 * console.log(countParameters(model)); // 15
 * ```
 */
export function createModel(graph: Graph, options: CreateModelOptions = {}): Model {
  const { seed = 0 } = options;
  if (!Number.isSafeInteger(seed)) throw new PcqatError('ERR_OPTION', `seed is ${String(seed)} but must be an integer`, { where: 'seed' });
  const shapes = validateGraph(graph);
  const tensors = new Map<string, Tensor>();
  for (const node of graph.nodes) {
    const input = shapes.get(node.inputs[0] ?? '') ?? [];
    for (const [parameter, shape] of parameterShapes(node, input)) {
      const name = `${node.name}/${parameter}`;
      if (elementCount(shape) > MAX_ELEMENTS) {
        throw new PcqatError('ERR_SHAPE', `parameter ${name} has more than ${MAX_ELEMENTS} elements`, { where: `layer '${node.name}'` });
      }
      tensors.set(name, { shape, data: initialValue(parameter, shape, () => new Random(seed, name)) });
    }
  }
  return { graph, tensors, chains: new Map(), quantizers: new Map() };
}
