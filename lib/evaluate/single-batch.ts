import { PcqatError } from '../errors.js';
import type { TfliteModel, TfliteTensor } from '../formats/tflite/types.js';

/**
 * The input and output of a file that takes one row at a time.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` for more of them, or another batch
 */
export function requireSingleBatch({ tensors, inputs, outputs }: TfliteModel, where: string): readonly [TfliteTensor, TfliteTensor] {
  const [input, output] = [tensors[inputs[0] ?? -1], tensors[outputs[0] ?? -1]];
  if (input === undefined || output === undefined || inputs.length + outputs.length > 2) {
    throw new PcqatError('ERR_UNSUPPORTED', `it has ${inputs.length} inputs and ${outputs.length} outputs and not one of each`, { where });
  }
  for (const { name, shape } of [input, output]) {
    if (shape[0] === 1) continue;
    throw new PcqatError('ERR_UNSUPPORTED', `tensor '${name}' is [${shape.join(', ')}], which is no batch of 1`, {
      where,
      remedy: 'Convert the model with a batch of 1.',
    });
  }
  return [input, output];
}
