import type { IntegerOperatorSpec, IntegerTensorSpec } from '../../../binding.js';

/** A tensor of a .tflite file. `data` is a view into the file's bytes when it was read from one. */
export interface TfliteTensor extends IntegerTensorSpec {
  /** Shape with −1 for dimensions that may change (the batch); absent when the file does not say. */
  readonly shapeSignature?: readonly number[];
}

/** An operator of a .tflite file. */
export interface TfliteOperator extends IntegerOperatorSpec {
  /** Version of the operator in the file. Default when writing: the one 8-bit tensors need. */
  readonly version?: number;
}

/** A .tflite file as plain data: what the reader returns, the writer takes and the integer executor runs. */
export interface TfliteModel {
  readonly description: string;
  readonly tensors: readonly TfliteTensor[];
  readonly operators: readonly TfliteOperator[];
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}
