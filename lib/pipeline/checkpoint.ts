import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { PcqatError } from '../errors.js';
import { atomicWrite } from '../formats/atomic-write.js';
import { loadModel } from '../formats/pcqat/load.js';
import { modelPaths } from '../formats/pcqat/paths.js';
import { encodeModel, saveModel } from '../formats/pcqat/save.js';
import type { Model } from '../graph/model.js';
import type { ColumnReport, EpochReport } from '../report/types.js';
import type { TrainingState } from '../train/history.js';
import { readIfPresent } from './files.js';
import type { ColumnName, Recipe } from './recipe.js';

/** Folder of the checkpoint, inside the output folder. Removed when the run is finished. */
export const CHECKPOINT_FOLDER = '.checkpoint';

const epochSchema = z.object({
  stage: z.string(),
  epoch: z.int(),
  loss: z.number(),
  accuracy: z.number(),
  validationLoss: z.number().optional(),
  validationAccuracy: z.number().optional(),
});

const count = z.int().min(0);

/** What `fit` needs to go on; it checks the rest itself. */
const trainingStateSchema = z.object({
  epoch: count,
  stepInEpoch: count,
  totals: z.object({
    rows: count,
    lossSum: z.number(),
    correct: count,
    gradientNormSum: z.number(),
    learningRate: z.number(),
    seconds: z.number(),
  }),
  epochs: z.array(
    z.object({
      epoch: count,
      steps: count,
      loss: z.number(),
      accuracy: z.number(),
      validationLoss: z.number().optional(),
      validationAccuracy: z.number().optional(),
      learningRate: z.number(),
      gradientNorm: z.number(),
      seconds: z.number(),
      layers: z.array(z.object({ weight: z.string(), sparsity: z.number(), distinct: count.optional(), threshold: z.number().optional() })),
    }),
  ),
});

/** A file name inside the checkpoint folder, never a path. */
const modelName = z.string().regex(/^[\w-]+$/);

const stateSchema = z.object({
  version: z.literal(1),
  key: z.string(),
  /** Wall clock spent so far. */
  seconds: z.number().min(0),
  /** Finished pieces and what they logged. */
  pieces: z.record(z.string(), z.object({ model: modelName, history: z.array(epochSchema) })),
  /** Finished columns. */
  columns: z.record(z.string(), z.looseObject({ file: z.string(), sha256: z.string() })),
  /** The piece that was cut off. */
  partial: z.object({ id: z.string(), model: modelName, state: trainingStateSchema }).optional(),
});

interface State {
  readonly version: 1;
  readonly key: string;
  readonly seconds: number;
  readonly pieces: Readonly<Record<string, { readonly model: string; readonly history: readonly EpochReport[] }>>;
  readonly columns: Readonly<Record<string, ColumnReport>>;
  readonly partial?: { readonly id: string; readonly model: string; readonly state: TrainingState };
}

/** A finished piece: its model and its log. */
export interface SavedPiece {
  readonly model: Model;
  readonly history: readonly EpochReport[];
}

/** A piece that was cut off: its model and where its training stands. */
export interface PartialPiece {
  readonly model: Model;
  readonly state: TrainingState;
}

/** The file may be replaced between two runs. */
function modelHash(model: Model): string {
  const { json, bin } = encodeModel(model);
  return createHash('sha256').update(json).update(bin).digest('hex');
}

/**
 * Says which recipe a checkpoint belongs to. Threads and outputs may differ: they do not change what is trained.
 *
 * @param source - the model from a file that the recipe starts from
 */
export function recipeKey(recipe: Recipe, version: string, source?: Model): string {
  const { threads: _threads, outputs: _outputs, name: _name, $schema: _schema, ...rest } = recipe;
  return createHash('sha256')
    .update(JSON.stringify([version, rest, ...(source === undefined ? [] : [modelHash(source)])]))
    .digest('hex');
}

/**
 * What is finished of a run, on disk. `state.json` names the model files and is replaced in one step after they are
 * written, so that a cut at any moment leaves the last complete checkpoint.
 */
