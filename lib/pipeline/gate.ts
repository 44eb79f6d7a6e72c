import { assertCertificate, certifyWeights, type WeightCertificate } from '../compress/certificate.js';
import { PcqatError } from '../errors.js';
import type { TfliteLayerSummary } from '../formats/tflite/inspect.js';
import type { Model } from '../graph/model.js';
import type { ColumnName } from './recipe.js';
import type { LayerTargets } from './stages.js';

const broken = (column: ColumnName, layer: string, message: string, remedy: string): PcqatError =>
  new PcqatError('ERR_INVARIANT', message, { where: `column ${column}, layer '${layer}'`, remedy });

/** More weights than a mask leaves by rounding are alive. */
function checkSparsity(column: ColumnName, { layer, weights, zeros }: WeightCertificate, target: number): void {
  const expected = weights - Math.max(1, Math.round(weights * (1 - target)));
  // rounding of the target to f32 may move the count by one
  if (zeros < expected - 1) {
    const remedy = 'Give the pruning stage more epochs, or a lower sparsity.';
    throw broken(column, layer, `${zeros} of ${weights} weights are zero but ${expected} were asked for`, remedy);
  }
}

/**
 * Proves that a column is what it says, in the trained model and in the exported file read back: pruned layers have their
 * zeros, no zero was lost in the file, and with a cluster-preserving technique a layer has at most K codes.
 *
 * @param model - the trained model, its chains still on
 * @param pruned - whether the column was pruned
 * @throws PcqatError `ERR_INVARIANT` that names the layer
 */
export function checkColumn(
  column: ColumnName,
  model: Model,
  layers: readonly TfliteLayerSummary[],
  targets: LayerTargets,
  pruned: boolean,
): void {
  const certificates = certifyWeights(model);
  assertCertificate(certificates);
  for (const certificate of certificates) {
    const { layer, weights, zeros, clusters, technique, perChannel, negativeScales } = certificate;
    const inFile = layers.find(({ name }) => name === layer);
    if (inFile === undefined || inFile.weights !== weights) {
      throw broken(column, layer, 'its weights are not in the exported file as they were trained', 'Please report this with the model.');
    }
    const target = pruned ? (targets.sparsity.get(layer) ?? 0) : 0;
    if (target > 0) {
      checkSparsity(column, certificate, target);
      const kept = Math.round(inFile.zeros * weights);
      if (kept < zeros)
        throw broken(column, layer, `${zeros} weights are zero but only ${kept} of them in the file`, 'Please report this with the model.');
    }
    const preserved = technique === 'cqat' || technique === 'pcqat';
    const codes = perChannel ? inFile.codesPerChannelMax : inFile.codes;
    if (preserved && clusters !== undefined && codes > clusters) {
      const cause = negativeScales > 0 ? `; ${negativeScales} channels are scaled by a negative γ, which negates their codes` : '';
      throw broken(
        column,
        layer,
        `it has ${codes} distinct codes but ${clusters} clusters${cause}`,
        'Use a lower learning rate in the last stage, or weightScale tensor.',
      );
    }
  }
}
