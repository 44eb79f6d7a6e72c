import { floats, type ImportContext, refuse } from './context.js';
import { elementsOf } from './tensors.js';
import type { OnnxNode } from './types.js';
import type { Constant } from './values.js';

export interface FoundBias {
  readonly bias?: () => Float32Array;
  /** The tensor that holds the sum. */
  readonly output: string;
}

/** `units` values from a constant that has as many, or one for all. */
export function spread(constant: Constant, units: number, factor = 1): () => Float32Array {
  return () => {
    const values = floats(constant);
    const all = values.length === units ? values : new Float32Array(units).fill(values[0] ?? 0);
    return factor === 1 ? all : all.map((value) => value * factor);
  };
}

/**
 * The bias of a layer: its own input, or the constant of the addition that alone reads its output (which is then done).
 *
 * @param channelsAt - axis of the channels from the end: 1 for `[batch, units]`, 3 for `[batch, channels, h, w]`
 */
export function biasOf(context: ImportContext, node: OnnxNode, input: number, units: number, factor = 1, channelsAt?: number): FoundBias {
  const output = node.outputs[0] ?? '';
  const own = context.optionalConstant(node, input, 'biases');
  if (own !== undefined) {
    const count = elementsOf(own.dims);
    if (count !== 1 && (count !== units || own.dims.at(-1) !== units)) {
      refuse(`its bias has the shape [${own.dims.join(', ')}]`, `Use ${units} values.`);
    }
    return { bias: spread(own, units, factor), output };
  }
  const reader = context.onlyReader(output);
  if (reader?.op !== 'Add' || reader.domain !== '') return { output };
  const other = reader.inputs[reader.inputs[0] === output ? 1 : 0];
  const constant = other === undefined ? undefined : context.values.get(other);
  if (constant?.kind !== 'constant' || constant.quantization !== undefined) return { output };
  const place = channelsAt ?? rankBehind(node, context);
  const isPerChannel = elementsOf(constant.dims) === units && constant.dims.at(-place) === units && constant.dims.length <= place + 1;
  if (!isPerChannel && elementsOf(constant.dims) !== 1) return { output };
  context.done.add(reader);
  return { bias: spread(constant, units), output: reader.outputs[0] ?? '' };
}

/** Convolutions have their channels before the spatial axes. */
function rankBehind(node: OnnxNode, context: ImportContext): number {
  const weights = context.value(node, 1);
  return weights?.kind === 'constant' ? weights.dims.length - 1 : 1;
}