export class Checkpoint {
  readonly folder: string;
  #state: State;

  private constructor(folder: string, state: State) {
    this.folder = folder;
    this.#state = state;
  }

  /** A new checkpoint; one that is already there is removed. */
  static async create(out: string, key: string): Promise<Checkpoint> {
    const folder = join(out, CHECKPOINT_FOLDER);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    const checkpoint = new Checkpoint(folder, { version: 1, key, seconds: 0, pieces: {}, columns: {} });
    await checkpoint.#write();
    return checkpoint;
  }

  /**
   * The checkpoint in an output folder; `undefined` where there is none.
   *
   * @throws PcqatError `ERR_FORMAT` where it is damaged
   */
  static async open(out: string): Promise<Checkpoint | undefined> {
    const folder = join(out, CHECKPOINT_FOLDER);
    const path = join(folder, 'state.json');
    const text = await readIfPresent(path);
    if (text === undefined) return undefined;
    let state: State;
    try {
      state = stateSchema.parse(JSON.parse(text)) as unknown as State;
    } catch (cause) {
      throw new PcqatError('ERR_FORMAT', 'the checkpoint is damaged', { where: path, remedy: 'Start again with --fresh.', cause });
    }
    return new Checkpoint(folder, state);
  }

  get key(): string {
    return this.#state.key;
  }

  get seconds(): number {
    return this.#state.seconds;
  }

  /** Nothing in it is worth keeping. */
  get empty(): boolean {
    return this.finishedPieces.length === 0 && this.#state.partial === undefined;
  }

  get finishedPieces(): readonly string[] {
    return Object.keys(this.#state.pieces);
  }

  hasPiece(id: string): boolean {
    return Object.hasOwn(this.#state.pieces, id);
  }

  async loadPiece(id: string): Promise<SavedPiece> {
    const { model, history } = this.#state.pieces[id]!;
    return { model: await loadModel(join(this.folder, model)), history };
  }

  /** Keeps a finished piece; what was kept of its beginning goes. */
  async savePiece(id: string, piece: SavedPiece, seconds: number): Promise<void> {
    await saveModel(piece.model, join(this.folder, id));
    const old = this.#state.partial;
    const { partial: _, ...rest } = this.#state;
    this.#state = { ...rest, seconds, pieces: { ...rest.pieces, [id]: { model: id, history: [...piece.history] } } };
    await this.#write();
    if (old) await this.#removeModel(old.model);
  }

  /** The cut off piece, if it is this one. */
  async loadPartial(id: string): Promise<PartialPiece | undefined> {
    const partial = this.#state.partial;
    if (partial?.id !== id) return undefined;
    return { model: await loadModel(join(this.folder, partial.model)), state: partial.state };
  }

  /** Keeps a piece as it is in the middle of its training. */
  async savePartial(id: string, piece: PartialPiece, seconds: number): Promise<void> {
    const { epoch, stepInEpoch } = piece.state;
    const model = `partial-${id}-${epoch}-${stepInEpoch}`;
    await saveModel(piece.model, join(this.folder, model));
    const old = this.#state.partial;
    this.#state = { ...this.#state, seconds, partial: { id, model, state: piece.state } };
    await this.#write();
    if (old && old.model !== model) await this.#removeModel(old.model);
  }

  column(name: ColumnName): ColumnReport | undefined {
    return Object.hasOwn(this.#state.columns, name) ? this.#state.columns[name] : undefined;
  }

  async saveColumn(name: ColumnName, column: ColumnReport, seconds: number): Promise<void> {
    this.#state = { ...this.#state, seconds, columns: { ...this.#state.columns, [name]: column } };
    await this.#write();
  }

  /** Removes the checkpoint: the run is finished. */
  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  async #removeModel(name: string): Promise<void> {
    await Promise.all(Object.values(modelPaths(join(this.folder, name))).map((path) => rm(path, { force: true })));
  }

  async #write(): Promise<void> {
    await atomicWrite(join(this.folder, 'state.json'), `${JSON.stringify(this.#state)}\n`);
  }
}
