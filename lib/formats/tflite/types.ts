import type { IntegerOperatorSpec, IntegerTensorSpec } from '../../../binding.js';

export type TfliteTensor = IntegerTensorSpec;
export type TfliteOperator = IntegerOperatorSpec;

/** A .tflite file as plain data: what the reader returns, the writer takes and the integer executor runs. */
export interface TfliteModel {
  readonly description: string;
  readonly tensors: readonly TfliteTensor[];
  readonly operators: readonly TfliteOperator[];
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}
