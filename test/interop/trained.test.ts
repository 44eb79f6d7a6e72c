import { expect } from 'chai';
import { describe, it } from 'mocha';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { loadFsdd } from '#lib/data/fsdd.js';
import type { Dataset } from '#lib/data/types.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { Model } from '#lib/graph/model.js';
import { dsCnn } from '#lib/graph/zoo/index.js';
import { loadBinding } from '#lib/native.js';
import { fit } from '#lib/train/fit.js';
import { adam } from '#lib/train/optimizers.js';
import { expectClose, LITERT, TFLITE_29 } from '../support/foreign-kernels.js';
import { runLiteRt } from '../support/litert.js';
import { runTflite29 } from '../support/tflite29.js';

const { IntegerSession } = loadBinding();
const ROWS = 24;
const quiet = { onNotice: () => undefined };

/** A file of one operator of a model. */
function operatorOf(model: TfliteModel, index: number): TfliteModel {
  const operator = model.operators[index]!;
  return { ...model, operators: [operator], inputs: [operator.inputs[0]!], outputs: operator.outputs };
}

/** Drops the tensors that a model does not use, as a file of one operator should. */
function compact(model: TfliteModel): TfliteModel {
  const used = [...new Set(model.operators.flatMap(({ inputs, outputs }) => [...inputs, ...outputs]))];
  const renumber = (indices: readonly number[]): number[] => indices.map((index) => used.indexOf(index));
  return {
    ...model,
    tensors: used.map((index) => model.tensors[index]!),
    operators: model.operators.map((operator) => ({ ...operator, inputs: renumber(operator.inputs), outputs: renumber(operator.outputs) })),
    inputs: renumber(model.inputs),
    outputs: renumber(model.outputs),
  };
}

/** Every activation of the model for each row, by tensor index. */
async function activations(model: TfliteModel, x: Int8Array): Promise<Map<number, Int8Array>> {
  const session = new IntegerSession(model, { keepValues: true, threads: 1 });
  const length = x.length / ROWS;
  const result = new Map<number, Int8Array>();
  for (let row = 0; row < ROWS; row++) {
    await session.run(x.subarray(row * length, (row + 1) * length));
    for (const index of [model.inputs[0]!, ...model.operators.flatMap(({ outputs }) => outputs)]) {
      const value = session.getValue(index) as Int8Array;
      if (!result.has(index)) result.set(index, new Int8Array(value.length * ROWS));
      result.get(index)!.set(value, row * value.length);
    }
  }
  session.dispose();
  return result;
}

function firstRows(data: Dataset, size: number): Dataset {
  const row = data.x.length / data.size;
  return { ...data, size, x: data.x.slice(0, size * row), y: data.y.slice(0, size) };
}

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
      await trained(pruneLowMagnitude(float, { schedule: constantSparsity({ targetSparsity: 0.5, beginStep: 0 }), ...quiet })),
    );
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
      const values = await activations(model, x);
      for (const [i, { inputs, outputs }] of model.operators.entries()) {
        const single = compact(operatorOf(model, i));
        const [from, to] = [values.get(inputs[0]!)!, values.get(outputs[0]!)!];
        const bytes = encodeTflite(single);
        expectClose(runTflite29(bytes, from), to, single, TFLITE_29);
        expectClose(await runLiteRt(bytes, model.tensors[inputs[0]!]!.shape, from), to, single, LITERT);
      }
      const y = values.get(model.outputs[0]!)!;
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
