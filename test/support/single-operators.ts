import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { loadBinding } from '#lib/native.js';
import { expectClose, LITERT, TFLITE_29 } from './foreign-kernels.js';
import { runLiteRt } from './litert.js';
import { runTflite29 } from './tflite29.js';

/** A model of one operator of a model, with the activations that it reads as inputs and no tensors that it does not use. */
function singleOperator(model: TfliteModel, index: number): { single: TfliteModel; inputs: number[] } {
  const operator = model.operators[index]!;
  const used = [...new Set([...operator.inputs, ...operator.outputs])];
  const inputs = [...new Set(operator.inputs)].filter((input) => model.tensors[input]!.data === undefined);
  const renumber = (indices: readonly number[]): number[] => indices.map((each) => used.indexOf(each));
  const single = {
    ...model,
    tensors: used.map((each) => model.tensors[each]!),
    operators: [{ ...operator, inputs: renumber(operator.inputs), outputs: renumber(operator.outputs) }],
    inputs: renumber(inputs),
    outputs: renumber(operator.outputs),
  };
  return { single, inputs };
}

/** Every activation of the model for each row, by tensor index. */
async function activations(model: TfliteModel, x: Int8Array, rows: number): Promise<Map<number, Int8Array>> {
  const session = new (loadBinding().IntegerSession)(model, { keepValues: true, threads: 1 });
  const length = x.length / rows;
  const result = new Map<number, Int8Array>();
  for (let row = 0; row < rows; row++) {
    await session.run(x.subarray(row * length, (row + 1) * length));
    for (const index of [model.inputs[0]!, ...model.operators.flatMap(({ outputs }) => outputs)]) {
      const value = session.getValue(index) as Int8Array;
      if (!result.has(index)) result.set(index, new Int8Array(value.length * rows));
      result.get(index)!.set(value, row * value.length);
    }
  }
  session.dispose();
  return result;
}

/**
 * Runs each operator of the model alone, on the values that our executor gives it, in TFLite 2.9 and LiteRT, and checks that they give our
 * bytes. Returns our output.
 */
export async function expectOperatorsClose(model: TfliteModel, x: Int8Array, rows: number): Promise<Int8Array> {
  const values = await activations(model, x, rows);
  for (const [i, { outputs }] of model.operators.entries()) {
    const { single, inputs } = singleOperator(model, i);
    const file = encodeTflite(single);
    const [from, ...others] = inputs.map((input) => ({ data: values.get(input)!, shape: model.tensors[input]!.shape }));
    const to = values.get(outputs[0]!)!;
    expectClose(runTflite29(file, from!.data, others), to, single, TFLITE_29);
    expectClose(await runLiteRt(file, from!.shape, from!.data, others), to, single, LITERT);
  }
  return values.get(model.outputs[0]!)!;
}
