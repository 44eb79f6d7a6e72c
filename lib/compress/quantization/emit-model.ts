import { PcqatError } from '../../errors.js';
import type { TfliteModel } from '../../formats/tflite/types.js';
import type { Model } from '../../graph/model.js';
import { inferShapes } from '../../graph/shapes.js';
import type { EmitContext } from './emit-context.js';
import { emitLayer } from './emit.js';
import type { Int8Layer } from './int8-layers.js';
import type { TfliteProgram, TfliteValue } from './tflite-program.js';

/**
 * Emits the layers of a model into an empty program.
 *
 * @param parameters - scale and zero point of outputs that have their own; none in a float program
 * @param name - description in the file
 * @throws PcqatError `ERR_GRAPH` when there is nothing to convert
 */
export function emitModel(
  model: Model,
  layers: readonly Int8Layer[],
  parameters: EmitContext['parameters'],
  program: TfliteProgram,
  name: string,
): TfliteModel {
  const [first, last] = [layers[0], layers.at(-1)];
  const outputName = last?.output ?? '';
  const context: EmitContext = { model, program, shapes: inferShapes(model.graph), parameters, output: outputName, images: new Map() };
  const values = new Map<string, TfliteValue>();
  for (const layer of layers) {
    const inputs = layer.inputs.map((input) => values.get(input)).filter((value) => value !== undefined);
    values.set(layer.output, emitLayer(context, layer, inputs));
  }
  const input = values.get(first?.output ?? '');
  const output = values.get(outputName);
  if (input === undefined || output === undefined || input === output) {
    throw new PcqatError('ERR_GRAPH', 'the graph has no operator to convert', { where: `graph '${model.graph.name}'` });
  }
  return program.model(name, input, toInterface(context, output));
}

/** The model's output has the rank that the graph gives it, also where operators work on images of height 1. */
function toInterface({ program, shapes, output }: EmitContext, value: TfliteValue): TfliteValue {
  const shape = shapes.get(output) ?? [];
  if (shape.length === value.shape.length) return value;
  program.rename(value, `${output}/image`);
  return program.reshape(output, value, shape);
}
