import type { ChainCodebook, WeightChain } from '../compress/chains.js';
import { quantizeWeight } from './fake-quant.js';
import type { Run } from './run.js';
import { outerAxes, type TfTensor } from './tfjs.js';

/** The centroids with the pinned one at 0, `[K]` or `[channels, K]`. */
function pinnedCentroids(run: Run, weight: string, codebook: ChainCodebook): TfTensor {
  const { tf } = run;
  const centroids = run.read(`${weight}:centroids`);
  if (codebook.zeroPin === undefined) return centroids;
  const k = centroids.shape.at(-1) ?? 1;
  const index = run.read(`${weight}:zero_index`); // −1: a row of zeros
  const isPinned = tf.reshape(tf.cast(tf.oneHot(index as never, k), 'bool'), centroids.shape);
  if (codebook.zeroPin === 'index') return tf.where(isPinned, tf.zerosLike(centroids), centroids);
  // Every centroid equal to the pinned one, as far as there is one.
  const value = tf.sum(tf.where(isPinned, centroids, tf.zerosLike(centroids)), -1, true);
  return tf.where(tf.equal(centroids, value), tf.zerosLike(centroids), centroids);
}

/** Which centroid each weight is nearest to, one-hot: `[…, K]`. Ties go to the lowest index, as `argMin` does. */
function assign(run: Run, weight: string, x: TfTensor, centroids: TfTensor): TfTensor {
  const { tf } = run;
  const indices = tf.argMin(tf.abs(tf.sub(tf.expandDims(x, -1), centroids)), -1);
  run.write(`${weight}:indices`, indices);
  return tf.cast(tf.oneHot(indices as never, centroids.shape.at(-1) ?? 1), 'float32');
}

/**
 * The weight that a layer uses, from the stored one: mask → nearest centroid → fake quantization, with the gradients of
 * docs/architecture.md ("The weight chain"): straight through to the weight, summed into the centroids.
 */
export function usedWeight(run: Run, weight: string, chain: WeightChain | undefined): TfTensor {
  const { tf } = run;
  const stored = run.readStored(weight);
  if (chain === undefined) return stored;
  const mask = chain.mask === undefined ? undefined : run.read(`${weight}:mask`);
  const masked = mask === undefined ? stored : tf.where(mask, stored, tf.zerosLike(stored)); // +0, not −0
  if (run.training && chain.mask?.writeBack === true) run.write(weight, masked);
  let x = masked;
  let assigned: TfTensor | undefined;
  if (chain.codebook !== undefined) {
    const centroids = pinnedCentroids(run, weight, chain.codebook);
    if (run.training && chain.codebook.zeroPin !== undefined) run.write(`${weight}:centroids`, centroids);
    assigned = assign(run, weight, masked, centroids);
    // One term of the sum is not zero, so it is the centroid to the bit.
    x = tf.sum(tf.mul(assigned, centroids), -1);
  }
  const quantized = chain.fakeQuant === undefined ? undefined : quantizeWeight(run, weight, x, chain.fakeQuant);
  const used = quantized?.value ?? x;
  if (mask !== undefined && assigned !== undefined) noteViolations(run, weight, mask, used);
  return withGradients(run, weight, chain, { used, passes: quantized?.passes, mask, assigned });
}

/** A codebook without a zero would revive masked weights. Weights that are not finite are another matter. */
function noteViolations(run: Run, weight: string, mask: TfTensor, used: TfTensor): void {
  const { tf } = run;
  const alive = tf.logicalAnd(tf.logicalNot(mask), tf.notEqual(used, 0));
  const count = tf.sum(tf.cast(tf.logicalAnd(alive, tf.isFinite(used)), 'float32'));
  run.violations.set(weight, tf.keep(count));
}

interface Computed {
  readonly used: TfTensor;
  /** Where fake quantization lets gradients through; absent: everywhere. */
  readonly passes: TfTensor | undefined;
  readonly mask: TfTensor | undefined;
  readonly assigned: TfTensor | undefined;
}

function withGradients(run: Run, weight: string, chain: WeightChain, { used, passes, mask, assigned }: Computed): TfTensor {
  const { tf } = run;
  const inputs = [run.readStored(weight), ...(assigned === undefined ? [] : [run.readStored(`${weight}:centroids`)])];
  const gradientMask = chain.mask?.maskGradient === true ? mask : undefined;
  const kept = [passes, assigned, gradientMask].filter((tensor) => tensor !== undefined);
  return tf.customGrad((...operands) => {
    const save = operands.at(-1) as (tensors: TfTensor[]) => void;
    save(kept);
    const gradients = (dUsed: TfTensor, saved: TfTensor[]): TfTensor[] => {
      const find = (tensor: TfTensor | undefined): TfTensor | undefined => (tensor === undefined ? undefined : saved[kept.indexOf(tensor)]);
      const only = (where: TfTensor | undefined, d: TfTensor): TfTensor => (where === undefined ? d : tf.where(where, d, tf.zerosLike(d)));
      const d = only(find(passes), dUsed);
      const clusters = find(assigned);
      // The centroids see the gradient of every weight, also of masked ones (spec 2.5).
      const dCentroids = clusters === undefined || chain.codebook === undefined ? [] : [centroidGradient(run, chain.codebook, clusters, d)];
      return [only(find(gradientMask), d), ...dCentroids];
    };
    return {
      value: used.clone(),
      gradFunc: (dUsed: TfTensor, saved: TfTensor[]) => gradients(dUsed, saved),
    };
  })(...inputs);
}

/** Sum, or mean, of the gradients of the weights of each centroid: `[K]` or `[channels, K]`. */
function centroidGradient({ tf }: Run, codebook: ChainCodebook, assigned: TfTensor, d: TfTensor): TfTensor {
  const axes = codebook.perChannel ? outerAxes(d) : [...outerAxes(d), d.rank - 1];
  const sum = tf.sum(tf.mul(assigned, tf.expandDims(d, -1)), axes);
  return codebook.aggregation === 'sum' ? sum : tf.divNoNan(sum, tf.sum(assigned, axes));
}
