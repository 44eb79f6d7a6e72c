import { readFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import type { DatasetSplits } from '../data/types.js';
import { PcqatError } from '../errors.js';
import { atomicWrite } from '../formats/atomic-write.js';
import type { Model } from '../graph/model.js';
import { nativeInfo } from '../native.js';
import { reportHtml } from '../report/html.js';
import type { ColumnReport, EpochReport, Report } from '../report/types.js';
import { Checkpoint, recipeKey } from './checkpoint.js';
import { planColumns, type Column } from './columns.js';
import { loadRecipeData, sample } from './data.js';
import { extraFormats } from './exports.js';
import { ensureWritableFolder, readIfPresent } from './files.js';
import { finishColumn, sha256, type FinishContext } from './finish.js';
import { createRecipeModel, readSourceModel } from './model.js';
import { planPieces, type Plan, type PlannedColumn } from './pieces.js';
import { ProgressMeter, type ProgressEvent } from './progress.js';
import { isImported, modelTitle, type Recipe } from './recipe.js';
import { layerTargets } from './stages.js';
import { trainPiece, type TrainContext } from './train-piece.js';

/** Options of {@link runRecipe}. */
export interface RunOptions {
  /** Output folder; made where it does not exist. */
  readonly out: string;
  /** Go on from the checkpoint in `out`. Default `false`. */
  readonly resume?: boolean;
  /** Discard a checkpoint in `out`. Without this and `resume` a checkpoint there is an error, so that no work is lost. Default `false`. */
  readonly fresh?: boolean;
  /** Stops after the present step: a checkpoint is written and the promise rejects with an `AbortError`. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (event: ProgressEvent) => void;
  /** Worker threads; the recipe's where absent. Results do not depend on it. */
  readonly threads?: number;
  /** Data in memory to use in place of the recipe's. */
  readonly data?: DatasetSplits;
}

const REPORT_FILE = 'report.json';

/** The finished report in `out`, if it is of this recipe. */
async function finishedReport(out: string, recipe: Recipe): Promise<Report | undefined> {
  const text = await readIfPresent(join(out, REPORT_FILE));
  if (text === undefined) return undefined;
  try {
    const report = JSON.parse(text) as Report;
    return JSON.stringify(report.recipe) === JSON.stringify(recipe) ? report : undefined;
  } catch {
    return undefined;
  }
}

/** The checkpoint to go on from; none for a new run. */
async function findCheckpoint(key: string, { out, resume = false, fresh = false }: RunOptions): Promise<Checkpoint | undefined> {
  const found = fresh ? undefined : await Checkpoint.open(out);
  if (!resume) {
    if (found === undefined || found.empty) return undefined;
    throw new PcqatError('ERR_OPTION', 'the output folder holds an unfinished run', {
      where: out,
      remedy: 'Use --resume to go on, --fresh to discard it, or another folder.',
    });
  }
  if (found === undefined) {
    throw new PcqatError('ERR_OPTION', 'there is no unfinished run to resume', {
      where: out,
      remedy: 'Leave out --resume, or name the folder of the run.',
    });
  }
  if (found.key !== key) {
    throw new PcqatError('ERR_OPTION', 'the unfinished run is of another recipe or another version of pcqat', {
      where: out,
      remedy: 'Resume with the recipe and the options it was started with, or use --fresh.',
    });
  }
  return found;
}

/** A finished column of an earlier run, if it has every format and its files are still as they were. */
async function finishedColumn(checkpoint: Checkpoint, column: PlannedColumn, context: FinishContext): Promise<ColumnReport | undefined> {
  const saved = checkpoint.column(column.name);
  if (saved === undefined) return undefined;
  const { exports = [] } = saved;
  if (!context.formats.every((format) => exports.some((one) => one.format === format))) return undefined;
  for (const { file, sha256: hash } of [saved, ...exports]) {
    const bytes = await readFile(join(context.out, file)).catch(() => undefined);
    if (bytes === undefined || sha256(bytes) !== hash) return undefined;
  }
  return saved;
}

/** Trains or loads the pieces of a column, in order. */
async function trainColumn(column: PlannedColumn, plan: Plan, initial: Model, context: TrainContext) {
  let model = initial;
  // a model from a file has been trained before
  let first = isImported(context.recipe) ? initial : undefined;
  const history: EpochReport[] = [];
  for (const id of column.pieces) {
    const { checkpoint } = context;
    const piece = checkpoint.hasPiece(id) ? await checkpoint.loadPiece(id) : await trainPiece(model, plan.pieces.get(id)!, context);
    model = piece.model;
    first ??= model;
    const offset = history.length;
    for (const record of piece.history) history.push({ ...record, epoch: offset + record.epoch });
  }
  return { model, first: first ?? initial, history };
}

function machineReport(threads: number | undefined): Report['machine'] {
  const native = nativeInfo();
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
    isa: native.isa,
    threads: threads ?? native.threads,
  };
}

