import { PcqatError, requireCount } from '../errors.js';
import type { Model } from '../graph/model.js';
import { elementCount } from '../graph/shapes.js';
import { checkExamples, type DataRequirement } from '../train/check-data.js';
import { lower, type LoweredProgram } from '../train/lower.js';
import { type Loss, softmaxCrossEntropy } from '../train/losses.js';
import { adam, type Optimizer } from '../train/optimizers.js';
import { Pruner } from '../train/pruner.js';
import { learningRateAt } from '../train/schedules.js';
import { TfjsEngine } from './engine.js';
import type { Tfjs } from './tfjs.js';

/** Options of {@link createTfjsSession}. */
export interface TfjsSessionOptions {
  /** Default `softmaxCrossEntropy()`. */
  readonly loss?: Loss;
  /** Default `adam()`. Its learning rate may be a schedule. */
  readonly optimizer?: Optimizer;
  /** Of dropout, an integer of at least 0. Default 0. */
  readonly seed?: number;
  /** Scales gradients down to this global L2 norm. Default: off. */
  readonly clipNorm?: number;
  /** Clips each gradient element to ± this. Default: off. */
  readonly clipValue?: number;
}

/** One finished step of a {@link TfjsSession}. */
export interface TfjsStep {
  /** From 1. */
  readonly step: number;
  /** Mean over the batch. */
  readonly loss: number;
  /** Fraction of the batch; 0 with `meanSquaredError`. */
  readonly accuracy: number;
  readonly learningRate: number;
  /** Global L2 norm before clipping. */
  readonly gradientNorm: number;
}

/** A model on the backend of the caller's tfjs, one step at a time; made by {@link createTfjsSession}. */
export class TfjsSession {
  readonly #tf: Tfjs;
  readonly #engine: TfjsEngine;
  readonly #lowered: LoweredProgram;
  readonly #requirement: DataRequirement & { readonly loss: Loss };
  readonly #optimizer: Optimizer;
  readonly #pruner: Pruner;
  /** The loss contains the softmax that the model ends in. */
  readonly #endsInSoftmax: boolean;

