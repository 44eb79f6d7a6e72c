import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { stripClustering } from '../compress/clustering/strip.js';
import { materializeWeight } from '../compress/materialize.js';
import { convertToInt8 } from '../compress/quantization/convert.js';
import { projectCodebooks } from '../compress/quantization/project.js';
import { kernelOf, weightedNodes } from '../compress/registry.js';
import { stripPruning } from '../compress/sparsity/strip.js';
import type { Dataset, DatasetSplits } from '../data/types.js';
import { certifyExport } from '../evaluate/certify.js';
import { assertFidelity } from '../evaluate/fidelity.js';
import { evaluate } from '../evaluate/evaluate.js';
import { evaluateInt8 } from '../evaluate/int8.js';
import { certificatePath, writeCertificate } from '../formats/certificate/file.js';
import { saveModel } from '../formats/pcqat/save.js';
import { inspectTflite, type TfliteLayerSummary } from '../formats/tflite/inspect.js';
import { readTflite } from '../formats/tflite/read.js';
import { writeTflite } from '../formats/tflite/write.js';
import type { Model } from '../graph/model.js';
import { histogram, magnitude } from '../report/histogram.js';
import type { ColumnReport, EpochReport, ExportReport, LayerReport } from '../report/types.js';
import type { ExportFormat } from './export-formats.js';
import { type ExportJob, writeExports } from './exports.js';
import type { Plan, PlannedColumn } from './pieces.js';
import { floatModel } from './float-model.js';
import { checkColumn } from './gate.js';
import type { LayerTargets } from './stages.js';

/** What finishing a column needs besides its model. */
export interface FinishContext {
  readonly out: string;
  readonly plan: Plan;
  readonly data: DatasetSplits;
  /** Sets the ranges of columns that were not trained with fake quantization. */
  readonly calibration: Dataset;
  readonly targets: LayerTargets;
  readonly saveModels: boolean;
  /** Beside the int8 .tflite. */
  readonly formats: readonly ExportFormat[];
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

const FILES = { baseline: 'baseline', pruned: 'pruned', qat: 'qat', prunedClustered: 'pruned-clustered', pcqat: 'pcqat' } as const;

/** Name of a column's exported file. */
export const columnFile = (column: PlannedColumn['name']): string => `${FILES[column]}.tflite`;

/** SHA-256 of a file's bytes, in hex. */
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function layerReports(model: Model, before: Model, layers: readonly TfliteLayerSummary[]): LayerReport[] {
  return weightedNodes(model).flatMap((node) => {
    const parameter = kernelOf(node);
    const inFile = layers.find(({ name }) => name === node.name);
    const stored = before.tensors.get(parameter)?.data;
    if (inFile === undefined || !(stored instanceof Float32Array)) return [];
    const used = materializeWeight(model, parameter);
    const limit = Math.max(magnitude(stored), magnitude(used));
    const { weights, zeros, codes } = inFile;
    return [{ name: node.name, weights, zeros, codes, before: histogram(stored, limit), after: histogram(used, limit) }];
  });
}

/** Writes the other formats; names are relative to the output folder. */
async function exportReports({ formats, out }: FinishContext, job: ExportJob): Promise<ExportReport[]> {
  const reports: ExportReport[] = [];
  for (const [format, paths] of Object.entries(await writeExports(formats, job))) {
    for (const path of paths) {
      const bytes = await readFile(path);
      reports.push({ format, file: relative(out, path), sha256: sha256(bytes), bytes: bytes.length });
    }
  }
  return reports;
}

/**
 * Exports a trained column, reads the file back, proves what it promises, certifies and measures it.
 *
 * @param before - the model after the first stage, for the histograms
 * @throws PcqatError `ERR_INVARIANT` where zeros or codes were lost
 */
export async function finishColumn(
  column: PlannedColumn,
  trained: Model,
  before: Model,
  history: readonly EpochReport[],
  context: FinishContext,
): Promise<ColumnReport> {
  const { out, data, signal, threads, plan } = context;
  const file = columnFile(column.name);
  const path = join(out, file);
  const model = projectCodebooks(stripClustering(stripPruning(trained)), { onNotice: () => undefined });
  const running = { ...(signal === undefined ? {} : { signal }), ...(threads === undefined ? {} : { threads }) };
  const quantized = model.quantizers.size > 0;
  const { accuracy } = await evaluate(model, data.test, running);
  await writeTflite(
    await convertToInt8(model, {
      representativeData: context.calibration,
      samples: context.calibration.size,
      ...(signal === undefined ? {} : { signal }),
    }),
    path,
  );
  const bytes = await readFile(path);
  const summary = inspectTflite(bytes, path);
  const pruned = column.stages.some(({ stage }) => stage === 'prune');
  checkColumn(column.name, model, summary.layers, context.targets, pruned);
  const tflite = readTflite(bytes, path);
  const int8 = await evaluateInt8(tflite, data.test, running);
  const certificate = await certifyExport(model, bytes, { data: data.test, before: trained, ...running });
  await writeCertificate(certificate, certificatePath(path));
  // A test part of a few hundred examples cannot show 99.9 %: one of them may always differ.
  if (certificate.fidelity.simulation !== null) assertFidelity(certificate, { agreement: Math.min(0.999, 1 - 1 / data.test.size) });
  if (context.saveModels) await saveModel(trained, join(out, FILES[column.name]));
  const exports = await exportReports(context, { model, float: floatModel(model), tflite, bytes, stem: join(out, FILES[column.name]) });
  const layers = layerReports(model, before, summary.layers);
  const { simulation } = certificate.fidelity;
  const weights = layers.reduce((sum, layer) => sum + layer.weights, 0);
  return {
    title: column.title,
    accuracy,
    accuracyOf: quantized ? 'fake-int8' : 'float',
    int8Accuracy: int8.accuracy,
    file,
    certificate: certificatePath(file),
    sha256: sha256(bytes),
    ...(exports.length === 0 ? {} : { exports }),
    bytes: summary.bytes,
    gzipBytes: summary.gzipBytes,
    brotliBytes: summary.brotliBytes,
    zipBytes: summary.zipBytes,
    zeros: layers.reduce((sum, layer) => sum + layer.zeros * layer.weights, 0) / Math.max(1, weights),
    maxCodes: layers.reduce((most, { codes }) => Math.max(most, codes), 0),
    layers,
    ...(simulation === null ? {} : { fidelity: { ...simulation.data, fakeQuant: simulation.fakeQuant } }),
    epochs: column.epochs,
    steps: column.steps,
    stages: column.pieces.map((id) => {
      const { stage, steps, columns } = plan.pieces.get(id)!;
      return { stage: stage.stage, epochs: stage.epochs, steps, shared: columns.length > 1 };
    }),
    history,
  };
}
