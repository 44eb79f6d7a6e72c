import type { Dataset } from '../data/types.js';
import { PcqatError } from '../errors.js';
import type { Agreement, ExportCertificate } from '../formats/certificate/schema.js';
import type { TfliteModel, TfliteTensor } from '../formats/tflite/types.js';
import type { Model } from '../graph/model.js';
import { elementCount } from '../graph/shapes.js';
import { lower } from '../train/lower.js';
import { ModelSession } from '../train/model-session.js';
import { AgreementSum, checkedRows } from './agreement.js';
import { dequantize, type Int8Options, Int8Runner, quantize } from './int8.js';
import { compareLayers, type LayerDifference, openSimulation, requireSimulation } from './simulation.js';

/** How far the file agrees with two ways to run the model that was trained. Differences are in steps (scales) of the output. */
export type DeployedAgreement = Agreement & {
  /** The same with fake quantization as in training, in place of the kernels' rounding: what `evaluate` and `predict` run. */
  readonly fakeQuant: Agreement;
};

/** What {@link measureFidelity} returns. */
export type Fidelity = DeployedAgreement & {
  /** In the file's order, on the first rows of the data. */
  readonly layers: readonly LayerDifference[];
};

/** Rows that {@link measureFidelity} compares layer by layer. */
const LAYER_ROWS = 16;
/** Rows at a time. */
const CHUNK = 128;

/**
 * Compares the model that was trained with the exported file on the integer executor: their classes and outputs on every row of `data`, and
 * every quantized layer on its first 16 rows. The simulation is the training graph in f32, each quantizer rounding as the integer kernel, so
 * that it gives the file's codes unless folding, codes or scales are wrong; `fakeQuant` is the training graph as it is.
 *
 * @param model - with fake quantization
 * @param tflite - the model exported, from `readTflite` or `convertToInt8`
 * @throws PcqatError `ERR_OPTION` for a model without fake quantization; `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_NON_FINITE` for bad data;
 *   else as {@link Int8Runner}
 * @example
 * ```ts
 * import { calibrate, convertToInt8, measureFidelity, quantizeModel, zoo } from 'pcqat';
 * const x = Float32Array.from({ length: 4 * 784 }, (_, i) => Math.sin(i));
 * const data = { name: 'sine', size: 4, inputShape: [28, 28, 1], x, y: new Int32Array(4) };
 * const model = quantizeModel(zoo.lenet5());
 * await calibrate(model, data);
 * const { agreement, meanSteps, fakeQuant } = await measureFidelity(model, await convertToInt8(model), data);
 * console.log(agreement, meanSteps, fakeQuant.meanSteps < 1); // 1 0 true
 * ```
 */
export async function measureFidelity(model: Model, tflite: TfliteModel, data: Dataset, options: Int8Options = {}): Promise<Fidelity> {
  const total = await measureAgreement(model, tflite, data, options);
  const input = tflite.tensors[tflite.inputs[0] ?? -1] as TfliteTensor;
  const probe = quantize(data.x.subarray(0, Math.min(LAYER_ROWS, data.size) * elementCount(input.shape)), input);
  return { ...total, layers: (await compareLayers(model, tflite, probe as Int8Array, options)).layers };
}

/** The part of {@link measureFidelity} about the data as a whole. */
export async function measureAgreement(
  model: Model,
  tflite: TfliteModel,
  data: Dataset,
  options: Int8Options = {},
): Promise<DeployedAgreement> {
  const { threads, signal } = options;
  requireSimulation(model);
  const runner = new Int8Runner(tflite, options);
  const sessions: ModelSession[] = [];
  try {
    const { inputSize, input, outputSize, output } = runner;
    const rows = checkedRows(data, inputSize);
    const settings = { maxBatch: CHUNK, ...(threads === undefined ? {} : { threads }) };
    sessions.push(openSimulation(model, tflite, settings));
    sessions.push(new ModelSession(model, lower(model), settings));
    const [exact, fakeQuant] = [new AgreementSum(output, outputSize), new AgreementSum(output, outputSize)];
    for (let start = 0; start < rows; start += CHUNK) {
      signal?.throwIfAborted();
      const x = data.x.subarray(start * inputSize, Math.min(start + CHUNK, rows) * inputSize);
      const deployed = dequantize(await runner.runQuantized(quantize(x, input)), output);
      for (const [i, sum] of [exact, fakeQuant].entries()) sum.add(await sessions[i]!.forward(x), deployed);
    }
    return { ...exact.result(), fakeQuant: fakeQuant.result() };
  } finally {
    for (const session of sessions) session.dispose();
    runner.dispose();
  }
}

/**
 * The fidelity gate: simulation and exported file must give the same class for (nearly) every row, and outputs less than a step apart
 * in the mean. The error names the first layer where they differ by more than two steps; where there is none, the one that differs most.
 *
 * @param subject - what {@link measureFidelity} found, or a certificate, whose facts about the data are taken
 * @param limits.agreement - least fraction of rows with the same arg-max. Default 0.999.
 * @param limits.meanSteps - the mean absolute difference must be below this, in steps of the output. Default 1.
 * @throws PcqatError `ERR_INVARIANT` naming a layer; `ERR_OPTION` for a certificate without a simulation
 * @example
 * ```ts
 * import { assertFidelity } from 'pcqat';
 * assertFidelity({ rows: 1000, agreement: 0.9995, meanSteps: 0.1, maxSteps: 2, layers: [] });
 * ```
 */
export function assertFidelity(
  subject: Omit<Fidelity, 'fakeQuant'> | ExportCertificate,
  limits: { readonly agreement?: number; readonly meanSteps?: number } = {},
): void {
  const { agreement: least = 0.999, meanSteps: most = 1 } = limits;
  const { rows, agreement, meanSteps, layers }: Omit<Fidelity, 'fakeQuant'> = 'fidelity' in subject ? fidelityOf(subject) : subject;
  const problem =
    agreement < least
      ? `simulation and file agree in ${Math.round(agreement * rows)} of ${rows} rows, which is less than ${least} of them`
      : !(meanSteps < most)
        ? `simulation and file differ by ${meanSteps} steps of the output in the mean, which is not below ${most}`
        : undefined;
  if (problem === undefined) return;
  const largest = layers.reduce((found, { largestDifference }) => Math.max(found, largestDifference), 0);
  const culprit = layers.find(({ largestDifference }) => largestDifference > 2 || largestDifference === largest);
  const place = culprit === undefined ? '' : `; they first diverge at '${culprit.name}', by ${culprit.largestDifference} steps`;
  throw new PcqatError('ERR_INVARIANT', `${problem}${place}`, {
    ...(culprit === undefined ? {} : { where: `layer '${culprit.name}'` }),
    remedy: 'Export the file again from the model. What real values cannot show is listed in docs/certificate.md.',
  });
}

function fidelityOf({ fidelity: { simulation, simulationMissing }, layers }: ExportCertificate): Omit<Fidelity, 'fakeQuant'> {
  if (simulation === null) {
    throw new PcqatError('ERR_OPTION', `the certificate has no comparison with a simulation: ${simulationMissing ?? 'unknown'}`, {
      where: 'fidelity',
    });
  }
  return {
    ...simulation.data,
    layers: layers.map(({ name, largestDifference }) => ({ name, largestDifference: largestDifference ?? 0 })),
  };
}
