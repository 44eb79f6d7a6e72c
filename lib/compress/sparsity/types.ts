/** What a schedule says for one training step. */
export interface PruningDecision {
  readonly shouldPrune: boolean;
  /** Target sparsity, a fraction in [0, 1). */
  readonly sparsity: number;
}

/** Serializable schedule parameters; made by `constantSparsity` and `polynomialDecay`. */
export type PruningSchedule =
  | {
      readonly kind: 'constant';
      readonly targetSparsity: number;
      readonly beginStep: number;
      readonly endStep: number;
      readonly frequency: number;
    }
  | {
      readonly kind: 'polynomial';
      readonly initialSparsity: number;
      readonly finalSparsity: number;
      readonly beginStep: number;
      readonly endStep: number;
      readonly power: number;
      readonly frequency: number;
    };

/** When and how the mask of one weight is recomputed (spec 1.4, 1.5). */
export interface PruningPolicy {
  readonly schedule: PruningSchedule;
  /** Blocks of a rank-2 weight, default `[1, 1]`. */
  readonly blockSize: readonly [number, number];
  readonly blockPooling: 'AVG' | 'MAX';
  /** m zeros in every n consecutive values along the input axis; computed once, at the first step. */
  readonly mByN?: readonly [number, number];
  /**
   * Fraction of zeros (of all-zero blocks) that the weight had when pruning began. No mask update goes below it, so a
   * model that is sparser than the schedule asks stays as sparse as it is (fixes W25). Absent: 0.
   */
  readonly minimumSparsity?: number;
}
