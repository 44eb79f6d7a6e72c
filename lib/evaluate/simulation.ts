import { PcqatError } from '../errors.js';
import type { TfliteModel, TfliteTensor } from '../formats/tflite/types.js';
import type { Model } from '../graph/model.js';
import { elementCount } from '../graph/shapes.js';
import { loadBinding } from '../native.js';
import { lower } from '../train/lower.js';
import { ModelSession, type ModelSessionOptions } from '../train/model-session.js';
import { AgreementSum } from './agreement.js';
import { deployedRounding } from './deployed.js';
import { dequantize, type Int8Options } from './int8.js';

/**
 * The simulation of a file: the training graph in f32, every value rounded as the file's integer kernel does it. What then differs between
 * the two is a defect of the file, or arithmetic that real values cannot show (docs/certificate.md).
 */
export function openSimulation(model: Model, tflite: TfliteModel, options: ModelSessionOptions): ModelSession {
  return new ModelSession(model, lower(model, { requantize: deployedRounding(model, tflite) }), options);
}

/** How far simulation and executor are apart at one layer, on the same inputs of the model. */
export interface LayerDifference {
  /** Name of the tensor in the file: of the last node that the layer absorbed, e.g. its ReLU. */
  readonly name: string;
  /** Largest absolute difference, in steps (scales) of the tensor. */
  readonly largestDifference: number;
}

/** @throws PcqatError `ERR_OPTION` for a model that simulates nothing */
export function requireSimulation(model: Model): void {
  if (model.quantizers.size > 0) return;
  throw new PcqatError('ERR_OPTION', 'the model has no fake quantization, so there is nothing that simulates its file', {
    where: `model '${model.graph.name}'`,
    remedy: 'Quantize it with quantizeModel and train it first.',
  });
}

/**
 * Runs the simulation of a file and the file itself on the same numbers: a few rows of the file's int8 input.
 *
 * @returns the simulation's outputs, and the difference of every fake-quantized node and the tensor that has its name
 */
export async function compareLayers(
  model: Model,
  tflite: TfliteModel,
  input: Int8Array,
  { threads }: Int8Options = {},
): Promise<{ readonly outputs: Float32Array; readonly layers: readonly LayerDifference[] }> {
  const inputTensor = tflite.tensors[tflite.inputs[0] ?? -1] as TfliteTensor;
  const size = elementCount(inputTensor.shape);
  const rows = input.length / size;
  const settings = { keepValues: true, ...(threads === undefined ? {} : { threads }) };
  const simulation = openSimulation(model, tflite, { ...settings, maxBatch: rows });
  try {
    const outputs = await simulation.forward(dequantize(input, inputTensor));
    const values = new Map<string, Float32Array>();
    for (const node of model.quantizers.keys()) {
      const value = simulation.value(node);
      if (value !== undefined) values.set(node, value);
    }
    const tensors = tflite.operators.flatMap((operator) => operator.outputs).filter((index) => values.has(nameOf(tflite, index)));
    const kept = await keptValues(tflite, input, tensors, { ...(threads === undefined ? {} : { threads }) });
    const layers = tensors.map((index, i) => {
      const tensor = tflite.tensors[index] as TfliteTensor;
      const [one, other] = [values.get(tensor.name)!, dequantize(kept[i]!, tensor)];
      const { maxSteps } = new AgreementSum(tensor, one.length / rows).add(one, other).result();
      return { name: tensor.name, largestDifference: maxSteps };
    });
    return { outputs, layers };
  } finally {
    simulation.dispose();
  }
}

const nameOf = ({ tensors }: TfliteModel, index: number): string => tensors[index]?.name ?? '';

type TensorValues = Int8Array | Uint8Array | Float32Array;

/** What some tensors hold for each row of the input. The executor keeps one row. */
export async function keptValues(
  tflite: TfliteModel,
  input: TensorValues,
  tensors: readonly number[],
  { threads }: Int8Options = {},
): Promise<TensorValues[]> {
  const { IntegerSession } = loadBinding();
  const session = new IntegerSession(tflite, { keepValues: true, ...(threads === undefined ? {} : { threads }) });
  const size = elementCount(tflite.tensors[tflite.inputs[0] ?? -1]?.shape ?? []);
  const rows = input.length / size;
  const result = new Map<number, TensorValues>();
  try {
    for (let row = 0; row < rows; row++) {
      await session.run(input.subarray(row * size, (row + 1) * size));
      for (const index of tensors) {
        const value = session.getValue(index) as TensorValues;
        const all = result.get(index) ?? new (value.constructor as new (length: number) => TensorValues)(rows * value.length);
        all.set(value, row * value.length);
        result.set(index, all);
      }
    }
  } finally {
    session.dispose();
  }
  return tensors.map((index) => result.get(index) ?? new Int8Array());
}
