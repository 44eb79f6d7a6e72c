import { certifyWeights, type WeightCertificate } from '../compress/certificate.js';
import { PcqatError } from '../errors.js';
import { codebookOf, type FileContent, type LayerContent } from '../formats/certificate/describe.js';
import type { CertifiedLayer } from '../formats/certificate/schema.js';
import type { Model } from '../graph/model.js';
import type { LayerDifference } from './simulation.js';

/**
 * The layers of a file with what training says about them.
 *
 * @throws PcqatError `ERR_INVARIANT` naming a layer where the file is not the model's
 */
export function certifyLayers(model: Model, content: FileContent, differences: readonly LayerDifference[]): CertifiedLayer[] {
  const trained = new Map(certifyWeights(model).map((weight) => [weight.layer, weight]));
  for (const { layer, weights } of trained.values()) {
    if (content.layers.some(({ name, weights: inFile }) => name === layer && inFile === weights)) continue;
    throw new PcqatError('ERR_INVARIANT', `its ${weights} weights are not in the file`, {
      where: `layer '${layer}'`,
      remedy: 'Certify a file with the model that it was exported from.',
    });
  }
  return content.layers.map((layer) => certifyLayer(layer, trained.get(layer.name), differenceOf(layer, content, differences)));
}

/** A batch norm that stands alone becomes a layer that training does not know: float, no zeros promised. */
function certifyLayer(layer: LayerContent, trained: WeightCertificate | undefined, largestDifference: number | null): CertifiedLayer {
  const { name, operator, operatorIndex, weights, zerosAfter, codes, codesPerChannelMax, kernel, bias } = layer;
  const clusters = trained?.clusters;
  const granularity = clusters === undefined ? 'none' : trained?.perChannel === true ? 'channel' : 'tensor';
  return {
    name,
    operator,
    operatorIndex,
    technique: trained?.technique ?? 'float',
    granularity,
    clusters: clusters ?? null,
    weights,
    zerosBefore: trained?.zeros ?? 0,
    zerosAfter,
    codes,
    codesPerChannelMax,
    codebook: codebookOf(layer, granularity),
    largestDifference,
    kernel,
    ...(bias === undefined ? {} : { bias }),
  };
}

/** A dense layer with batch norm runs on an image of one pixel: the simulation has the tensor behind it, with the same values. */
function differenceOf({ operatorIndex }: LayerContent, { model }: FileContent, differences: readonly LayerDifference[]): number | null {
  const output = model.tensors[model.operators[operatorIndex]?.outputs[0] ?? -1]?.name.replace(/\/image$/, '');
  return differences.find(({ name }) => name === output)?.largestDifference ?? null;
}
