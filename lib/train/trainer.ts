import { performance } from 'node:perf_hooks';
import type { ChainViolation, StepResult } from '../../binding.js';
import type { Batch } from '../data/types.js';
import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import type { DataRequirement } from './check-data.js';
import { isDataset } from './check-data.js';
import type { FitSettings } from './fit-options.js';
import { type EpochRecord, type EpochTotals, type History, NO_TOTALS, type TrainingState } from './history.js';
import type { Loss } from './losses.js';
import { evaluateSession, type Evaluation } from './metrics.js';
import { pass } from './pass.js';
import { Pruner } from './pruner.js';
import { learningRateAt } from './schedules.js';
import { summarizeChains, summarizeWeights } from './summarize.js';
import type { TrainingSession } from './training-session.js';

/** What a {@link Trainer} works with. */
export interface TrainerContext {
  readonly settings: FitSettings;
  readonly requirement: DataRequirement & { readonly loss: Loss };
  /** Parameters with a chain in the session. */
  readonly weights: readonly string[];
  /** `performance.now()` of the call, so that preparation counts in the first epoch. */
  readonly started: number;
}

/** The training loop of one `fit` call. */
export class Trainer {
  readonly #model: Model;
  readonly #session: TrainingSession;
  readonly #context: TrainerContext;
  readonly #pruner: Pruner;
  #state: TrainingState;
  #clock: number;

  constructor(model: Model, session: TrainingSession, context: TrainerContext) {
    this.#model = model;
    this.#session = session;
    this.#context = context;
    this.#pruner = new Pruner(model, session, context.weights);
    this.#state = context.settings.start;
    this.#clock = context.started;
  }

