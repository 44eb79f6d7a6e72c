import type { ForwardOptions, StepOptions, StepResult } from '../../binding.js';
import { PcqatError } from '../errors.js';
import type { Model, OptimizerState } from '../graph/model.js';
import { elementCount } from '../graph/shapes.js';
import type { LoweredProgram } from '../train/lower.js';
import type { ModelSessionOptions } from '../train/model-session.js';
import type { OpenSession, TrainingSession } from '../train/training-session.js';
import { explained, requireTfjs } from './explain.js';
import { GraphRunner } from './forward.js';
import { Run } from './run.js';
import { BackendState } from './state.js';
import type { Tfjs, TfTensor } from './tfjs.js';
import { firstNonFinite, takeStep } from './train-step.js';

/** Runs and trains one model by tfjs operators, as the native core does by its own. */
export class TfjsEngine implements TrainingSession {
  readonly #tf: Tfjs;
  readonly #lowered: LoweredProgram;
  readonly #options: ModelSessionOptions;
  readonly #state: BackendState;
  readonly #runner: GraphRunner;
  #step = 0;
  #busy = false;
  #disposed = false;

  constructor(tf: Tfjs, model: Model, lowered: LoweredProgram, options: ModelSessionOptions) {
    requireTfjs(tf);
    this.#tf = tf;
    this.#lowered = lowered;
    this.#options = options;
    this.#runner = new GraphRunner(model, lowered);
    try {
      this.#state = new BackendState(tf, model, lowered, options.optimizer);
    } catch (error) {
      throw explained(error, 'tfjs');
    }
  }

  get step(): number {
    return this.#step;
  }

  push(name: string): void {
    this.#state.push(name);
  }

  pull(name: string): void {
    this.#state.pull(name);
  }

  pullAll(): void {
    this.#state.pullAll(this.#step);
  }

  restoreOptimizer(state: OptimizerState): void {
    this.#state.restoreSlots(state);
    this.#step = state.step;
  }

  async train(x: Float32Array, y: Int32Array | Float32Array, { learningRate }: Pick<StepOptions, 'learningRate'>): Promise<StepResult> {
    return this.#exclusively(async () => {
      const run = this.#run({ mode: 'training', step: this.#step + 1 });
      const step = { x, y, learningRate, step: this.#step + 1 };
      const taken = takeStep(run, this.#runner, this.#lowered, this.#state, this.#options, step);
      try {
        const result = await taken.result();
        if (result.violation !== undefined) return result;
        if (result.nonFinite !== undefined) {
          const layer = firstNonFinite(this.#run({ mode: 'training', step: this.#step + 1 }), this.#runner, this.#lowered, x);
          return { ...result, nonFinite: layer ?? result.nonFinite };
        }
        taken.commit();
        this.#step++;
        return result;
      } finally {
        taken.discard();
      }
    });
  }

  async forward(x: Float32Array, { mode = 'inference', resetRanges = false, step = 0 }: ForwardOptions = {}): Promise<Float32Array> {
    return this.#exclusively(async () => {
      const run = this.#run({ mode, resetRanges, step });
      const output = this.#tf.tidy(() => this.#runner.run(run, this.#inputs(x)));
      try {
        const values = Float32Array.from(await output.data());
        const [violated] = await this.#violations(run);
        if (violated !== undefined) throw violated;
        if (!values.every(Number.isFinite)) {
          const layer = firstNonFinite(this.#run({ mode, resetRanges, step }), this.#runner, this.#lowered, x);
          throw new PcqatError('ERR_NON_FINITE', `The output of '${layer ?? 'the model'}' is NaN or infinite`, {
            remedy: 'Check the weights and the input.',
          });
        }
        for (const [name, tensor] of run.writes) this.#state.set(name, tensor);
        run.writes.clear();
        return values;
      } finally {
        output.dispose();
        run.discard();
      }
    });
  }

  /** @throws PcqatError `ERR_DISPOSED`, `ERR_SESSION_BUSY`. */
  requireIdle(): void {
    if (this.#disposed) throw new PcqatError('ERR_DISPOSED', 'the session has been disposed');
    if (this.#busy) throw new PcqatError('ERR_SESSION_BUSY', 'the session is still at work', { remedy: 'Await the call before.' });
  }

  dispose(): void {
    this.#disposed = true;
    this.#state.dispose();
  }

  #run(options: Pick<Run, 'mode'> & Partial<Pick<Run, 'step' | 'resetRanges'>>): Run {
    return new Run(this.#tf, this.#state.tensors, { ...options, seed: this.#options.seed ?? 0 });
  }

  #inputs(x: Float32Array): TfTensor {
    const { inputShape } = this.#lowered;
    return this.#tf.tensor(x.slice(), [x.length / elementCount(inputShape), ...inputShape]);
  }

  async #violations(run: Run): Promise<PcqatError[]> {
    const errors: PcqatError[] = [];
    for (const [name, tensor] of run.violations) {
      const [count = 0] = await tensor.data();
      if (count > 0) errors.push(new PcqatError('ERR_INVARIANT', `${count} weights of '${name}' are masked but not zero`));
    }
    return errors;
  }

  /** One call at a time, with the errors of tfjs explained. */
  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.requireIdle();
    this.#busy = true;
    try {
      return await work();
    } catch (error) {
      throw explained(error, `tfjs backend '${this.#tf.getBackend()}'`);
    } finally {
      this.#busy = false;
    }
  }
}

/** Opens engines on the caller's tfjs. */
export function openTfjsSession(tf: Tfjs): OpenSession {
  return (model, lowered, options) => new TfjsEngine(tf, model, lowered, options);
}
