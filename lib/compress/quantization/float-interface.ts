import { PcqatError } from '../../errors.js';
import type { TfliteModel, TfliteTensor } from '../../formats/tflite/types.js';

/** Of QUANTIZE from float32. */
const FROM_FLOAT_VERSION = 1;

/**
 * The same integer model with float32 input and output: a QUANTIZE before it and a DEQUANTIZE behind it. The tensors between keep their
 * names; the new ones are called `<name>/float`.
 */
export function withFloatInterface(model: TfliteModel): TfliteModel {
  const [input, output] = [model.inputs[0] ?? -1, model.outputs[0] ?? -1];
  const float = ({ name, shape }: TfliteTensor): TfliteTensor => {
    return { name: `${name}/float`, shape, dtype: 'float32', scale: new Float32Array(), zeroPoint: new Int32Array(), axis: 0 };
  };
  const [first, last] = [model.tensors[input], model.tensors[output]];
  if (first === undefined || last === undefined) throw new PcqatError('ERR_INTERNAL', 'the model lacks its input or output');
  const [floatInput, floatOutput] = [model.tensors.length, model.tensors.length + 1];
  return {
    ...model,
    tensors: [...model.tensors, float(first), float(last)],
    operators: [
      { op: 'QUANTIZE', inputs: [floatInput], outputs: [input], options: {}, version: FROM_FLOAT_VERSION },
      ...model.operators,
      { op: 'DEQUANTIZE', inputs: [output], outputs: [floatOutput], options: {} },
    ],
    inputs: [floatInput],
    outputs: [floatOutput],
  };
}