  /** Trains to the last epoch. The model is up to date however this ends. */
  async run(): Promise<History> {
    const { epochs, signal, callbacks } = this.#context.settings;
    try {
      signal?.throwIfAborted();
      while (this.#state.epoch < epochs) await this.#runEpoch();
      return { epochs: this.#state.epochs };
    } catch (error) {
      this.#session.pullAll();
      if (signal?.aborted === true && error === signal.reason) {
        this.#addSeconds();
        await callbacks?.onInterrupt?.(this.#state);
      }
      throw error;
    }
  }

  async #runEpoch(): Promise<void> {
    const { train, batchSize, shuffle, seed, augment, signal, callbacks, summaryFrequency } = this.#context.settings;
    const { epoch, stepInEpoch: done } = this.#state;
    const { requirement } = this.#context;
    let skipped = 0;
    const options = { batchSize, shuffle, seed, epoch, requirement, name: 'train', ...(augment === undefined ? {} : { augment }) };
    for await (const batch of pass(train, options)) {
      // A continued epoch gives the same batches again; those already learned from are passed over.
      if (skipped++ < done) continue;
      signal?.throwIfAborted();
      await this.#runStep(batch);
    }
    this.#pruner.endEpoch();
    const validation = await this.#validate();
    this.#session.pullAll();
    const record = this.#finishEpoch(validation);
    await callbacks?.onEpoch?.(record, this.#state);
    if (summaryFrequency === 'epoch') await this.#summarize(epoch);
  }

  async #runStep(batch: Batch): Promise<void> {
    const { settings } = this.#context;
    const learningRate = learningRateAt(settings.optimizer.learningRate, this.#session.step);
    this.#pruner.beforeStep();
    const result = await this.#session.train(batch.x, batch.y, { learningRate });
    if (result.nonFinite !== undefined) {
      this.#pruner.undo();
      throw this.#diverged(result.nonFinite);
    }
    if (result.violation !== undefined) {
      this.#pruner.undo();
      throw this.#violated(result.violation);
    }
    const { epoch, stepInEpoch } = this.#state;
    this.#state = { ...this.#state, stepInEpoch: stepInEpoch + 1, totals: addStep(this.#state.totals, batch.rows, result, learningRate) };
    const { train, batchSize, callbacks, summaryFrequency } = settings;
    // Not awaited when it returns nothing: a step must not cost an extra turn of the event loop.
    const pending = callbacks?.onStep?.({
      epoch,
      stepInEpoch,
      ...(isDataset(train) ? { stepsPerEpoch: Math.ceil(train.size / batchSize) } : {}),
      step: this.#session.step,
      rows: batch.rows,
      loss: result.loss,
      accuracy: result.correct / batch.rows,
      learningRate,
      gradientNorm: result.gradientNorm,
    });
    if (pending !== undefined) await pending;
    if (summaryFrequency === 'epoch' || this.#session.step % summaryFrequency !== 0 || callbacks?.onSummary === undefined) return;
    this.#session.pullAll();
    await this.#summarize(epoch);
  }

  async #summarize(epoch: number): Promise<void> {
    const { callbacks } = this.#context.settings;
    if (callbacks?.onSummary === undefined || this.#model.chains.size === 0) return;
    await callbacks.onSummary({ epoch, step: this.#session.step, layers: summarizeWeights(this.#model) });
  }

  async #validate(): Promise<Evaluation | undefined> {
    const { validation, batchSize, signal } = this.#context.settings;
    if (validation === undefined) return undefined;
    const { requirement } = this.#context;
    return evaluateSession(this.#session, validation, {
      requirement,
      batchSize,
      name: 'validation',
      ...(signal === undefined ? {} : { signal }),
    });
  }

  #finishEpoch(validation: Evaluation | undefined): EpochRecord {
    this.#addSeconds();
    const { epoch, stepInEpoch: steps, totals, epochs } = this.#state;
    const record: EpochRecord = {
      epoch,
      steps,
      loss: totals.lossSum / totals.rows,
      accuracy: totals.correct / totals.rows,
      ...(validation === undefined ? {} : { validationLoss: validation.loss, validationAccuracy: validation.accuracy }),
      learningRate: totals.learningRate,
      gradientNorm: totals.gradientNormSum / steps,
      seconds: totals.seconds,
      layers: summarizeChains(this.#model),
    };
    this.#state = { epoch: epoch + 1, stepInEpoch: 0, totals: NO_TOTALS, epochs: [...epochs, record] };
    return record;
  }

  #addSeconds(): void {
    const now = performance.now();
    const { totals } = this.#state;
    this.#state = { ...this.#state, totals: { ...totals, seconds: totals.seconds + (now - this.#clock) / 1000 } };
    this.#clock = now;
  }

  #diverged(name: string): PcqatError {
    const { epoch, stepInEpoch } = this.#state;
    return new PcqatError('ERR_DIVERGED', `training diverged: '${name}' became NaN or infinite`, {
      where: `layer '${name}', epoch ${epoch}, step ${stepInEpoch}`,
      remedy: 'The model keeps the state before this step. Lower the learning rate or set clipNorm.',
    });
  }

  #violated({ tensor, kind, count }: ChainViolation): PcqatError {
    const { epoch, stepInEpoch } = this.#state;
    const problem = kind === 'zeros' ? 'are masked but would not be zero' : 'would not be a value of their codebook';
    return new PcqatError('ERR_INVARIANT', `${count} weights of '${tensor}' ${problem}`, {
      where: `layer '${layerOf(tensor)}', epoch ${epoch}, step ${stepInEpoch}`,
      remedy: 'The model keeps the state before this step. Make its chains with clusterWeights or quantizeApply.',
    });
  }
}

function layerOf(parameter: string): string {
  return parameter.slice(0, parameter.lastIndexOf('/'));
}

function addStep(totals: EpochTotals, rows: number, result: StepResult, learningRate: number): EpochTotals {
  return {
    rows: totals.rows + rows,
    lossSum: totals.lossSum + result.loss * rows,
    correct: totals.correct + result.correct,
    gradientNormSum: totals.gradientNormSum + result.gradientNorm,
    learningRate,
    seconds: totals.seconds,
  };
}
