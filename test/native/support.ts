import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { PcqatError } from '#lib/errors.js';
import { randomNumbers } from '../support/random.js';
import type {
  Binding,
  Instruction,
  LossSpec,
  OptimizerSpec,
  ProgramSpec,
  Session,
  SessionOptions,
  TensorSpec,
  ValueSpec,
  WeightChainSpec,
} from '../../binding.js';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const addonPath = process.env.PCQAT_ADDON ?? path.join(root, 'build/Release/pcqat.node');
export const binding = createRequire(import.meta.url)(addonPath) as Binding;
binding.setErrorClass(PcqatError as unknown as new (code: string, message: string) => Error);

/** `n` seeded values in [-scale, scale). */
export function uniform(n: number, seed: number, scale = 1): Float32Array {
  const next = randomNumbers(seed);
  return Float32Array.from({ length: n }, () => (2 * next() - 1) * scale);
}

export const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export type TensorData = Float32Array | Uint8Array | Int32Array;
type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Distribute<T> = T extends unknown ? Omit<T, 'name' | 'input' | 'output'> : never;

/** Builds a ProgramSpec together with the data of its tensors. */
export class Net {
  readonly tensors: TensorSpec[] = [];
  readonly data: TensorData[] = [];
  readonly values: ValueSpec[] = [];
  readonly instructions: Instruction[] = [];
  readonly chains: WeightChainSpec[] = [];
  loss: LossSpec | undefined;
  output = 0;

  constructor(inputShape: readonly number[]) {
    this.values.push({ name: 'x', shape: inputShape });
  }

  /** A trainable f32 tensor. */
  parameter(name: string, shape: readonly number[], data: Float32Array, weightDecay = false): number {
    this.data.push(data);
    return this.tensors.push({ name, shape, dtype: 'f32', trainable: true, weightDecay }) - 1;
  }

  state(name: string, shape: readonly number[], data: TensorData): number {
    this.data.push(data);
    const dtype = data instanceof Float32Array ? 'f32' : data instanceof Uint8Array ? 'u8' : 'i32';
    return this.tensors.push({ name, shape, dtype, trainable: false }) - 1;
  }

  /** Appends an instruction and returns its output value. */
  add(input: number, shape: readonly number[], rest: Distribute<Instruction>): number {
    const name = `layer${this.instructions.length}`;
    const output = this.values.push({ name: `${name}:out`, shape }) - 1;
    this.instructions.push({ name, input, output, ...rest } as Instruction);
    this.output = output;
    return output;
  }

  dense(input: number, units: number, seed: number, extra: { activation?: 'relu' | 'relu6'; bias?: boolean; scale?: number } = {}): number {
    const features = product(this.values[input].shape);
    const { activation, bias = true, scale = 0.5 } = extra;
    const n = this.instructions.length;
    const kernel = this.parameter(`dense${n}/kernel`, [features, units], uniform(features * units, seed, scale));
    return this.add(input, [units], {
      op: 'dense',
      kernel,
      ...(bias ? { bias: this.parameter(`dense${n}/bias`, [units], uniform(units, seed + 1, 0.3)) } : {}),
      ...(activation ? { activation } : {}),
    });
  }

  batchNorm(input: number, seed: number, extra: Partial<Mutable<Extract<Instruction, { op: 'batchNorm' }>>> = {}): number {
    const shape = this.values[input].shape;
    const c = shape[shape.length - 1];
    const n = this.instructions.length;
    return this.add(input, shape, {
      op: 'batchNorm',
      gamma: this.parameter(
        `bn${n}/gamma`,
        [c],
        uniform(c, seed, 0.5).map((v) => v + 1),
      ),
      beta: this.parameter(`bn${n}/beta`, [c], uniform(c, seed + 1, 0.5)),
      movingMean: this.state(`bn${n}/moving_mean`, [c], uniform(c, seed + 2, 0.2)),
      movingVariance: this.state(
        `bn${n}/moving_variance`,
        [c],
        uniform(c, seed + 3, 0.2).map((v) => v + 1),
      ),
      momentum: 0.9,
      epsilon: 1e-3,
      ...extra,
    });
  }

  reshape(input: number, shape: readonly number[]): number {
    return this.add(input, shape, { op: 'reshape' });
  }

  crossEntropy(logits: number, extra: { labels?: 'sparse' | 'dense'; labelSmoothing?: number } = {}): this {
    this.loss = { kind: 'softmaxCrossEntropy', logits, labels: 'sparse', ...extra };
    return this;
  }

  meanSquaredError(prediction: number): this {
    this.loss = { kind: 'meanSquaredError', prediction };
    return this;
  }

  get spec(): ProgramSpec {
    const { tensors, values, instructions, chains, output, loss } = this;
    return { tensors, values, instructions, chains, input: 0, output, ...(loss ? { loss } : {}) };
  }

  session(options: Partial<SessionOptions> = {}): Session {
    const session = new binding.Session(this.spec, { maxBatch: 8, training: true, threads: 1, ...options });
    this.data.forEach((data, tensor) => session.setTensor(tensor, data));
    return session;
  }

  tensor(name: string): number {
    const index = this.tensors.findIndex((t) => t.name === name);
    if (index < 0) throw new Error(`no tensor ${name}`);
    return index;
  }
}

export const sgd: OptimizerSpec = { kind: 'sgd', momentum: 0, nesterov: false };
export const adam: OptimizerSpec = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };

/** Largest absolute difference. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; ++i) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  return worst;
}

/** Everything a session remembers: tensors and slots. */
export function snapshot(net: Net, session: Session, slots: number): number[][] {
  const out: number[][] = [];
  net.tensors.forEach((tensor, index) => {
    out.push([...session.getTensor(index)]);
    if (tensor.trainable) for (let s = 0; s < slots; ++s) out.push([...session.getSlot(index, s)]);
  });
  return out;
}
