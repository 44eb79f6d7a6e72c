import { expect } from 'chai';
import { describe, it } from 'mocha';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { sparsityOf } from '#lib/compress/sparsity/metrics.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { firstRows } from '#lib/data/arrays.js';
import { loadFsdd } from '#lib/data/fsdd.js';
import type { Dataset } from '#lib/data/types.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { Model } from '#lib/graph/model.js';
import { dsCnn } from '#lib/graph/zoo/index.js';
import { fit } from '#lib/train/fit.js';
import { adam } from '#lib/train/optimizers.js';
import { runLiteRt } from '../support/litert.js';
import { expectOperatorsClose } from '../support/single-operators.js';
import { runTflite29 } from '../support/tflite29.js';

const ROWS = 24;
const quiet = { onNotice: () => undefined };

describe('trained DS-CNN-S on real recordings, every kind of export, in foreign runtimes', function () {
  this.timeout(180_000);
  const exported = new Map<string, TfliteModel>();
  let test: Dataset;

  before(async () => {
    const splits = await loadFsdd();
    const train = firstRows(splits.train, 512);
    test = firstRows(splits.test, ROWS);
    const training = { train, epochs: 2, batchSize: 64, optimizer: adam({ learningRate: 2e-3 }) };
    const trained = async (model: Model): Promise<Model> => {
      await fit(model, training);
      return model;
    };
    const float = await trained(dsCnn({ size: 'S', classes: 10 }));
    const pruned = stripPruning(
      await trained(pruneLowMagnitude(float, { schedule: constantSparsity({ targetSparsity: 0.5, frequency: 4 }), ...quiet })),
    );
    expect(sparsityOf(pruned.tensors.get('block1_pw/kernel')!.data)).to.be.at.least(0.5);
    const clustered = await trained(clusterWeights(pruned, { numberOfClusters: 16, preserveSparsity: true, ...quiet }));
    const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true });
    const kinds = {
      float,
      pruned,
      clustered: stripClustering(clustered),
      qat: await trained(quantizeModel(float, quiet)),
      pcqat: await trained(quantizeModel(stripClustering(clustered), { scheme, ...quiet })),
    };
    for (const [kind, model] of Object.entries(kinds)) exported.set(kind, await convertToInt8(model, { representativeData: train }));
  });

  for (const kind of ['float', 'pruned', 'clustered', 'qat', 'pcqat']) {
    it(`${kind}: each operator on its real input gives our bytes; the whole model our classes`, async () => {
      const file = encodeTflite(exported.get(kind)!);
      const model = readTflite(file);
      const input = model.tensors[model.inputs[0]!]!;
      const x = Int8Array.from(test.x, (value) => Math.min(Math.max(Math.round(value / input.scale[0]!) + input.zeroPoint[0]!, -128), 127));
      const y = await expectOperatorsClose(model, x, ROWS);
      const classes = (output: Int8Array): number[] =>
        Array.from({ length: ROWS }, (_, row) => {
          const scores = output.subarray(row * 10, row * 10 + 10);
          return scores.indexOf(Math.max(...scores));
        });
      for (const whole of [runTflite29(file, x), await runLiteRt(file, input.shape, x)]) {
        expect(Math.max(...Array.from(whole, (value, i) => Math.abs(value - y[i]!)))).to.be.at.most(3);
        const different = classes(whole).filter((label, row) => label !== classes(y)[row]);
        expect(different.length).to.be.at.most(1); // two classes may be one step apart
      }
    });
  }
});
