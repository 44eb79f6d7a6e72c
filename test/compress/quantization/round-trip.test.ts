import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeAnnotateLayer, quantizeAnnotateModel, type AnnotatedModel } from '#lib/compress/quantization/annotate.js';
import { quantizeApply } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import {
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  Default8BitQuantizeScheme,
  type QuantizeScheme,
} from '#lib/compress/quantization/schemes.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { loadModel } from '#lib/formats/pcqat/load.js';
import { saveModel } from '#lib/formats/pcqat/save.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { Model } from '#lib/graph/model.js';
import { fit } from '#lib/train/fit.js';
import { adam } from '#lib/train/optimizers.js';
import { zeroHalf } from '../../support/models.js';
import { toyData, toyModel } from '../../train/toy.js';

const train = toyData(48);
const quiet = { onNotice: () => undefined };

/** Sparse and clustered, so that every scheme finds what it preserves. */
function clustered(): Model {
  const model = toyModel();
  for (const layer of ['conv', 'logits']) zeroHalf(model, `${layer}/kernel`);
  return stripClustering(clusterWeights(model, { numberOfClusters: 6, preserveSparsity: true, ...quiet }));
}

const schemes: readonly (readonly [name: string, scheme: QuantizeScheme, annotate?: (model: Model) => AnnotatedModel])[] = [
  ['QAT', new Default8BitQuantizeScheme()],
  ['QAT of one layer', new Default8BitQuantizeScheme(), (model) => quantizeAnnotateLayer(model, 'conv')],
  ['PQAT', new Default8BitPrunePreserveQuantizeScheme()],
  ['CQAT', new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false })],
  ['PCQAT', new Default8BitClusterPreserveQuantizeScheme()],
];

describe('saving quantized models', () => {
  let folder: string;
  before(async () => void (folder = await mkdtemp(path.join(tmpdir(), 'pcqat-'))));
  after(() => rm(folder, { recursive: true }));

  for (const [name, scheme, annotate = quantizeAnnotateModel] of schemes) {
    it(`Q16: ${name}: a trained model gives equal outputs, files and further training after it was loaded`, async () => {
      const options = { train, epochs: 1, batchSize: 16, optimizer: adam({ learningRate: 0.01 }), threads: 1 } as const;
      const model = quantizeApply(annotate(clustered()), { scheme, ...quiet });
      await fit(model, options);
      await saveModel(model, path.join(folder, name));
      const loaded = await loadModel(path.join(folder, name));
      expect(await predict(loaded, train.x)).to.deep.equal(await predict(model, train.x));
      const file = async (source: Model): Promise<Uint8Array> => encodeTflite(await convertToInt8(source, { representativeData: train }));
      expect(await file(loaded)).to.deep.equal(await file(model));
      for (const source of [model, loaded]) await fit(source, options);
      expect(await predict(loaded, train.x)).to.deep.equal(await predict(model, train.x));
    });
  }
});
