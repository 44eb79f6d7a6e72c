import { expect } from 'chai';
import { describe, it } from 'mocha';
import { assertCertificate, certifyWeights, type WeightCertificate } from '#lib/compress/certificate.js';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import type { Dataset } from '#lib/data/types.js';
import { evaluate } from '#lib/evaluate/evaluate.js';
import { evaluateInt8 } from '#lib/evaluate/int8.js';
import { inspectTflite, type TfliteLayerSummary } from '#lib/formats/tflite/inspect.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { Model } from '#lib/graph/model.js';
import { fit } from '#lib/train/fit.js';
import { adam } from '#lib/train/optimizers.js';
import { distinct, valuesOf } from '../support/models.js';
import { realData, smallClassifier } from '../support/small-images.js';

const CLUSTERS = 8;
const quiet = { onNotice: () => undefined };

interface Stage {
  readonly accuracy: number;
  /** By layer. */
  readonly weights: ReadonlyMap<string, WeightCertificate>;
}

interface Chain {
  readonly pruned: Stage;
  readonly clustered: Stage;
  readonly pcqat: Stage;
  readonly int8: { readonly accuracy: number; readonly layers: ReadonlyMap<string, TfliteLayerSummary> };
}

const sparsity = ({ weights }: Stage, layer: string): number => weights.get(layer)!.zeros / weights.get(layer)!.weights;
const values = ({ weights }: Stage, layer: string): number => weights.get(layer)!.distinctValues;

/** The test of the reference (spec 4.7): train, prune 50 %, cluster, PCQAT, convert. One epoch for each stage after the first. */
async function run(train: Dataset, test: Dataset, options: { preserveSparsity: boolean; layers?: readonly string[] }): Promise<Chain> {
  const { preserveSparsity, layers } = options;
  const learn = (model: Model, epochs = 1) =>
    fit(model, { train, epochs, batchSize: 32, optimizer: adam({ learningRate: 1e-3 }), seed: 1 });
  const stage = async (model: Model): Promise<Stage> => {
    const certificates = certifyWeights(model);
    assertCertificate(certificates);
    const weights = new Map(certificates.map((certificate) => [certificate.layer, certificate]));
    return { accuracy: (await evaluate(model, test)).accuracy, weights };
  };
  const model = smallClassifier(train.inputShape);
  await learn(model, 7);
  const pruning = pruneLowMagnitude(model, { schedule: constantSparsity({ targetSparsity: 0.5, frequency: 10 }), ...quiet });
  await learn(pruning);
  const pruned = stripPruning(pruning);
  const clustering = clusterWeights(pruned, {
    numberOfClusters: CLUSTERS,
    centroidInit: 'density-based',
    preserveSparsity,
    ...(layers === undefined ? {} : { layers }),
    ...quiet,
  });
  await learn(clustering);
  const clustered = stripClustering(clustering);
  const pcqat = quantizeModel(clustered, { scheme: new Default8BitClusterPreserveQuantizeScheme(), ...quiet });
  await learn(pcqat);
  const tflite = await convertToInt8(pcqat);
  const { layers: summaries } = inspectTflite(encodeTflite(tflite));
  return {
    pruned: await stage(pruned),
    clustered: await stage(clustered),
    pcqat: await stage(pcqat),
    int8: { accuracy: (await evaluateInt8(tflite, test)).accuracy, layers: new Map(summaries.map((layer) => [layer.name, layer])) },
  };
}

for (const { name, load } of realData) {
  describe(`prune, cluster, PCQAT on ${name}`, () => {
    let train: Dataset, test: Dataset;

    before(async function () {
      const data = await load();
      if (data === undefined) {
        console.log(`      skipped: ../shared with ${name} is not there`);
        this.skip();
      }
      ({ train, test } = data);
    });

    it('C51: clustered at K = 8, every way: accurate, at most 8 values in each codebook, biases free', async () => {
      const learn = (model: Model, epochs: number, learningRate: number) =>
        fit(model, { train, epochs, batchSize: 32, optimizer: adam({ learningRate }), seed: 1 });
      const model = smallClassifier(train.inputShape);
      await learn(model, 7, 1e-3);
      const biases = ['conv/bias', 'dense/bias'];
      const counts = (source: Model): number[] => biases.map((bias) => distinct(valuesOf(source, bias)));
      for (const centroidInit of ['density-based', 'kmeans++'] as const) {
        for (const [preserveSparsity, clusterPerChannel] of [
          [false, false],
          [false, true],
          [true, false],
          [true, true],
        ] as const) {
          const options = { numberOfClusters: CLUSTERS, centroidInit, preserveSparsity, clusterPerChannel, ...quiet };
          const clustering = clusterWeights(model, options);
          await learn(clustering, 4, 1e-5);
          const clustered = stripClustering(clustering);
          expect((await evaluate(clustered, test)).accuracy).to.be.above(0.8);
          for (const { layer, distinctValuesPerCodebook, perChannel } of certifyWeights(clustered)) {
            expect(distinctValuesPerCodebook, layer).to.be.within(2, CLUSTERS);
            expect(perChannel, layer).to.equal(clusterPerChannel && layer === 'conv');
          }
          expect(counts(clustered)).to.deep.equal(counts(model));
        }
      }
    });

    it('X11: accurate at every stage; zeros, values and codes kept to the file', async () => {
      const { pruned, clustered, pcqat, int8 } = await run(train, test, { preserveSparsity: true });
      for (const { accuracy } of [clustered, pcqat, int8]) expect(accuracy).to.be.above(0.8);
      expect(pcqat.accuracy).to.be.at.least(clustered.accuracy - 0.01);
      for (const layer of ['conv', 'dense']) {
        expect(values(clustered, layer)).to.be.within(2, CLUSTERS);
        expect(values(pcqat, layer)).to.equal(values(clustered, layer));
        expect(sparsity(pruned, layer)).to.be.at.least(0.5);
        expect(sparsity(pcqat, layer)).to.be.at.least(sparsity(clustered, layer));
        expect(sparsity(clustered, layer)).to.be.at.least(sparsity(pruned, layer));
        // What the reference's test leaves out: the codes.
        expect(int8.layers.get(layer)?.codes).to.be.within(2, CLUSTERS);
        expect(int8.layers.get(layer)?.zeros).to.be.at.least(sparsity(pcqat, layer));
      }
    });

    it('X12: without preserved sparsity the values stay, but zeros are lost', async () => {
      const { pruned, clustered, pcqat } = await run(train, test, { preserveSparsity: false });
      for (const layer of ['conv', 'dense']) {
        expect(values(pcqat, layer)).to.equal(values(clustered, layer));
        expect(sparsity(pcqat, layer)).to.be.below(sparsity(pruned, layer));
      }
    });

    it('X13: with only the convolution clustered it keeps its values and zeros', async () => {
      const { pruned, clustered, pcqat, int8 } = await run(train, test, { preserveSparsity: true, layers: ['conv'] });
      expect(values(clustered, 'conv')).to.be.within(2, CLUSTERS);
      expect(values(pcqat, 'conv')).to.equal(values(clustered, 'conv'));
      expect(sparsity(pcqat, 'conv')).to.be.at.least(sparsity(pruned, 'conv'));
      expect(int8.layers.get('conv')?.codes).to.be.within(2, CLUSTERS);
      expect(values(pcqat, 'dense')).to.be.above(CLUSTERS);
      for (const { accuracy } of [pcqat, int8]) expect(accuracy).to.be.above(0.8);
    });
  });
}
