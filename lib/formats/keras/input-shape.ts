import { PcqatError } from '../../errors.js';
import type { Shape } from '../../graph/types.js';
import type { ImportOptions } from '../import/types.js';
import type { KerasLayer } from './flatten.js';
import { field } from './json.js';

/** Layers whose output has the shape of their input. */
const KEEPS_SHAPE = new Set(['Rescaling', 'Normalization']);

/** Shape with the batch first, from wherever a file may have it. */
function declared(layer: KerasLayer, network: readonly KerasLayer[]): readonly unknown[] | undefined {
  for (let at: KerasLayer | undefined = layer; at !== undefined;) {
    const { key, className, config, inputs }: KerasLayer = at;
    const own = field(config, 'batch_shape') ?? field(config, 'batch_input_shape');
    // Where the model is cut, what the next layer was built for is what this one gives.
    const next = network.find((other) => other.inputs.length === 1 && other.inputs[0] === key)?.builtFor;
    const shape = className === 'InputLayer' ? own : next;
    if (Array.isArray(shape)) return shape as unknown[];
    at = KEEPS_SHAPE.has(className) ? network.find((other) => other.key === inputs[0]) : undefined;
  }
  return undefined;
}

/**
 * Shape of the model's input, without the batch: the declared one, with open dimensions from `options.inputShape`.
 *
 * @throws PcqatError `ERR_OPTION` when the option is needed, or does not fit
 */
export function inputShape(layer: KerasLayer, network: readonly KerasLayer[], options: ImportOptions, where: string): Shape {
  const place = `${where}, layer '${layer.key}'`;
  const dimensions = declared(layer, network)?.slice(1);
  const given = options.inputShape;
  const told = dimensions?.map((dimension) => (typeof dimension === 'number' ? dimension : '?')).join(', ');
  if (given === undefined) {
    if (dimensions?.every((dimension) => typeof dimension === 'number')) return dimensions;
    const message = told === undefined ? 'the file does not say the shape of the input' : `the file leaves the input shape open: [${told}]`;
    throw new PcqatError('ERR_OPTION', message, { where: place, remedy: 'Give the option inputShape, without the batch.' });
  }
  const fits =
    dimensions === undefined ||
    (dimensions.length === given.length && dimensions.every((dimension, i) => typeof dimension !== 'number' || dimension === given[i]));
  if (fits) return [...given];
  throw new PcqatError('ERR_OPTION', `inputShape [${given.join(', ')}] does not fit the file's [${told ?? ''}]`, { where: place });
}
