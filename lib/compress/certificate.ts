import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import type { Technique } from './chains.js';
import { countDistinct, slicesOf } from './clustering/channels.js';
import { materializeWeight } from './materialize.js';
import { foldedPairs } from './quantization/normalize-signs.js';
import { kernelOf, weightedNodes } from './registry.js';
import { clusteredAs, weightOf } from './state.js';

/** What holds for the weight that one layer uses, before quantization. */
export interface WeightCertificate {
  /** Node name. */
  readonly layer: string;
  /** `<layer>/kernel`. */
  readonly parameter: string;
  readonly technique: Technique;
  readonly weights: number;
  /** Zeros in the used weight. */
  readonly zeros: number;
  /** Zeros that the mask demands. */
  readonly maskedZeros: number;
  /** Every masked weight is zero. */
  readonly zerosKept: boolean;
  /** Distinct values in the whole kernel. */
  readonly distinctValues: number;
  /** Distinct values in the channel that has most; equals `distinctValues` for one codebook. */
  readonly distinctValuesPerCodebook: number;
  /** K: what a codebook may hold (now, or when it was stripped). Absent: the weight is not clustered. */
  readonly clusters?: number;
  /** One codebook per output channel. */
  readonly perChannel: boolean;
  /** No codebook holds more than K values. */
  readonly clustersKept: boolean;
  /** Channels that a following batch norm scales by γ < 0: folding negates their codes. */
  readonly negativeScales: number;
}

/**
 * Machine-readable proof, layer by layer, that the zeros were kept and codebooks hold at most K values, in the training state:
 * the used weight is computed from the state and counted.
 *
 * @returns one entry per layer with a kernel, in graph order
 * @throws {@link PcqatError} `ERR_INVARIANT` when chain state is missing
 * @example
 * ```ts
 * import { certifyWeights, clusterWeights, zoo } from 'pcqat';
 * const clustered = clusterWeights(zoo.lenet5(), { numberOfClusters: 8 });
 * console.log(certifyWeights(clustered).every((layer) => layer.zerosKept && layer.clustersKept)); // true
 * ```
 */
export function certifyWeights(model: Model): WeightCertificate[] {
  const norms = new Map(foldedPairs(model).map(({ layer, batchNorm }) => [layer.name, batchNorm.name]));
  return weightedNodes(model).map((node) => {
    const parameter = kernelOf(node);
    const norm = norms.get(node.name);
    const negativeScales = norm === undefined ? 0 : weightOf(model, `${norm}/gamma`).data.filter((value) => value < 0).length;
    return { layer: node.name, parameter, ...certifyWeight(model, parameter), negativeScales };
  });
}

/**
 * Throws for the first layer that lost a zero or has more values than clusters.
 *
 * @throws {@link PcqatError} `ERR_INVARIANT` that names the layer
 * @example
 * ```ts
 * import { assertCertificate, certifyWeights, pruneLowMagnitude, zoo } from 'pcqat';
 * assertCertificate(certifyWeights(pruneLowMagnitude(zoo.lenet5())));
 * ```
 */
export function assertCertificate(certificates: readonly WeightCertificate[]): void {
  for (const { layer, zerosKept, clustersKept, zeros, maskedZeros, distinctValuesPerCodebook, clusters } of certificates) {
    if (!zerosKept) throw broken(layer, `${maskedZeros} weights are masked but only ${zeros} are zero`);
    if (!clustersKept) throw broken(layer, `a codebook has ${distinctValuesPerCodebook} values but ${clusters} clusters`);
  }
}

function certifyWeight(model: Model, parameter: string): Omit<WeightCertificate, 'layer' | 'parameter' | 'negativeScales'> {
  const chain = model.chains.get(parameter);
  const { channels } = weightOf(model, parameter);
  const used = materializeWeight(model, parameter);
  const mask = chain?.mask === undefined ? undefined : model.tensors.get(`${parameter}:mask`)?.data;
  const masked = mask?.filter((keep) => keep === 0).length ?? 0;
  const record = model.tensors.get(`${parameter}:${clusteredAs}`)?.data;
  const perChannel = chain?.codebook?.perChannel ?? record?.[1] === 1;
  const centroids = chain?.codebook === undefined ? undefined : model.tensors.get(`${parameter}:centroids`)?.shape.at(-1);
  const clusters = centroids ?? record?.[0];
  const distinctPerCodebook = Math.max(...slicesOf(used, perChannel ? channels : 0).map((slice) => countDistinct(slice)));
  return {
    technique: chain?.technique ?? 'float',
    weights: used.length,
    zeros: used.filter((value) => value === 0).length,
    maskedZeros: masked,
    zerosKept: mask === undefined || used.every((value, i) => mask[i] !== 0 || value === 0),
    distinctValues: countDistinct(used),
    distinctValuesPerCodebook: distinctPerCodebook,
    ...(clusters === undefined ? {} : { clusters }),
    perChannel,
    clustersKept: clusters === undefined || distinctPerCodebook <= clusters,
  };
}

function broken(layer: string, message: string): PcqatError {
  return new PcqatError('ERR_INVARIANT', message, {
    where: `layer '${layer}'`,
    remedy:
      'If the weight was trained after its chain was stripped, apply a preserving scheme first; else please report this with the model.',
  });
}
