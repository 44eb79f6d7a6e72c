import type { StepResult } from '../../binding.js';
import { PcqatError } from '../errors.js';
import { elementCount } from '../graph/shapes.js';
import type { LoweredProgram } from '../train/lower.js';
import type { ModelSessionOptions } from '../train/model-session.js';
import type { GraphRunner } from './forward.js';
import { correctOf, lossOf, targetsOf } from './losses.js';
import { updated } from './optimizers.js';
import type { Run } from './run.js';
import type { BackendState } from './state.js';
import type { Tfjs, TfTensor } from './tfjs.js';

export interface Step {
  readonly x: Float32Array;
  readonly y: Int32Array | Float32Array;
  readonly learningRate: number;
  /** From 1. */
  readonly step: number;
}

/** A step whose results wait on the backend. */
export interface TakenStep {
  result(): Promise<StepResult>;
  /** Makes the results the state. */
  commit(): void;
  /** Frees what was not committed. */
  discard(): void;
}

/** Loss and correct rows of a batch, and the gradient of each tensor that trains. */
interface Gradients {
  readonly loss: TfTensor;
  readonly correct: TfTensor;
  readonly gradients: readonly TfTensor[];
}

function differentiate(run: Run, runner: GraphRunner, lowered: LoweredProgram, state: BackendState, { x, y }: Step): Gradients {
  const { tf } = run;
  const { program, inputShape, outputShape } = lowered;
  const { loss } = program;
  if (loss === undefined) throw new PcqatError('ERR_OPTION', 'training needs a program with a loss');
  const inputs = tf.tensor(x.slice(), [x.length / elementCount(inputShape), ...inputShape]);
  const targets = targetsOf(tf, y.slice(), outputShape);
  let correct: TfTensor | undefined;
  const forward = (): TfTensor => {
    const outputs = runner.run(run, inputs);
    correct = tf.keep(correctOf(tf, loss, outputs, targets));
    return lossOf(tf, loss, outputs, targets);
  };
  const parameters = state.trainable.map(({ name }) => run.readStored(name));
  // Without anything to train there are no gradients to ask for.
  const { value, grads } = parameters.length === 0 ? { value: forward(), grads: [] } : tf.valueAndGrads(forward)(parameters);
  const rows = (correct as TfTensor).clone();
  correct?.dispose();
  return { loss: value, correct: rows, gradients: grads };
}

/** As the native core clips: to a global norm, then element by element. */
function clipped(tf: Tfjs, gradients: readonly TfTensor[], squares: readonly TfTensor[], options: ModelSessionOptions): TfTensor[] {
  const { clipNorm = 0, clipValue = 0 } = options;
  let result = [...gradients];
  if (clipNorm > 0 && squares.length > 0) {
    const norm = tf.sqrt(tf.sum(tf.stack([...squares])));
    const scale = tf.minimum(tf.div(tf.scalar(clipNorm), norm), 1);
    result = result.map((gradient) => tf.mul(gradient, scale));
  }
  return clipValue > 0 ? result.map((gradient) => tf.clipByValue(gradient, -clipValue, clipValue)) : result;
}

/** Forward, loss, backward and optimizer; nothing of the state changes before `commit`. */
export function takeStep(
  run: Run,
  runner: GraphRunner,
  lowered: LoweredProgram,
  state: BackendState,
  options: ModelSessionOptions,
  step: Step,
): TakenStep {
  const { tf } = run;
  const { optimizer } = options;
  if (optimizer === undefined) throw new PcqatError('ERR_OPTION', 'training needs an optimizer');
  const slots = new Map<string, TfTensor[]>();
  const discard = (): void => {
    run.discard();
    for (const tensor of [...slots.values()].flat()) tensor.dispose();
    slots.clear();
  };
  const names: ReportNames = { written: [], violations: [], gradients: state.trainable.map(({ name }) => name) };
  let report: TfTensor;
  try {
    report = tf.tidy(() => {
      const { loss, correct, gradients } = differentiate(run, runner, lowered, state, step);
      const squares = gradients.map((gradient) => tf.sum(tf.square(gradient)));
      // The state that a forward pass leaves: ranges, statistics, centroids.
      const written = [...run.writes].filter(([, { dtype }]) => dtype === 'float32');
      names.written = written.map(([name]) => name);
      names.violations = [...run.violations.keys()];
      const finite = written.map(([, tensor]) => tf.cast(tf.all(tf.isFinite(tensor)), 'float32'));
      const result = tf.stack([loss, correct, ...finite, ...run.violations.values(), ...squares]);
      for (const [i, gradient] of clipped(tf, gradients, squares, options).entries()) {
        const spec = state.trainable[i];
        if (spec === undefined) continue;
        const { name, weightDecay: decays = false, minimum } = spec;
        const mask = state.tensors.get(`${name}:mask`);
        const before = { weight: run.read(name), slots: state.slots.get(name) ?? [] };
        const after = updated(tf, optimizer, step.learningRate, step.step, { ...before, gradient, decays, mask, minimum });
        run.write(name, after.weight);
        slots.set(
          name,
          after.slots.map((slot) => tf.keep(slot)),
        );
      }
      return result;
    });
  } catch (error) {
    discard();
    throw error;
  }
  return {
    result: async () => {
      const values = await report.data();
      report.dispose();
      return readReport(Array.from(values), names);
    },
    commit: () => {
      for (const [name, tensor] of run.writes) state.set(name, tensor);
      for (const [name, tensors] of slots) state.setSlots(name, tensors);
      run.writes.clear();
      slots.clear();
    },
    discard,
  };
}

/** What the numbers of a step's report are about, in their order: loss, correct rows, then one number for each of these. */
interface ReportNames {
  /** 1: the tensor is finite. */
  written: readonly string[];
  /** Masked weights that are not zero. */
  violations: readonly string[];
  /** Sums of squares. */
  gradients: readonly string[];
}

function readReport([loss = NaN, correct = 0, ...rest]: readonly number[], names: ReportNames): StepResult {
  const finite = rest.splice(0, names.written.length);
  const violations = rest.splice(0, names.violations.length);
  const violated = violations.findIndex((count) => count > 0);
  if (violated >= 0) {
    const violation = { tensor: names.violations[violated] ?? '', kind: 'zeros', count: violations[violated] ?? 0 } as const;
    return { loss: NaN, correct, gradientNorm: NaN, violation };
  }
  const gradientNorm = Math.sqrt(rest.reduce((sum, square) => sum + square, 0));
  const bad = names.written[finite.indexOf(0)] ?? names.gradients[rest.findIndex((square) => !Number.isFinite(square))];
  const nonFinite =
    Number.isFinite(loss) && finite.every((flag) => flag === 1) && Number.isFinite(gradientNorm) ? undefined : (bad ?? 'loss');
  return { loss, correct, gradientNorm, ...(nonFinite === undefined ? {} : { nonFinite }) };
}

/** The first node whose output is NaN or infinite in a pass that failed. Nothing is written. */
export function firstNonFinite(run: Run, runner: GraphRunner, lowered: LoweredProgram, x: Float32Array): string | undefined {
  const { tf } = run;
  const { inputShape } = lowered;
  let found: string | undefined;
  tf.tidy(() => {
    runner.run(run, tf.tensor(x.slice(), [x.length / elementCount(inputShape), ...inputShape]), (node, value) => {
      found ??= tf.all(tf.isFinite(value)).dataSync()[0] === 1 ? undefined : node;
    });
  });
  run.discard();
  return found;
}
