import type { PruningPolicy } from '../compress/sparsity/types.js';
import { maskDecision, updateMask } from '../compress/sparsity/mask.js';
import { PcqatError } from '../errors.js';
import type { Model, Tensor } from '../graph/model.js';
import { loadBinding } from '../native.js';
import type { TrainingSession } from './training-session.js';

interface PrunedWeight {
  readonly weight: string;
  readonly policy: PruningPolicy;
  readonly step: Tensor;
  readonly threshold: Tensor;
  readonly mask: Tensor;
}

/** Refreshes masks on schedule while a model trains (spec 1.6), and keeps stored weights sparse between epochs (spec 1.7). */
export class Pruner {
  readonly #model: Model;
  readonly #session: TrainingSession;
  readonly #pruned: readonly PrunedWeight[];
  readonly #written: readonly string[];
  #undo: (() => void)[] = [];

  /** @param weights Weights that have a chain in the session. */
  constructor(model: Model, session: TrainingSession, weights: readonly string[]) {
    this.#model = model;
    this.#session = session;
    this.#pruned = weights.flatMap((weight) => {
      const policy = model.chains.get(weight)?.mask?.pruning;
      if (policy === undefined) return [];
      const state = {
        step: this.#state(weight, 'pruning_step'),
        threshold: this.#state(weight, 'threshold'),
        mask: this.#state(weight, 'mask'),
      };
      return [{ weight, policy, ...state }];
    });
    this.#written = weights.filter((weight) => model.chains.get(weight)?.mask?.writeBack === true);
    // −1 = never trained. The first step that the schedule sees is 1.
    for (const { step } of this.#pruned) if (step.data[0] === -1) step.data[0] = 0;
  }

  /** Advances the pruning steps and recomputes the masks that are due, from the present, un-masked weights. */
  beforeStep(): void {
    this.#undo = [];
    for (const { weight, policy, step, threshold, mask } of this.#pruned) {
      const next = (step.data[0] ?? 0) + 1;
      const before = { threshold: threshold.data[0] ?? 0, mask: mask.data };
      step.data[0] = next;
      const decision = maskDecision(policy, next);
      if (decision.shouldPrune) {
        before.mask = mask.data.slice();
        this.#session.pull(weight);
        const update = updateMask(this.#tensor(weight), policy, decision.sparsity);
        mask.data.set(update.mask);
        threshold.data[0] = update.threshold;
        this.#session.push(`${weight}:mask`);
      }
      this.#undo.push(() => {
        step.data[0] = next - 1;
        if (!decision.shouldPrune) return;
        mask.data.set(before.mask);
        threshold.data[0] = before.threshold;
        this.#session.push(`${weight}:mask`);
      });
    }
  }

  /** Takes back what the last {@link beforeStep} did, because the step did not happen. */
  undo(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }

  /** Zeroes masked weights in the session, so that every model between epochs is sparse (W26). */
  endEpoch(): void {
    for (const weight of this.#written) {
      this.#session.pull(weight);
      loadBinding().applyMask(this.#tensor(weight).data as Float32Array, this.#tensor(`${weight}:mask`).data as Uint8Array);
      this.#session.push(weight);
    }
  }

  #state(weight: string, state: string): Tensor {
    return this.#tensor(`${weight}:${state}`);
  }

  #tensor(name: string): Tensor {
    const tensor = this.#model.tensors.get(name);
    if (tensor === undefined) {
      throw new PcqatError('ERR_GRAPH', 'the model lacks this tensor', {
        where: `tensor '${name}'`,
        remedy: 'Prune with pruneLowMagnitude.',
      });
    }
    return tensor;
  }
}
