import { expect } from 'chai';
import { assertCertificate, certifyWeights } from '#lib/compress/certificate.js';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { stripClusteringCqat } from '#lib/compress/quantization/cqat.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { expectCode } from '../support/errors.js';
import { smallCnn, valuesOf, zeroHalf } from '../support/models.js';

const silent = { onNotice: () => undefined };

function stripped() {
  const model = smallCnn();
  for (const layer of ['conv1', 'conv2', 'logits']) zeroHalf(model, `${layer}/kernel`);
  return stripClustering(clusterWeights(model, { numberOfClusters: 5, preserveSparsity: true, ...silent }));
}

describe('certificate', () => {
  it('counts zeros and values of every layer in the training state', () => {
    const pcqat = quantizeModel(stripped(), { scheme: new Default8BitClusterPreserveQuantizeScheme(), ...silent });
    const certificates = certifyWeights(pcqat);
    expect(certificates.map(({ layer, technique }) => [layer, technique])).to.deep.equal([
      ['conv1', 'pcqat'],
      ['dw', 'qat'],
      ['conv2', 'pcqat'],
      ['logits', 'pcqat'],
    ]);
    const [conv1] = certificates;
    expect(conv1).to.include({
      parameter: 'conv1/kernel',
      weights: 162,
      zerosKept: true,
      clustersKept: true,
      perChannel: false,
      negativeScales: 0,
    });
    expect(conv1.zeros).to.equal(conv1.maskedZeros).and.at.least(81);
    expect(conv1.clusters).to.equal(conv1.distinctValues);
    assertCertificate(certificates);
    assertCertificate(certifyWeights(stripClusteringCqat(pcqat)));
  });

  it('a float model claims nothing', () => {
    const [conv1] = certifyWeights(smallCnn());
    expect(conv1).to.include({ technique: 'float', zeros: 0, maskedZeros: 0, clustersKept: true });
    expect(conv1).to.not.have.property('clusters');
  });

  it('names the layer when values moved apart after stripping', () => {
    const model = stripped();
    valuesOf(model, 'conv2/kernel').forEach((_, i, data) => (data[i] += i));
    expectCode(() => assertCertificate(certifyWeights(model)), 'ERR_INVARIANT', /layer 'conv2'/);
  });

  it('names the layer when a zero was lost', () => {
    const [first, ...rest] = certifyWeights(stripped());
    expectCode(() => assertCertificate([{ ...first, zerosKept: false }, ...rest]), 'ERR_INVARIANT', /layer 'conv1'/);
  });

  it('counts negative batch norm scales', () => {
    const model = smallCnn();
    valuesOf(model, 'bn2/gamma').set([-1, -2]);
    expect(certifyWeights(model).map((entry) => entry.negativeScales)).to.deep.equal([0, 2, 0, 0]);
  });
});
