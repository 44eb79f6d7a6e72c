import { PcqatError } from '../../errors.js';
import { field, isObject, type JsonObject, listOf } from './json.js';

/** An output of a layer. */
export interface TensorRef {
  readonly layer: string;
  readonly tensor: number;
}

/** Why the way that a layer is used cannot be taken, and what would help. */
export interface Objection {
  readonly reason: string;
  readonly remedy: string;
}

/** One use of a layer. */
export interface LayerCall {
  readonly tensors: readonly TensorRef[];
  readonly objection?: Objection;
}

function asRef(value: unknown): TensorRef | undefined {
  if (!Array.isArray(value)) return undefined;
  const [layer, , tensor] = value as unknown[];
  return typeof layer === 'string' && typeof tensor === 'number' ? { layer, tensor } : undefined;
}

/** `["a", 0, 0]`, or a list or dictionary of such, as `input_layers` and `output_layers` are. */
export function tensorRefs(value: unknown): TensorRef[] {
  const one = asRef(value);
  if (one !== undefined) return [one];
  const list = isObject(value) ? Object.values(value) : listOf(value);
  return list.map(asRef).filter((ref) => ref !== undefined);
}

const FIXED = {
  reason: 'it works on a constant beside the values of layers',
  remedy: 'Use layers only, without arithmetic on their values.',
};
const TRAINING = {
  reason: 'it is called with training=True',
  remedy: 'Build the model without it; layers are told by fit whether they train.',
};
/** Arguments of a call that say nothing new at inference. */
const HARMLESS = new Set(['mask', 'training', 'name']);

/** The calls of a layer of a functional model: its `inbound_nodes`, in Keras 2's, tfjs' or Keras 3's form. */
export function callsOf(layer: JsonObject, where: string): LayerCall[] {
  const nodes = field(layer, 'inbound_nodes');
  return listOf(nodes).map((node) => (isObject(node) ? keras3Call(node, where) : keras2Call(node, where)));
}

/** `[["a", 0, 0, {}], ["b", 0, 0, {}]]`, or `["a", 0, 0, {}]`. */
function keras2Call(node: unknown, where: string): LayerCall {
  const list = asRef(node) === undefined ? listOf(node) : [node];
  const tensors = list.map((entry) => {
    const ref = asRef(entry);
    if (ref !== undefined) return ref;
    throw new PcqatError('ERR_FORMAT', 'an inbound node names no layer', { where });
  });
  return call(
    tensors,
    list.map((entry) => objectionTo(listOf(entry)[3])).find((found) => found !== undefined),
  );
}

function call(tensors: readonly TensorRef[], objection: Objection | undefined): LayerCall {
  return objection === undefined ? { tensors } : { tensors, objection };
}

function objectionTo(keywords: unknown): Objection | undefined {
  if (!isObject(keywords)) return undefined;
  if (field(keywords, 'training') === true) return TRAINING;
  return Object.entries(keywords).some(([key, value]) => !HARMLESS.has(key) && value !== null) ? FIXED : undefined;
}

/** `{ args: [tensors], kwargs: {} }`, where a tensor is an object with the `keras_history` `[layer, node, tensor]`. */
function keras3Call(node: JsonObject, where: string): LayerCall {
  const tensors: TensorRef[] = [];
  let fixed = false;
  for (const argument of listOf(field(node, 'args'))) {
    for (const value of Array.isArray(argument) ? (argument as unknown[]) : [argument]) {
      const history = field(field(value, 'config'), 'keras_history');
      const ref = asRef(history);
      if (field(value, 'class_name') === '__keras_tensor__' && ref === undefined) {
        throw new PcqatError('ERR_FORMAT', 'an inbound node names no layer', { where });
      }
      if (ref !== undefined) tensors.push(ref);
      else fixed ||= value !== null;
    }
  }
  return call(tensors, fixed ? FIXED : objectionTo(field(node, 'kwargs')));
}
