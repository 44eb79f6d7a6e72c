import * as layers from '@tensorflow/tfjs-layers';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { runTfjs } from '#lib/tfjs/index.js';
import { expectRejection } from '../support/errors.js';
import { relativeDistance, tf } from './support.js';

describe('a LayersModel on tfjs', () => {
  const withLoader = { ...tf, loadLayersModel: layers.loadLayersModel };
  const x = Float32Array.from({ length: 5 * 36 }, (_, i) => Math.sin(i));
  let folder: string, model: layers.LayersModel, expected: Float32Array, json: Record<string, unknown>, weights: Uint8Array;
  const write = (manifest: unknown): void => writeFileSync(path.join(folder, 'model.json'), JSON.stringify(manifest));

  before(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'pcqat-tfjs-'));
    model = layers.sequential({
      layers: [
        layers.layers.conv2d({ inputShape: [6, 6, 1], filters: 3, kernelSize: 3, activation: 'relu' }),
        layers.layers.flatten(),
        layers.layers.dense({ units: 4 }),
      ],
    });
    expected = Float32Array.from(await (model.predict(tf.tensor(x, [5, 6, 6, 1])) as ReturnType<typeof tf.tensor>).data());
    await model.save({
      save: async (artifacts: Record<string, unknown>) => {
        weights = new Uint8Array(artifacts.weightData as ArrayBuffer);
        const group = { paths: ['shard1.bin', 'shard2.bin'], weights: artifacts.weightSpecs };
        json = { modelTopology: artifacts.modelTopology, weightsManifest: [group] };
        return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
      },
    } as never);
    write(json);
    writeFileSync(path.join(folder, 'shard1.bin'), weights.subarray(0, 100));
    writeFileSync(path.join(folder, 'shard2.bin'), weights.subarray(100));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('runs as an object, from its folder, from model.json and from artifacts, in batches of any size', async () => {
    const artifacts = { modelTopology: json.modelTopology, weightSpecs: (json.weightsManifest as { weights: unknown }[])[0].weights, weightData: weights.buffer }; // prettier-ignore
    for (const source of [model, folder, path.join(folder, 'model.json'), artifacts]) {
      for (const batchSize of [2, 128]) {
        const outputs = await runTfjs(withLoader, source, x, { batchSize });
        expect(relativeDistance(outputs, expected)).to.be.at.most(1e-6);
      }
    }
  });

  it('needs a loader, whole rows, and one input and output', async () => {
    await expectRejection(runTfjs(tf, folder, x), 'ERR_MISSING_PEER', /tfjs-layers/);
    await expectRejection(runTfjs(tf, model, x.slice(1)), 'ERR_SHAPE');
    const input = layers.input({ shape: [36] });
    const double = layers.model({ inputs: input, outputs: [layers.layers.dense({ units: 1 }).apply(input), layers.layers.reLU().apply(input)] as never }); // prettier-ignore
    await expectRejection(runTfjs(tf, double, x), 'ERR_UNSUPPORTED', /one output/);
  });

  it('is refused when files are missing or damaged', async () => {
    const [group] = json.weightsManifest as { paths: string[]; weights: unknown[] }[];
    await expectRejection(runTfjs(withLoader, path.join(folder, 'nowhere'), x), 'ERR_IO');
    const damaged: [unknown, 'ERR_FORMAT' | 'ERR_IO'][] = [
      [[], 'ERR_FORMAT'],
      [{ ...json, modelTopology: null }, 'ERR_FORMAT'],
      [{ ...json, weightsManifest: [null] }, 'ERR_FORMAT'],
      [{ ...json, weightsManifest: [{ ...group, paths: ['../other.bin'] }] }, 'ERR_FORMAT'],
      [{ ...json, weightsManifest: [{ ...group, paths: ['/etc/hostname'] }] }, 'ERR_FORMAT'],
      [{ ...json, weightsManifest: [{ ...group, paths: [7] }] }, 'ERR_FORMAT'],
      [{ ...json, weightsManifest: [{ ...group, paths: ['shard1.bin', 'shard1.bin'] }] }, 'ERR_FORMAT'],
      [{ ...json, weightsManifest: [{ ...group, paths: ['missing.bin'] }] }, 'ERR_IO'],
      [{ ...json, weightsManifest: [{ ...group, paths: ['shard1.bin'] }] }, 'ERR_FORMAT'],
      [{ ...json, weightsManifest: [{ ...group, weights: [{ name: 'x', shape: [1e9], dtype: 'float32' }] }] }, 'ERR_FORMAT'],
      [{ ...json, weightsManifest: [{ ...group, weights: [null] }] }, 'ERR_FORMAT'],
      [{ ...json, modelTopology: { class_name: 'Sequential' } }, 'ERR_FORMAT'],
    ];
    for (const [manifest, code] of damaged) {
      write(manifest);
      await expectRejection(runTfjs(withLoader, folder, x), code);
    }
    writeFileSync(path.join(folder, 'model.json'), '{"modelTopology":');
    await expectRejection(runTfjs(withLoader, folder, x), 'ERR_FORMAT');
  });
});
