import { deployedRounding } from '#lib/evaluate/deployed.js';
import { dequantize, quantize } from '#lib/evaluate/int8.js';
import type { TfliteModel, TfliteTensor } from '#lib/formats/tflite/types.js';
import type { Model } from '#lib/graph/model.js';
import { elementCount } from '#lib/graph/shapes.js';
import { loadBinding } from '#lib/native.js';
import { argmax } from '#lib/train/metrics.js';
import { lower } from '#lib/train/lower.js';
import { ModelSession } from '#lib/train/model-session.js';

/** How a simulation and the executor compare, by tensor that the two have in common, in the file's order. */
export interface Compared {
  /** Values that are another code. */
  readonly differing: ReadonlyMap<string, number>;
  /** Distinct codes that the executor had there: a layer that always says the same would agree with anything. */
  readonly codes: ReadonlyMap<string, number>;
  readonly values: number;
  readonly total: number;
  /** Rows with the same arg-max. */
  readonly sameClass: number;
  /** Distinct classes that the file gives. */
  readonly classes: number;
  readonly outputs: Float32Array;
}

/** Both run on the int8 input that the rows of `x` give. `exact`: with the kernels' rounding; else plain fake quantization. */
export async function compareValues(model: Model, file: TfliteModel, x: Float32Array, exact: boolean, threads = 1): Promise<Compared> {
  const input = file.tensors[file.inputs[0]!]!;
  const output = file.tensors[file.outputs[0]!]!;
  const [width, given] = [elementCount(input.shape), quantize(x, input) as Int8Array];
  const rows = x.length / width;
  const lowered = lower(model, exact ? { requantize: deployedRounding(model, file) } : {});
  const simulation = new ModelSession(model, lowered, { maxBatch: rows, keepValues: true, threads });
  const executor = new (loadBinding().IntegerSession)(file, { keepValues: true, threads: 1 });
  try {
    const outputs = await simulation.forward(dequantize(given, input));
    const common = file.tensors.flatMap((tensor, index) => {
      const value = tensor.data === undefined && lowered.values.has(tensor.name) ? simulation.value(tensor.name) : undefined;
      return value === undefined ? [] : [{ tensor, index, value }];
    });
    const differing = new Map(common.map(({ tensor }) => [tensor.name, 0]));
    const codesSeen = new Map(common.map(({ tensor }) => [tensor.name, new Set<number>()]));
    const classes = new Set<number>();
    let sameClass = 0;
    for (let row = 0; row < rows; row++) {
      const deployed = dequantize(await executor.run(given.subarray(row * width, (row + 1) * width)), output);
      classes.add(argmax(deployed));
      if (argmax(deployed) === argmax(rowOf(outputs, row, rows))) sameClass++;
      for (const { tensor, index, value } of common) {
        const kept = executor.getValue(index) as Int8Array;
        kept.forEach((code) => codesSeen.get(tensor.name)!.add(code));
        const found = dequantize(kept, tensor);
        differing.set(tensor.name, differing.get(tensor.name)! + countDiffering(rowOf(value, row, rows), found, tensor));
      }
    }
    const values = common.reduce((sum, { value }) => sum + value.length, 0);
    const total = [...differing.values()].reduce((a, b) => a + b, 0);
    const codes = new Map([...codesSeen].map(([name, { size }]) => [name, size]));
    return { differing, codes, values, total, sameClass, classes: classes.size, outputs };
  } finally {
    simulation.dispose();
    executor.dispose();
  }
}

function rowOf(values: Float32Array, row: number, rows: number): Float32Array {
  const width = values.length / rows;
  return values.subarray(row * width, (row + 1) * width);
}

function countDiffering(one: Float32Array, other: Float32Array, { scale }: TfliteTensor): number {
  return one.reduce((count, value, i) => count + (Math.abs(value - other[i]!) < scale[0]! / 2 ? 0 : 1), 0);
}