interface Setting {
  readonly recipe: Recipe;
  readonly options: RunOptions;
  readonly columns: readonly Column[];
  readonly data: DatasetSplits;
  readonly checkpoint: Checkpoint;
  readonly seconds: () => number;
}

/** Trains, exports and measures every column that is not finished yet. */
async function makeColumns(setting: Setting, initial: Model): Promise<Record<string, ColumnReport>> {
  const { recipe, options, columns, data, checkpoint, seconds } = setting;
  const { out, signal, resume, onProgress = () => undefined } = options;
  const threads = options.threads ?? recipe.threads;
  const stepsPerEpoch = Math.ceil(data.train.size / recipe.batchSize);
  const plan = planPieces(columns, stepsPerEpoch);
  const meter = new ProgressMeter([...plan.pieces.values()]);
  for (const { id, stage, steps } of plan.pieces.values()) if (checkpoint.hasPiece(id)) meter.advance(stage.stage, steps);
  const running = { ...(threads === undefined ? {} : { threads }), ...(signal === undefined ? {} : { signal }) };
  const train: TrainContext = { recipe, data, checkpoint, meter, stepsPerEpoch, onProgress, seconds, ...running };
  const calibration = sample(data.train, recipe.calibrationExamples);
  const targets = layerTargets(initial, recipe);
  const finish: FinishContext = {
    out,
    plan,
    data,
    calibration,
    targets,
    saveModels: recipe.outputs.models,
    formats: extraFormats(recipe),
    ...running,
  };

  onProgress({ type: 'data', name: recipe.data.name, train: data.train.size, validation: data.validation.size, test: data.test.size });
  if (resume) {
    const finishedColumns = plan.columns.map(({ name }) => name).filter((name) => checkpoint.column(name) !== undefined);
    onProgress({ type: 'resume', finishedStages: checkpoint.finishedPieces.length, finishedColumns });
  }
  const reports: Record<string, ColumnReport> = {};
  for (const column of plan.columns) {
    let report = await finishedColumn(checkpoint, column, finish);
    if (report === undefined) {
      signal?.throwIfAborted();
      const { model, first, history } = await trainColumn(column, plan, initial, train);
      report = await finishColumn(column, model, first, history, finish);
      await checkpoint.saveColumn(column.name, report, seconds());
    }
    reports[column.name] = report;
    const { title, accuracy, int8Accuracy, file, bytes, gzipBytes } = report;
    onProgress({ type: 'column', column: column.name, title, accuracy, int8Accuracy, file, bytes, gzipBytes });
  }
  return reports;
}

