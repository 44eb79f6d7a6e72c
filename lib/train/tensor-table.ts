import type { TensorId, TensorSpec } from '../../binding.js';
import { PcqatError } from '../errors.js';
import type { Model, Tensor } from '../graph/model.js';
import { elementCount, sameShape } from '../graph/shapes.js';
import type { Shape } from '../graph/types.js';

type Dtype = TensorSpec['dtype'];

export function dtypeOf(data: Tensor['data']): Dtype {
  if (data instanceof Float32Array) return 'f32';
  return data instanceof Uint8Array ? 'u8' : 'i32';
}

/** What a program expects of a tensor. */
export interface TensorUse {
  readonly shape: Shape;
  readonly dtype?: Dtype;
  readonly trainable?: boolean;
  readonly weightDecay?: boolean;
  readonly minimum?: number | undefined;
}

/** The tensors of a program, collected while nodes and chains name them; each is checked against the model once. */
export class TensorTable {
  readonly specs: TensorSpec[] = [];
  readonly ids = new Map<string, TensorId>();
  readonly #model: Model;

  constructor(model: Model) {
    this.#model = model;
  }

  /**
   * Id of the tensor `name`, added at its first use.
   *
   * @throws PcqatError `ERR_GRAPH` if the model lacks it, `ERR_SHAPE` or `ERR_DTYPE` if it is not what the program needs.
   */
  id(name: string, use: TensorUse): TensorId {
    const known = this.ids.get(name);
    if (known !== undefined) return known;
    const { shape, dtype = 'f32', trainable = false, weightDecay = false, minimum } = use;
    const tensor = this.#model.tensors.get(name);
    const where = `tensor '${name}'`;
    if (tensor === undefined) {
      throw new PcqatError('ERR_GRAPH', 'the model lacks this tensor', {
        where,
        remedy: 'Create models with createModel, a compression function or loadModel.',
      });
    }
    if (!sameShape(tensor.shape, shape) || tensor.data.length !== elementCount(shape)) {
      throw new PcqatError(
        'ERR_SHAPE',
        `its shape is [${tensor.shape.join(', ')}] with ${tensor.data.length} values but must be [${shape.join(', ')}]`,
        { where },
      );
    }
    if (dtypeOf(tensor.data) !== dtype) throw new PcqatError('ERR_DTYPE', `it is ${dtypeOf(tensor.data)} but must be ${dtype}`, { where });
    const id = this.specs.length;
    // The core's windows are two-dimensional: the kernel of a 1-D convolution, and its mask and indices, have height 1.
    const programShape = shape.length === 3 ? [1, ...shape] : shape;
    this.specs.push({ name, shape: programShape, dtype, trainable, weightDecay, ...(minimum === undefined ? {} : { minimum }) });
    this.ids.set(name, id);
    return id;
  }

  /** Shape of a tensor whose size the graph does not fix, such as a codebook. */
  shapeOf(name: string): Shape {
    return this.#model.tensors.get(name)?.shape ?? [];
  }
}
