import { mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { decodeModel } from '#lib/formats/pcqat/load.js';
import { encodeModel } from '#lib/formats/pcqat/save.js';
import {
  cloneModel,
  clusterWeights,
  createModel,
  GraphBuilder,
  loadModel,
  type Model,
  PcqatError,
  predict,
  saveModel,
  zoo,
} from '#lib/index.js';
import { expectCode, expectRejection } from '../../support/errors.js';

/** A model with every kind of state: mask, schedule, codebook, ranges, optimizer, odd sizes, special floats. */
function fullModel(): Model {
  const g = new GraphBuilder('full');
  const model = createModel(g.build(g.dense(g.input([3]), { name: 'd', units: 3 })), { seed: 1 });
  const kernel = model.tensors.get('d/kernel')!.data;
  kernel.set([-0, 1e-42, 3.4e38]);
  const state = { mask: Uint8Array.of(0, 1, 1, 1, 0, 1, 1, 1, 1), indices: Int32Array.of(0, 1, 1, 0, 1, 1, 0, 0, 1) };
  for (const [name, data] of Object.entries(state)) model.tensors.set(`d/kernel:${name}`, { shape: [3, 3], data });
  model.tensors.set('d/kernel:centroids', { shape: [2], data: Float32Array.of(0, 0.5) });
  model.tensors.set('d/kernel:zero_index', { shape: [1], data: Int32Array.of(0) });
  for (const name of ['d/kernel:min', 'd/kernel:max', 'd:min', 'd:max', 'd/kernel:threshold'])
    model.tensors.set(name, { shape: [1], data: Float32Array.of(0.5) });
  model.tensors.set('d/kernel:pruning_step', { shape: [1], data: Int32Array.of(-1) });
  const schedule = {
    kind: 'polynomial',
    initialSparsity: 0.1,
    finalSparsity: 0.5,
    beginStep: 0,
    endStep: 10,
    power: 3,
    frequency: 2,
  } as const;
  const pruning = { schedule, blockSize: [1, 1], blockPooling: 'AVG', mByN: [2, 4], minimumSparsity: 0.25 } as const;
  return {
    ...model,
    chains: new Map([
      [
        'd/kernel',
        {
          technique: 'pcqat',
          mask: { writeBack: true, maskGradient: false, pruning },
          codebook: { perChannel: false, zeroPin: 'index', aggregation: 'sum' },
          fakeQuant: { bits: 8, perChannel: false },
        },
      ],
    ]),
    quantizers: new Map([['d', { bits: 8, update: 'movingAverage', decay: 0.99, rangeInit: 'data' }]]),
    optimizer: { kind: 'adam', step: 17, slots: new Map([['d/kernel', [new Float32Array(9).fill(0.1), new Float32Array(9).fill(-0)]]]) },
  };
}

describe('saveModel and loadModel', () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(path.join(tmpdir(), 'pcqat-'))));
  after(() => rm(folder, { recursive: true }));

  it('keep every bit of every tensor, chain, quantizer and optimizer slot (W12, W13)', async () => {
    const file = path.join(folder, 'full');
    const model = fullModel();
    await saveModel(model, file);
    const loaded = await loadModel(`${file}.json`);
    expect(loaded).to.deep.equal(model);
    expect(Object.is(loaded.tensors.get('d/kernel')!.data[0], -0)).to.equal(true);
    await saveModel(loaded, `${file}-again.json`);
    for (const extension of ['json', 'bin']) {
      expect(await readFile(`${file}-again.${extension}`)).to.deep.equal(await readFile(`${file}.${extension}`));
    }
  });

  it('keep every kind of layer, and clustered kernels of rank 3', async () => {
    const g = new GraphBuilder('layers');
    let x = g.conv1d(g.input([12, 2]), { name: 'c', filters: 4, kernelSize: 5, padding: 'causal', activation: 'hardSwish' });
    x = g.averagePool1d(g.maxPool1d(g.separableConv1d(x, { filters: 6, kernelSize: 3, padding: 'causal', activation: 'leakyRelu' })));
    x = g.conv2dTranspose(g.reshape(x, [1, 3, 6]), { name: 't', filters: 4, kernelSize: 3, strides: 2, activation: 'tanh' });
    x = g.concat([g.upSampling2d(x, { interpolation: 'bilinear' }), g.upSampling2d(x)]);
    x = g.multiply(x, g.sigmoid(g.globalAveragePool2d(x)));
    const model = createModel(g.build(g.globalAveragePool1d(g.reshape(x, [84, 8]))), { seed: 4 });
    const clustered = clusterWeights(model, { numberOfClusters: 4, preserveSparsity: true, onNotice: () => undefined });
    await saveModel(clustered, path.join(folder, 'layers'));
    const loaded = await loadModel(path.join(folder, 'layers'));
    expect(loaded).to.deep.equal({ ...clustered });
    const row = Float32Array.from({ length: 24 }, (_, i) => Math.sin(i));
    expect(await predict(loaded, row)).to.deep.equal(await predict(clustered, row));
  });

  it('keep a zoo model', async () => {
    const model = zoo.resnet8({ seed: 4 });
    await saveModel(model, path.join(folder, 'resnet8'));
    expect(await loadModel(path.join(folder, 'resnet8'))).to.deep.equal(model);
  });

  it('report files that are missing, truncated or cannot be written', async () => {
    const file = path.join(folder, 'damaged');
    await saveModel(fullModel(), file);
    await truncate(`${file}.bin`, 40);
    await expectRejection(loadModel(file), 'ERR_FORMAT', /40 bytes.*damaged\.json/);
    await rm(`${file}.bin`);
    await expectRejection(loadModel(file), 'ERR_IO', /damaged\.bin/);
    await writeFile(`${file}.json`, '{"format":');
    await expectRejection(loadModel(file), 'ERR_FORMAT', /JSON/);
    await expectRejection(loadModel(path.join(folder, 'nowhere')), 'ERR_IO', /nowhere\.json/);
    await expectRejection(saveModel(fullModel(), path.join(folder, 'no', 'such', 'folder')), 'ERR_IO', /no\/such/);
  });

  it('leave one whole model wherever saving over an older one is cut off', async () => {
    const file = path.join(folder, 'replaced');
    const old = zoo.lenet5({ seed: 1 });
    const fresh = encodeModel(zoo.lenet5({ seed: 2 }));
    await saveModel(old, file);
    await writeFile(`${file}.next.bin`, fresh.bin);
    expect(await loadModel(file)).to.deep.equal(old);
    await writeFile(`${file}.json`, fresh.json);
    expect(await loadModel(file)).to.deep.equal(zoo.lenet5({ seed: 2 }));
    await rename(`${file}.next.bin`, `${file}.bin`);
    expect(await loadModel(file)).to.deep.equal(zoo.lenet5({ seed: 2 }));
  });

  it('do not read a data file that is larger than stated', async () => {
    const file = path.join(folder, 'longer');
    await saveModel(fullModel(), file);
    await writeFile(`${file}.bin`, Buffer.alloc(100_000));
    await expectRejection(loadModel(file), 'ERR_FORMAT', /100000 bytes/);
  });
});

