import { PcqatError } from '../errors.js';
import type { Tfjs, TfTensor } from './tfjs.js';

function missing(name: string): PcqatError {
  return new PcqatError('ERR_INTERNAL', 'the state has no such tensor', { where: `tensor '${name}'` });
}

/** One pass over a graph: what it reads and writes of the model's state. */
export class Run {
  readonly tf: Tfjs;
  readonly mode: 'inference' | 'training' | 'observe';
  readonly #state: ReadonlyMap<string, TfTensor>;
  /** Kept until {@link Run.discard} or until the session takes them. */
  readonly writes = new Map<string, TfTensor>();
  /** Masked weights that are not zero, by chain: a scalar each. */
  readonly violations = new Map<string, TfTensor>();
  /** The stream of dropout. */
  readonly step: number;
  readonly seed: number;
  /** Whether `observe` starts ranges anew. */
  readonly resetRanges: boolean;

  constructor(
    tf: Tfjs,
    state: ReadonlyMap<string, TfTensor>,
    options: Pick<Run, 'mode'> & Partial<Pick<Run, 'step' | 'seed' | 'resetRanges'>>,
  ) {
    this.tf = tf;
    this.#state = state;
    ({ mode: this.mode, step: this.step = 0, seed: this.seed = 0, resetRanges: this.resetRanges = false } = options);
  }

  get training(): boolean {
    return this.mode === 'training';
  }

  /** The tensor of the state as this pass has left it so far. */
  read(name: string): TfTensor {
    const tensor = this.writes.get(name) ?? this.#state.get(name);
    if (tensor === undefined) throw missing(name);
    return tensor;
  }

  /** The tensor of the state as it was before the pass: gradients are taken by it. */
  readStored(name: string): TfTensor {
    const tensor = this.#state.get(name);
    if (tensor === undefined) throw missing(name);
    return tensor;
  }

  write(name: string, value: TfTensor): void {
    this.writes.get(name)?.dispose();
    // A clone, since `value` may be an input of the pass or belong to a scope that ends before it.
    this.writes.set(name, this.tf.keep(value.clone()));
  }

  /** Frees what was written; the state stays as before the pass. */
  discard(): void {
    for (const tensor of [...this.writes.values(), ...this.violations.values()]) tensor.dispose();
    this.writes.clear();
    this.violations.clear();
  }
}
