import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkImport, importModel } from '#lib/formats/import/index.js';
import { writeTfjs } from '#lib/formats/tfjs/write.js';
import type { Model } from '#lib/graph/model.js';
import { expectRejection } from '../../support/errors.js';
import { smallCnn, twoDense, valuesOf } from '../../support/models.js';

const official = fileURLToPath(new URL('../../../../test/formats/tfjs/official/', import.meta.url));
const SHARD = 'group1-shard1of1.bin';

interface ModelJson {
  format?: string;
  modelTopology: unknown;
  weightsManifest: { paths: string[]; weights: { name: string; shape: number[]; dtype: string; quantization?: object }[] }[];
}

describe('tfjs models', () => {
  let folder: string;
  let model: Model;
  const json = (): string => path.join(folder, 'model.json');
  const edit = (change: (content: ModelJson) => void): void => {
    const content = JSON.parse(readFileSync(json(), 'utf8')) as ModelJson;
    change(content);
    writeFileSync(json(), JSON.stringify(content));
  };

  beforeEach(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'pcqat-tfjs-'));
    model = twoDense(3, 4, 2);
    await writeTfjs(model, folder);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('are read from model.json or its folder', async () => {
    const [a, b] = [await importModel(folder), await importModel(json())];
    expect(a.model).to.deep.equal(b.model);
    expect(a.model.tensors).to.deep.equal(model.tensors);
    expect(a.format).to.equal('tfjs');
  });

  it('may have several groups and shards, in folders below', async () => {
    const bytes = readFileSync(path.join(folder, SHARD));
    mkdirSync(path.join(folder, 'weights'));
    writeFileSync(path.join(folder, 'weights', 'a.bin'), bytes.subarray(0, 10));
    writeFileSync(path.join(folder, 'weights', 'b.bin'), bytes.subarray(10, 64));
    writeFileSync(path.join(folder, 'c.bin'), bytes.subarray(64));
    edit((content) => {
      const weights = content.weightsManifest[0]!.weights;
      content.weightsManifest = [
        { paths: ['weights/a.bin', './weights/b.bin'], weights: weights.slice(0, 2) },
        { paths: ['c.bin'], weights: weights.slice(2) },
      ];
    });
    expect((await importModel(folder)).model.tensors).to.deep.equal(model.tensors);
  });

  it('may have the config as the converter writes it, under model_config', async () => {
    edit((content) => (content.modelTopology = { keras_version: '2.4.0', model_config: content.modelTopology }));
    expect((await importModel(folder)).model.graph).to.deep.equal(model.graph);
  });

  for (const dtype of ['uint8', 'uint16'] as const) {
    it(`may have weights as ${dtype}, of which each stands for code · scale + min`, async () => {
      const [scale, min] = [0.25, -3];
      const codes = Array.from({ length: 26 }, (_, i) => (dtype === 'uint8' ? i * 9 : i * 2500));
      writeFileSync(path.join(folder, SHARD), new Uint8Array((dtype === 'uint8' ? Uint8Array : Uint16Array).from(codes).buffer));
      edit((content) => content.weightsManifest[0]!.weights.forEach((weight) => (weight.quantization = { dtype, scale, min })));
      const { model: read } = await importModel(folder);
      const values = [...read.tensors.values()].flatMap(({ data }) => Array.from(data));
      expect(values).to.deep.equal(Array.from(Float32Array.from(codes, (code) => code * scale + min)));
    });
  }

  it('may have weights as float16, at odd places', async () => {
    const halves = Uint16Array.of(0x3c00, 0xbc00, 0x0001, 0x8000, 0x7bff, 0x3555, ...Array.from({ length: 20 }, (_, i) => 0x4000 + i));
    writeFileSync(path.join(folder, SHARD), new Uint8Array(halves.buffer));
    edit((content) => content.weightsManifest[0]!.weights.forEach((weight) => (weight.quantization = { dtype: 'float16' })));
    const { model: read } = await importModel(folder);
    expect(Array.from(valuesOf(read, 'dense1/kernel').slice(0, 6))).to.deep.equal([
      1,
      -1,
      2 ** -24,
      -0,
      65504,
      Math.fround(0.333251953125),
    ]);
  });

  it('with layers that are not taken are told in one error', async () => {
    const { unsupported } = await checkImport(path.join(official, 'layers-embedding-gru'));
    expect(unsupported.map(({ name, op }) => [name, op])).to.deep.equal([
      ['embedding_Embedding2', 'Embedding'],
      ['gru_GRU1', 'GRU'],
    ]);
    await expectRejection(importModel(path.join(official, 'layers-embedding-gru')), 'ERR_UNSUPPORTED', /2 nodes[^]*Embedding[^]*GRU/);
  });

  it('that are graph models are refused with what to do', async () => {
    await expectRejection(importModel(path.join(official, 'graph-matmul')), 'ERR_UNSUPPORTED', /graph model.*tfjs_layers_model/);
  });

  for (const name of ['../secret.bin', '/etc/hostname', 'weights/../../secret.bin', '..']) {
    it(`cannot name ${name} as a weight file`, async () => {
      edit((content) => (content.weightsManifest[0]!.paths = [name]));
      await expectRejection(importModel(folder), 'ERR_FORMAT', /not in the folder of the model/);
    });
  }

  it('cannot name a weight file twice', async () => {
    edit((content) => (content.weightsManifest[0]!.paths = [SHARD, `./${SHARD}`]));
    await expectRejection(importModel(folder), 'ERR_FORMAT', /named twice/);
  });

  it('say what is missing', async () => {
    await expectRejection(importModel(path.join(official, 'nothing')), 'ERR_IO');
    edit((content) => (content.weightsManifest[0]!.weights[0]!.name = 'other/kernel'));
    await expectRejection(importModel(folder), 'ERR_FORMAT', /no kernel for it.*layer 'dense1'/);
    rmSync(path.join(folder, SHARD));
    await expectRejection(importModel(folder), 'ERR_IO', /group1-shard1of1/);
    rmSync(json());
    await expectRejection(importModel(folder), 'ERR_IO', /model\.json/);
  });

  it('claim sizes that are compared with the files before anything is read', async () => {
    edit((content) => (content.weightsManifest[0]!.weights[0]!.shape = [30_000, 60_000]));
    await expectRejection(importModel(folder), 'ERR_FORMAT', /need 7200000056 bytes, but there are 104/);
  });

  it('with damaged manifests are refused', async () => {
    const damage: readonly ((content: ModelJson) => void)[] = [
      (content) => (content.weightsManifest[0]!.weights[0]!.shape = [-1, 4]),
      (content) => (content.weightsManifest[0]!.weights[0]!.quantization = { dtype: 'uint4' }),
      (content) => (content.modelTopology = {}),
      (content) => (content.weightsManifest = []),
    ];
    for (const change of damage) {
      await writeTfjs(model, folder);
      edit(change);
      await expectRejection(importModel(folder), 'ERR_FORMAT');
    }
    await writeTfjs(model, folder);
    edit((content) => (content.weightsManifest[0]!.weights[0]!.dtype = 'string'));
    await expectRejection(importModel(folder), 'ERR_UNSUPPORTED', /'string'/);
    writeFileSync(json(), '{');
    await expectRejection(importModel(folder), 'ERR_FORMAT', /no JSON/);
  });

  it('with NaN in weights are refused', async () => {
    writeFileSync(path.join(folder, SHARD), new Uint8Array(Float32Array.from({ length: 26 }, () => NaN).buffer));
    await expectRejection(importModel(folder), 'ERR_NON_FINITE', /layer 'dense1'/);
  });

  it('of several layers with one name end take the weights of their own', async () => {
    const nested = await import('#lib/formats/keras/named-weights.js');
    const weights = new nested.NamedWeights<number>('test');
    weights.add('a/conv/kernel:0', 1);
    weights.add('b/conv/kernel:0', 2);
    const layer = (models: readonly string[]) => ({
      key: '',
      name: 'conv',
      className: 'Conv2D',
      config: {},
      builtFor: undefined,
      inputs: [],
      trail: [...models, 'conv'].map((name) => ({ name, className: '', ordinal: 0 })),
    });
    expect(weights.find(layer(['a']), ['kernel'])).to.equal(1);
    expect(weights.find(layer(['net', 'b']), ['depthwise_kernel', 'kernel'])).to.equal(2);
    expect(() => weights.find(layer([]), ['kernel'])).to.throw(/several arrays/);
    expect(() => weights.find(layer(['a']), ['bias'])).to.throw(/no bias/);
  });

  it('leave the folder as it was', async () => {
    const copy = mkdtempSync(path.join(tmpdir(), 'pcqat-tfjs-'));
    cpSync(folder, copy, { recursive: true });
    await writeTfjs(smallCnn(), copy);
    expect((await importModel(folder)).model.tensors).to.deep.equal(model.tensors);
    rmSync(copy, { recursive: true });
  });
});
