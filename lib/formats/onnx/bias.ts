import { floats, type ImportContext, refuse } from './context.js';
import { elementsOf } from './tensors.js';
import type { OnnxNode } from './types.js';
import type { Constant } from './values.js';

/** A bias that a layer has without knowing it yet: zeros, unless the addition turns out to be one per channel of ours. */
export interface ExpectedBias {
  /** The addition. */
  readonly reader: OnnxNode;
  values?: () => Float32Array;
}

export interface FoundBias {
  readonly bias?: () => Float32Array;
  readonly expected?: ExpectedBias;
}

/** `units` values from a constant that has as many, or one for all. */
export function spread(constant: Constant, units: number, factor = 1): () => Float32Array {
  return () => {
    const values = floats(constant);
    const all = values.length === units ? values : new Float32Array(units).fill(values[0] ?? 0);
    return factor === 1 ? all : all.map((value) => value * factor);
  };
}

/** Operators between a layer and the addition of its bias that leave every value what it is. */
const PASSING: ReadonlySet<string> = new Set(['Cast', 'Flatten', 'Identity', 'Reshape', 'Squeeze', 'Transpose', 'Unsqueeze']);
const FARTHEST = 8;

/** The bias of a layer: its own input, or one that the addition of a constant behind it will give. */
export function biasOf(context: ImportContext, node: OnnxNode, input: number, units: number, factor = 1): FoundBias {
  const own = context.optionalConstant(node, input, 'biases');
  if (own !== undefined) {
    const count = elementsOf(own.dims);
    if (count !== 1 && (count !== units || own.dims.at(-1) !== units)) {
      refuse(`its bias has the shape [${own.dims.join(', ')}]`, `Use ${units} values.`);
    }
    return { bias: spread(own, units, factor) };
  }
  let tensor = node.outputs[0] ?? '';
  let reader = context.onlyReader(tensor);
  for (let i = 0; i < FARTHEST && reader !== undefined && reader.domain === '' && PASSING.has(reader.op); i++) {
    tensor = reader.outputs[0] ?? '';
    reader = context.onlyReader(tensor);
  }
  if (reader?.op !== 'Add' || reader.domain !== '') return {};
  const other = reader.inputs[reader.inputs[0] === tensor ? 1 : 0];
  const constant = other === undefined ? undefined : context.values.get(other);
  if (constant?.kind !== 'constant' || ![1, units].includes(elementsOf(constant.dims))) return {};
  const expected: ExpectedBias = { reader };
  return { bias: () => expected.values?.() ?? new Float32Array(units), expected };
}
