import { PcqatError } from '../errors.js';

/** A loss to minimise; made by {@link softmaxCrossEntropy} or {@link meanSquaredError}. */
export type Loss = { readonly kind: 'softmaxCrossEntropy'; readonly labelSmoothing: number } | { readonly kind: 'meanSquaredError' };

/**
 * Cross-entropy of the softmax of the model's logits, mean over the batch. Labels are class numbers (`Int32Array`) or rows of
 * probabilities (`Float32Array`). A softmax at the end of the model is left out: the loss works on its input.
 *
 * @param options.labelSmoothing - ε in [0, 1): the target is (1 − ε) · label + ε / classes (Szegedy et al. 2016). Default 0.
 * @throws PcqatError `ERR_OPTION` for ε outside [0, 1).
 *
 * @example
 * ```ts
 * import { softmaxCrossEntropy } from 'pcqat';
 * const loss = softmaxCrossEntropy({ labelSmoothing: 0.1 });
 * console.log(loss.kind); // softmaxCrossEntropy
 * ```
 */
export function softmaxCrossEntropy(options: { readonly labelSmoothing?: number } = {}): Loss {
  const { labelSmoothing = 0 } = options;
  if (!(labelSmoothing >= 0 && labelSmoothing < 1)) {
    throw new PcqatError('ERR_OPTION', `labelSmoothing is ${String(labelSmoothing)} but must be in [0, 1)`, { where: 'labelSmoothing' });
  }
  return { kind: 'softmaxCrossEntropy', labelSmoothing };
}

/**
 * Mean of (prediction − target)² over the batch and the outputs. Targets are rows of the model's output size (`Float32Array`).
 *
 * @example
 * ```ts
 * import { meanSquaredError } from 'pcqat';
 * console.log(meanSquaredError().kind); // meanSquaredError
 * ```
 */
export function meanSquaredError(): Loss {
  return { kind: 'meanSquaredError' };
}
