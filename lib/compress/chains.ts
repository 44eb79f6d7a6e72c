import type { PruningPolicy } from './sparsity/types.js';

/** The techniques; each is a weight chain (docs/architecture.md, "The weight chain"). */
export type Technique = 'float' | 'prune' | 'cluster' | 'qat' | 'pqat' | 'cqat' | 'pcqat';

/** Zero mask of a weight. State: `<weight>:mask`, `u8`, 1 = keep. */
export interface ChainMask {
  /** Training writes `w ⊙ M` into the stored weight (pruning, PCQAT). */
  readonly writeBack: boolean;
  /** The gradient is masked too (PQAT, clustering); otherwise dense. */
  readonly maskGradient: boolean;
  /**
   * When the mask is recomputed from the weight. Absent: it is fixed. State: `<weight>:pruning_step` (`i32` `[1]`, −1 = never trained),
   * `<weight>:threshold` (`f32` `[1]`).
   */
  readonly pruning?: PruningPolicy;
}

/**
 * Shared values of a weight. State: `<weight>:centroids` (`[K]` or `[channels, K]`), `<weight>:indices` (`i32`). A stripped weight keeps
 * `<weight>:clustered_as` (`i32` `[2]`: K, 1 if per channel) so that `quantizeApply` preserves it the same way.
 */
export interface ChainCodebook {
  readonly perChannel: boolean;
  /** Pin centroid `<weight>:zero_index` (`i32`, `[1]` or `[channels]`, −1 = none) to zero. Absent: nothing is pinned. */
  readonly zeroPin?: 'index' | 'equal';
  readonly aggregation: 'sum' | 'average';
  /**
   * Centroids lie on the grid of the code scale and neither they nor the assignment train any more (`projectCodebooks`). Absent: `false`.
   */
  readonly frozen?: boolean;
}

/** Weight fake quantization, symmetric, narrow, LastValue. State: `<weight>:min`, `<weight>:max` (`[1]` or `[channels]`). */
export interface ChainFakeQuant {
  readonly bits: number;
  /** Per last axis of the weight. */
  readonly perChannel: boolean;
}

/** How a stored weight becomes the weight that the layer uses: mask → codebook → fake quantization, each optional. */
export interface WeightChain {
  readonly technique: Technique;
  readonly mask?: ChainMask;
  readonly codebook?: ChainCodebook;
  readonly fakeQuant?: ChainFakeQuant;
}

/** Fake quantization of a node's output, asymmetric, per tensor. State: `<node>:min`, `<node>:max` (`[1]`). */
export interface ActivationQuantizer {
  readonly bits: number;
  readonly update: 'movingAverage' | 'runningMinMax' | 'none';
  /** Of the moving average. */
  readonly decay: number;
  /**
   * `data`: the range starts as 0/0 ("not calibrated") and `fit` or `calibrate` takes it from data first (fixes W21, W22).
   * `reference`: ±6 (input: 0/0), as the reference does.
   */
  readonly rangeInit: 'data' | 'reference';
}
