import type { DatasetSplits } from '../data/types.js';
import type { Model } from '../graph/model.js';
import type { EpochReport } from '../report/types.js';
import { fit } from '../train/fit.js';
import type { EpochRecord } from '../train/history.js';
import { softmaxCrossEntropy } from '../train/losses.js';
import type { Checkpoint, SavedPiece } from './checkpoint.js';
import { recipeAugmentation } from './data.js';
import { stageOptimizer } from './optimizer.js';
import type { Piece } from './pieces.js';
import type { ProgressEvent, ProgressMeter } from './progress.js';
import type { Recipe } from './recipe.js';
import { prepareStage } from './stages.js';

/** What training a piece needs besides the model it goes on from. */
export interface TrainContext {
  readonly recipe: Recipe;
  readonly data: DatasetSplits;
  readonly checkpoint: Checkpoint;
  readonly meter: ProgressMeter;
  readonly stepsPerEpoch: number;
  readonly onProgress: (event: ProgressEvent) => void;
  /** Wall clock of the whole run so far. */
  readonly seconds: () => number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

/** Between checkpoints inside a long stage. */
const CHECKPOINT_SECONDS = 30;

const epochReport = (stage: string, record: EpochRecord): EpochReport => ({
  stage,
  epoch: record.epoch + 1,
  loss: record.loss,
  accuracy: record.accuracy,
  ...(record.validationLoss === undefined ? {} : { validationLoss: record.validationLoss }),
  ...(record.validationAccuracy === undefined ? {} : { validationAccuracy: record.validationAccuracy }),
});

/**
 * Trains one piece, from its start or from where it was cut off, and keeps it in the checkpoint. When the signal stops it,
 * the checkpoint holds the state after the last finished step and the promise rejects with the signal's reason.
 */
export async function trainPiece(source: Model, piece: Piece, context: TrainContext): Promise<SavedPiece> {
  const { recipe, data, checkpoint, meter, stepsPerEpoch, onProgress } = context;
  const { stage } = piece;
  const partial = await checkpoint.loadPartial(piece.id);
  const running = context.signal === undefined ? {} : { signal: context.signal };
  const model = partial?.model ?? (await prepareStage(source, stage, { recipe, stepsPerEpoch, data: data.train, ...running }));
  const place = { stage: stage.stage, epochs: stage.epochs };
  if (stage.epochs === 0) {
    const untrained = { model, history: [] };
    await checkpoint.savePiece(piece.id, untrained, context.seconds());
    return untrained;
  }
  if (partial) meter.advance(stage.stage, partial.state.epoch * stepsPerEpoch + partial.state.stepInEpoch);
  onProgress({ type: 'stage', ...place, columns: piece.columns });
  const augment = recipeAugmentation(recipe);
  let lastStep = performance.now();
  let lastSave = lastStep;
  const history = await fit(model, {
    train: data.train,
    validation: data.validation,
    epochs: stage.epochs,
    batchSize: recipe.batchSize,
    optimizer: stageOptimizer(recipe, stage, stepsPerEpoch),
    loss: softmaxCrossEntropy({ labelSmoothing: recipe.labelSmoothing }),
    // each stage of a column sees the examples in its own order
    seed: recipe.seed + piece.depth * 7919,
    gradients: recipe.gradients,
    ...(recipe.clipNorm === undefined ? {} : { clipNorm: recipe.clipNorm }),
    ...(augment === undefined ? {} : { augment }),
    ...(context.threads === undefined ? {} : { threads: context.threads }),
    ...running,
    ...(partial === undefined ? {} : { start: partial.state }),
    callbacks: {
      onStep: ({ epoch, loss }) => {
        const now = performance.now();
        meter.advance(stage.stage, 1, (now - lastStep) / 1000);
        lastStep = now;
        onProgress({ type: 'step', ...place, epoch: epoch + 1, loss, ...meter.remaining() });
      },
      onEpoch: async (record, state) => {
        onProgress({ type: 'epoch', ...place, ...epochReport(stage.stage, record), ...meter.remaining() });
        if (performance.now() - lastSave < CHECKPOINT_SECONDS * 1000 || record.epoch + 1 === stage.epochs) return;
        await checkpoint.savePartial(piece.id, { model, state }, context.seconds());
        lastSave = performance.now();
      },
      onInterrupt: async (state) => {
        await checkpoint.savePartial(piece.id, { model, state }, context.seconds());
      },
    },
  });
  const saved = { model, history: history.epochs.map((record) => epochReport(stage.stage, record)) };
  await checkpoint.savePiece(piece.id, saved, context.seconds());
  return saved;
}
