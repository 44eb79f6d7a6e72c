import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { Default8BitClusterPreserveQuantizeScheme } from '#lib/compress/quantization/schemes.js';
import type { Dataset } from '#lib/data/types.js';
import { certifyExport } from '#lib/evaluate/certify.js';
import type { ExportCertificate } from '#lib/formats/certificate/schema.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import type { Model } from '#lib/graph/model.js';
import { calibrate } from '#lib/train/calibrate.js';
import { randomDataset, trainedModel } from './int8-graphs.js';
import { zeroHalf } from './models.js';

export const quiet = { onNotice: () => undefined };
export const SHAPE = [8, 8, 2];

/** conv1 + batch norm + ReLU → depthwise + ReLU → conv2 + ReLU → pool → dense with batch norm → logits: every kind of layer, 3 KB. */
export function smallFloat(): Model {
  return trainedModel('small', SHAPE, (g: GraphBuilder, input) => {
    let x = g.relu(g.batchNorm(g.conv2d(input, { name: 'conv1', filters: 6, kernelSize: 3, useBias: false }), { name: 'bn1' }), {
      name: 'relu1',
    });
    x = g.relu(g.depthwiseConv2d(x, { name: 'dw', kernelSize: 3, padding: 'same' }), { name: 'relu_dw' });
    x = g.conv2d(x, { name: 'conv2', filters: 8, kernelSize: 3, strides: 2, activation: 'relu' });
    x = g.globalAveragePool2d(x, { name: 'pool' });
    x = g.relu(g.batchNorm(g.dense(x, { name: 'hidden', units: 6, useBias: false }), { name: 'bn2' }), { name: 'relu2' });
    return g.dense(x, { name: 'logits', units: 4 });
  });
}

/** Half of the weights zero, then 8 values a layer or channel (not depthwise). */
export function sharedFloat(perChannel = false): Model {
  const model = smallFloat();
  for (const layer of ['conv1', 'conv2', 'hidden', 'logits']) zeroHalf(model, `${layer}/kernel`);
  const options = { numberOfClusters: 8, preserveSparsity: true, clusterPerChannel: perChannel, ...quiet };
  return stripClustering(clusterWeights(model, options));
}

export interface Certified {
  readonly model: Model;
  readonly bytes: Uint8Array;
  readonly data: Dataset;
  readonly certificate: ExportCertificate;
}

/** A model after PCQAT (its ranges calibrated, not trained), exported and certified. */
export async function certifiedPcqat(perChannel = false): Promise<Certified> {
  const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true });
  const model = quantizeModel(sharedFloat(perChannel), { scheme, ...quiet });
  const data = randomDataset(SHAPE, 40, 3);
  await calibrate(model, data);
  const bytes = encodeTflite(await convertToInt8(model));
  return { model, bytes, data, certificate: await certifyExport(model, bytes, { data, foreign: 'none' }) };
}