describe('decodeModel', () => {
  const { json, bin } = encodeModel(fullModel());
  // Tests break the file in every place, whatever its type.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  type Json = Record<string, any>;
  /** Decodes with a change to the JSON. */
  const changed = (change: (file: Json) => void) => () => {
    const file = JSON.parse(json) as Json;
    change(file);
    return decodeModel(JSON.stringify(file), bin);
  };

  const hostile: [string, (file: Json) => void, RegExp][] = [
    ['another format', (f) => (f.format = 'keras'), /format/],
    ['a newer version', (f) => (f.version = 2), /version/],
    ['an unknown field', (f) => (f.extra = 1), /extra/],
    ['a huge shape', (f) => (f.tensors[0].shape = [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1]), /tensors\[0\]/],
    ['a negative dimension', (f) => (f.tensors[0].shape = [-3, -3]), /tensors\.0\.shape/],
    ['a fractional dimension', (f) => (f.tensors[0].shape = [4.5, 2]), /tensors\.0\.shape/],
    ['an offset that is not the next one', (f) => (f.tensors[1].offset = 0), /tensors\[1\]/],
    ['an offset beyond the file', (f) => (f.tensors[0].offset = 1e15), /tensors\[0\]/],
    ['two tensors of one name', (f) => (f.tensors[1].name = f.tensors[0].name), /twice.*tensors\[1\]/],
    ['an unknown dtype', (f) => (f.tensors[0].dtype = 'f64'), /dtype/],
    ['a missing tensor', (f) => f.tensors.pop(), /optimizer\.slots\[0\]|data/],
    ['bits out of range', (f) => (f.quantizers[0].bits = 16), /quantizers\.0\.bits/],
    ['a wrong checksum', (f) => (f.data.sha256 = '0'.repeat(64)), /checksum/],
    ['slots of an unknown tensor', (f) => (f.optimizer.slots[0].tensor = 'nowhere'), /nowhere/],
    ['a parameter of another shape', (f) => (f.graph.nodes[1].units = 2), /d\/kernel/],
    ['trailing data', (f) => delete f.optimizer, /bytes belong to no tensor/],
  ];
  for (const [what, change, message] of hostile) {
    it(`rejects ${what}`, () => expectCode(changed(change), 'ERR_FORMAT', message));
  }

  it('rejects graphs and schedules that are wrong in themselves', () => {
    expectCode(
      changed((f) => (f.graph.nodes[1].op = 'lstm')),
      'ERR_UNKNOWN_LAYER',
      /lstm/,
    );
    expectCode(
      changed((f) => (f.graph.nodes[1].inputs = ['d'])),
      'ERR_GRAPH',
      /'d'/,
    );
    expectCode(
      changed((f) => (f.chains[0].mask.pruning.schedule.finalSparsity = 1.5)),
      'ERR_OPTION',
      /finalSparsity/,
    );
  });

  it('rejects state that would index outside an array', () => {
    const damaged = (name: string, value: number) => () => {
      const model = cloneModel(fullModel());
      model.tensors.get(name)!.data[0] = value;
      const file = encodeModel(model);
      return decodeModel(file.json, file.bin);
    };
    expectCode(damaged('d/kernel:zero_index', 2), 'ERR_FORMAT', /zero_index/);
    expectCode(damaged('d/kernel:zero_index', -2), 'ERR_FORMAT', /zero_index/);
    expectCode(damaged('d/kernel:indices', 99), 'ERR_FORMAT', /indices/);
    expectCode(damaged('d/kernel:mask', 7), 'ERR_FORMAT', /mask/);
  });

  it('survives mutated files: the model or a PcqatError, nothing else', () => {
    const survives = (text: string, data: Uint8Array): void => {
      try {
        decodeModel(text, data);
      } catch (error) {
        expect(error).to.be.instanceOf(PcqatError);
      }
    };
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(json.length - 1), fc.constantFrom(...'0123456789-"{}[],:xe.')), { minLength: 1, maxLength: 4 }),
        (edits) => {
          const characters = [...json];
          for (const [at, character] of edits) characters[at] = character;
          survives(characters.join(''), bin);
        },
      ),
      { numRuns: 600 },
    );
    fc.assert(
      fc.property(fc.nat(json.length), fc.nat(bin.length), (jsonLength, binLength) => {
        survives(json.slice(0, jsonLength), bin);
        survives(json, bin.slice(0, binLength));
      }),
      { numRuns: 200 },
    );
    fc.assert(
      fc.property(fc.jsonValue(), (value) => survives(JSON.stringify(value), bin)),
      { numRuns: 200 },
    );
  });
});
