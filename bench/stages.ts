import { nativeInfo } from '#lib/native.js';
import type { SessionOptions } from '../binding.js';
import type { Model } from '#lib/graph/model.js';
import { pcqatModel, qatModel } from './nets.js';

/** A way to train a network. */
export interface Stage {
  readonly name: string;
  /** From the float model; ranges of activations need not be set. */
  model(float: Model): Model;
  /** Beyond those of every stage; handed to the native session, and to `fit` under the same names. */
  readonly options?: Partial<SessionOptions>;
}

/** The stages that are measured, in the order of the tables. */
export const STAGES: readonly Stage[] = [
  { name: 'float', model: (float) => float },
  { name: 'qat', model: qatModel },
  { name: 'pcqat', model: pcqatModel },
  { name: 'pcqat-bf16', model: pcqatModel, options: { gradients: 'bf16' } },
];

/** The stages that this CPU can run. */
export const supportedStages = (): readonly Stage[] =>
  STAGES.filter(({ options }) => options?.gradients !== 'bf16' || nativeInfo().isa === 'avx512bf16');

/** The members of `all` with the names in the comma-separated `wanted`; all when it is not given. @throws Error for an unknown name. */
export function select<T extends { readonly name: string }>(what: string, all: readonly T[], wanted: string | undefined): readonly T[] {
  if (wanted === undefined) return all;
  const names = wanted.split(',');
  const unknown = names.filter((name) => !all.some((one) => one.name === name));
  if (unknown.length > 0)
    throw new Error(`--${what}: there is no ${unknown.join(', ')}; there are ${all.map(({ name }) => name).join(', ')}`);
  return all.filter(({ name }) => names.includes(name));
}