  /** @internal */
  constructor(tf: Tfjs, model: Model, options: TfjsSessionOptions) {
    const { loss = softmaxCrossEntropy(), optimizer = adam(), seed = 0, clipNorm, clipValue } = options;
    requireCount('seed', seed, 0);
    for (const [name, value] of [
      ['clipNorm', clipNorm],
      ['clipValue', clipValue],
    ] as const) {
      if (value === undefined || (value > 0 && Number.isFinite(value))) continue;
      throw new PcqatError('ERR_OPTION', `${name} is ${String(value)} but must be a number above 0`, { where: name });
    }
    this.#tf = tf;
    this.#optimizer = optimizer;
    this.#lowered = lower(model, { loss });
    this.#requirement = { inputShape: this.#lowered.inputShape, outputShape: this.#lowered.outputShape, loss };
    this.#endsInSoftmax = model.graph.nodes.at(-1) !== this.#lowered.nodes.at(-1);
    this.#engine = new TfjsEngine(tf, model, this.#lowered, {
      maxBatch: Infinity,
      optimizer: optimizer.spec,
      seed,
      ...(clipNorm === undefined ? {} : { clipNorm }),
      ...(clipValue === undefined ? {} : { clipValue }),
    });
    this.#pruner = new Pruner(model, this.#engine, this.#lowered.chains);
  }

  /**
   * One step of training on rows × product of the input shape; `y` holds a class number per row, or rows of the output shape. Masks move on
   * their schedule first.
   *
   * @throws PcqatError `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_DTYPE`, `ERR_LABEL_RANGE`, `ERR_NON_FINITE` for bad data; `ERR_DIVERGED` when a
   *   value becomes NaN or infinite; `ERR_INVARIANT` when masked weights would not be zero; `ERR_UNSUPPORTED` when the backend lacks a
   *   kernel; `ERR_SESSION_BUSY`, `ERR_DISPOSED`. The session is then as before the call.
   */
  async step(x: Float32Array, y: Int32Array | Float32Array): Promise<TfjsStep> {
    const rows = this.#check(x, y);
    const learningRate = learningRateAt(this.#optimizer.learningRate, this.#engine.step);
    this.#engine.requireIdle();
    this.#pruner.beforeStep();
    try {
      const { loss, correct, gradientNorm, nonFinite, violation } = await this.#engine.train(x, y, { learningRate });
      if (nonFinite !== undefined) {
        throw new PcqatError('ERR_DIVERGED', `training diverged: '${nonFinite}' became NaN or infinite`, {
          where: `step ${this.#engine.step + 1}`,
          remedy: 'Lower the learning rate or set clipNorm.',
        });
      }
      if (violation !== undefined) {
        throw new PcqatError('ERR_INVARIANT', `${violation.count} weights of '${violation.tensor}' are masked but would not be zero`, {
          where: `step ${this.#engine.step + 1}`,
          remedy: 'Make the chains with clusterWeights or quantizeApply.',
        });
      }
      return { step: this.#engine.step, loss, accuracy: correct / rows, learningRate, gradientNorm };
    } catch (error) {
      this.#pruner.undo();
      throw error;
    }
  }

  /**
   * Outputs for rows × product of the input shape, in inference mode, a softmax at the end included.
   *
   * @throws PcqatError as {@link TfjsSession.step}.
   */
  async forward(x: Float32Array): Promise<Float32Array> {
    const rows = this.#check(x, undefined);
    const outputs = await this.#engine.forward(x);
    if (!this.#endsInSoftmax) return outputs;
    const softmax = this.#tf.tidy(() => this.#tf.softmax(this.#tf.tensor(outputs, [rows, outputs.length / rows])));
    const values = Float32Array.from(await softmax.data());
    softmax.dispose();
    return values;
  }

  /** Copies the session's state into the model's tensors and `model.optimizer`. */
  sync(): void {
    this.#engine.requireIdle();
    this.#engine.pullAll();
  }

  /** Frees the tensors on the backend. The model keeps what `sync` copied last. */
  dispose(): void {
    this.#engine.dispose();
  }

  /** Number of rows. */
  #check(x: Float32Array, y: Int32Array | Float32Array | undefined): number {
    const size = elementCount(this.#requirement.inputShape);
    const rows = x.length / size;
    if (!Number.isSafeInteger(rows)) {
      throw new PcqatError('ERR_SHAPE', `x has ${x.length} values, which are no whole rows of ${size}`, { where: 'x' });
    }
    const { loss: _, ...forward } = this.#requirement;
    checkExamples({ rows, x, y: y ?? new Int32Array(0) }, y === undefined ? forward : this.#requirement, 'batch');
    return rows;
  }
}

/**
 * Puts a model on the backend of the caller's tfjs, to train it step by step: weights through masks, codebooks and fake quantization as its
 * chains say, with the update rules of pcqat's optimizers. `fitTfjs` is the whole loop.
 *
 * The model's arrays change when {@link TfjsSession.sync} is called, masks and pruning steps with each step. Activation ranges that were
 * never set stay 0/0 until a step moves them: call `calibrate` before.
 *
 * @param tf - `@tensorflow/tfjs-core`, `@tensorflow/tfjs` or `@tensorflow/tfjs-node`, with a backend registered
 * @throws PcqatError `ERR_OPTION`, `ERR_GRAPH`, `ERR_SHAPE`, `ERR_DTYPE`, `ERR_NON_FINITE` for a bad option or model.
 *
 * @example
 * ```ts
 * import '@tensorflow/tfjs-backend-cpu';
 * import '@tensorflow/tfjs-layers'; // registers the gradients, as `@tensorflow/tfjs` does
 * import * as tf from '@tensorflow/tfjs-core';
 * import { pruneOnce, sgd, zoo } from 'pcqat';
 * import { createTfjsSession } from 'pcqat/tfjs';
 * const model = pruneOnce(zoo.mnistCnn(), { targetSparsity: 0.5 });
 * const session = createTfjsSession(tf, model, { optimizer: sgd({ learningRate: 0.1 }) });
 * const { loss } = await session.step(new Float32Array(2 * 784).fill(0.5), Int32Array.of(3, 4));
 * session.sync();
 * session.dispose();
 * console.log(loss, model.optimizer?.step); // 2.3…, 1
 * ```
 */
export function createTfjsSession(tf: Tfjs, model: Model, options: TfjsSessionOptions = {}): TfjsSession {
  return new TfjsSession(tf, model, options);
}
