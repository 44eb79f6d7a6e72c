import type { ActivationNode } from '../../graph/types.js';
import { type EmitContext, fused, innerShape, outputOf, parametersOf, sameParameters } from './emit-context.js';
import type { Int8Layer } from './int8-layers.js';
import { type ActivationParameters, TANH_PARAMETERS, UNIT_PARAMETERS } from './parameters.js';
import type { TfliteValue } from './tflite-program.js';

/** From this ratio of input · input to output scales on, MUL has another version. */
const LARGE_MULTIPLIER = 1;

export function emitAdd(context: EmitContext, layer: Int8Layer, inputs: readonly TfliteValue[]): TfliteValue {
  return context.program.operator('ADD', tensorsOf(inputs), outputOf(context, layer), fused(layer));
}

export function emitMultiply(context: EmitContext, layer: Int8Layer, inputs: readonly TfliteValue[]): TfliteValue {
  const output = outputOf(context, layer);
  const ratio = inputs.reduce((product, { scale }) => Math.fround(product * scale), 1) / output.scale;
  const version = ratio >= LARGE_MULTIPLIER ? 3 : 2;
  return context.program.operator('MUL', tensorsOf(inputs), output, fused(layer), version);
}

/** All sides of a concatenation have one scale and zero point: inputs that could not take the output's are requantized. */
export function emitConcat(context: EmitContext, layer: Int8Layer, inputs: readonly TfliteValue[]): TfliteValue {
  const { program } = context;
  const parameters = parametersOf(context, layer);
  const requantized = new Map<number, TfliteValue>();
  const parts = inputs.map((input) => {
    if (sameParameters(input, parameters)) return input;
    const name = `${layer.output}/input${requantized.size + 1}`;
    const part =
      requantized.get(input.tensor) ?? program.operator('QUANTIZE', [input.tensor], program.activation(name, input.shape, parameters));
    requantized.set(input.tensor, part);
    return part;
  });
  const output = outputOf(context, layer);
  return program.operator('CONCATENATION', tensorsOf(parts), output, { axis: output.shape.length, fusedActivationFunction: 'NONE' });
}

export function emitActivation(context: EmitContext, layer: Int8Layer, node: ActivationNode, input: TfliteValue): TfliteValue {
  const { program } = context;
  const emit = (op: string, parameters: ActivationParameters): TfliteValue =>
    program.operator(op, [input.tensor], program.activation(layer.output, innerShape(context, layer), parameters));
  switch (node.op) {
    case 'relu':
      return emit('RELU', parametersOf(context, layer));
    case 'relu6':
      return emit('RELU6', parametersOf(context, layer));
    case 'sigmoid':
      return emit('LOGISTIC', UNIT_PARAMETERS);
    case 'tanh':
      return emit('TANH', TANH_PARAMETERS);
    case 'hardSwish':
      return emit('HARD_SWISH', hardSwishParameters(input, parametersOf(context, layer)));
  }
}

/**
 * TFLite's HARD_SWISH cannot make its scale more than 128 times finer than its input's, which only a range that is almost 0 asks for (all
 * inputs below −3).
 */
function hardSwishParameters(input: TfliteValue, { scale, zeroPoint }: ActivationParameters): ActivationParameters {
  return { scale: Math.max(scale, Math.fround(input.scale / 127)), zeroPoint };
}

function tensorsOf(values: readonly TfliteValue[]): number[] {
  return values.map(({ tensor }) => tensor);
}