function makeReport({ recipe, options, columns, data, seconds }: Setting, reports: Record<string, ColumnReport>): Report {
  const { train, validation, test, credit } = data;
  const epochs = Math.max(...columns.map((column) => column.epochs));
  return {
    version: 1,
    pcqat: nativeInfo().version,
    title: recipe.name ?? `${modelTitle(recipe)} on ${recipe.data.name}`,
    model: modelTitle(recipe),
    data: recipe.data.name,
    seed: recipe.seed,
    seconds: seconds(),
    sparsity: recipe.sparsity,
    clusters: recipe.clusters,
    dataset: { train: train.size, validation: validation.size, test: test.size, classes: train.classes ?? 0, credit },
    budget: { epochs, steps: epochs * Math.ceil(train.size / recipe.batchSize), batchSize: recipe.batchSize },
    machine: machineReport(options.threads ?? recipe.threads),
    columns: reports,
    recipe,
  };
}

/**
 * Runs a recipe: trains the columns (a beginning that columns share only once), exports each to an int8 .tflite, checks and
 * measures the files, and writes `report.json` and `report.html`. The same recipe and seed give the same files, whatever the
 * number of threads and however often the run was stopped and resumed.
 *
 * Everything that can be wrong with the recipe or the folder is found before training starts. Finished stages and columns
 * are kept in a checkpoint in `out` until the run is done.
 *
 * @returns the report, as written to `report.json`
 * @throws PcqatError `ERR_RECIPE`, `ERR_OPTION`, `ERR_IO`, `ERR_FORMAT` for bad input; `ERR_DIVERGED` where the loss became NaN;
 *   `ERR_INVARIANT` where a column lost zeros or clusters. Rejects with an `AbortError` after `signal`.
 *
 * @example
 * ```ts
 * import { parseRecipe, runRecipe, textTable } from 'pcqat';
 * const recipe = parseRecipe({
 *   model: 'ds-cnn-s',
 *   data: { name: 'fsdd', limit: { train: 32, validation: 16, test: 16 } },
 *   epochs: 4,
 *   batchSize: 16,
 *   outputs: { columns: ['baseline', 'pcqat'] },
 * });
 * const report = await runRecipe(recipe, { out: 'small', fresh: true, onProgress: ({ type }) => console.log(type) });
 * console.log(textTable(report));
 * ```
 */
export async function runRecipe(recipe: Recipe, options: RunOptions): Promise<Report> {
  const { out, signal, resume = false } = options;
  const started = performance.now();
  const columns = planColumns(recipe);
  const source = await readSourceModel(recipe);
  const key = recipeKey(recipe, nativeInfo().version, source);
  await ensureWritableFolder(out);
  if (resume && (await Checkpoint.open(out)) === undefined) {
    const finished = await finishedReport(out, recipe);
    if (finished) return finished;
  }
  const found = await findCheckpoint(key, options);
  try {
    const data = options.data ?? (await loadRecipeData(recipe));
    const initial = createRecipeModel(recipe, data.train, source);
    layerTargets(initial, recipe); // wrong layer names are found here
    signal?.throwIfAborted();
    const checkpoint = found ?? (await Checkpoint.create(out, key));
    const before = checkpoint.seconds;
    const seconds = (): number => before + (performance.now() - started) / 1000;
    const setting: Setting = { recipe, options, columns, data, checkpoint, seconds };
    let reports: Record<string, ColumnReport>;
    try {
      reports = await makeColumns(setting, initial);
    } finally {
      if (signal?.aborted && !checkpoint.empty) options.onProgress?.({ type: 'checkpoint', path: checkpoint.folder });
    }
    const report = makeReport(setting, reports);
    await atomicWrite(join(out, REPORT_FILE), `${JSON.stringify(report, null, 2)}\n`);
    if (recipe.outputs.html) await atomicWrite(join(out, 'report.html'), reportHtml(report));
    await checkpoint.remove();
    return report;
  } catch (error) {
    // whatever it was that noticed the signal first
    if (signal?.aborted && !(error instanceof PcqatError)) throw new DOMException('The run was stopped.', 'AbortError');
    throw error;
  }
}
