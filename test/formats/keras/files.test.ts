import { expect } from 'chai';
import { unzipSync, zipSync } from 'fflate';
import * as h5wasm from 'h5wasm';
import { before, describe, it } from 'mocha';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { KerasLayer, Place } from '#lib/formats/keras/flatten.js';
import type { H5Dataset, H5Group, H5Tree } from '#lib/formats/keras/hdf5-reader.js';
import { openHdf5 } from '#lib/formats/keras/hdf5.js';
import { assembleKerasBytes } from '#lib/formats/keras/import.js';
import { Keras3Weights } from '#lib/formats/keras/keras3-weights.js';
import { unzip } from '#lib/formats/keras/unzip.js';
import type { Model } from '#lib/graph/model.js';
import { expectCode, expectRejection } from '../../support/errors.js';

const folder = fileURLToPath(new URL('../../../../test/formats/keras/models/', import.meta.url));
const load = (name: string): Uint8Array => new Uint8Array(readFileSync(`${folder}${name}`));

async function read(bytes: Uint8Array): Promise<Model> {
  const { assembler, output } = await assembleKerasBytes(bytes, 'test.h5', {});
  return assembler.finish(output);
}

/** The bytes of an HDF5 file. */
function h5(write: (file: h5wasm.File) => void): Uint8Array {
  const file = new h5wasm.File('/made.h5', 'w');
  write(file);
  file.close();
  return h5wasm.FS!.readFile('/made.h5');
}

const CONFIG = JSON.stringify({
  class_name: 'Sequential',
  config: {
    name: 'net',
    layers: [
      { class_name: 'InputLayer', config: { name: 'x', batch_input_shape: [null, 2] } },
      { class_name: 'Dense', config: { name: 'd', units: 3, use_bias: false } },
    ],
  },
});

type Values = Float32Array | Float64Array | Int32Array;

/** A whole-model file of one dense layer. */
function denseFile(data: Values, shape: readonly number[] = [2, 3], names: readonly string[] = ['d/kernel:0']): Uint8Array {
  return h5((file) => {
    file.create_attribute('model_config', CONFIG);
    const group = file.create_group('model_weights').create_group('d');
    group.create_attribute('weight_names', [...names]);
    group.create_group('d').create_dataset({ name: 'kernel:0', data, shape: [...shape] });
  });
}

const SIX = [1, 2, 3, 4, 5, 6];

describe('Keras files', () => {
  before(() => h5wasm.ready);

  describe('.h5', () => {
    it('may hold float64 weights', async () => {
      const { tensors } = await read(denseFile(Float64Array.from(SIX, (value) => value / 3)));
      expect(tensors.get('d/kernel')!.data).to.deep.equal(Float32Array.from(SIX, (value) => value / 3));
    });

    it('with weights only is told from one that is no Keras file', async () => {
      const weights = h5((file) => {
        file.create_attribute('keras_version', '2.4.0');
        file.create_group('d');
      });
      await expectRejection(read(weights), 'ERR_FORMAT', /weights only.*model\.save/);
      await expectRejection(read(load('sequence.h5').slice(0, 0)), 'ERR_FORMAT', /HDF5/);
      await expectRejection(read(unzipSync(load('sequence.keras'))['model.weights.h5']!), 'ERR_FORMAT', /weights only/);
      await expectRejection(read(h5((file) => void file.create_group('data'))), 'ERR_FORMAT', /no Keras model/);
    });

    it('with weights of another type, number or shape is refused', async () => {
      await expectRejection(read(denseFile(Int32Array.from(SIX))), 'ERR_UNSUPPORTED', /no floating-point numbers/);
      await expectRejection(read(denseFile(Float32Array.from(SIX), [3, 2])), 'ERR_FORMAT', /\[3, 2\] and not \[2, 3\]/);
      await expectRejection(read(denseFile(Float32Array.from(SIX), [2, 3], ['other'])), 'ERR_FORMAT', /0 weights for it and not 1/);
      await expectRejection(read(denseFile(Float32Array.from([...SIX.slice(1), NaN]))), 'ERR_NON_FINITE', /layer 'd'/);
    });

    it('that is cut off, or no HDF5, is refused', async () => {
      const bytes = load('sequence.h5');
      for (const length of [100, 5000, bytes.length - 1]) await expectRejection(read(bytes.slice(0, length)), 'ERR_FORMAT', /HDF5/);
      await expectRejection(read(new Uint8Array(1000)), 'ERR_FORMAT', /HDF5/);
    });

    it('cannot claim weights that are larger than the file', async () => {
      const units = 30_000;
      const config = JSON.parse(CONFIG.replace('"units":3', `"units":${units}`).replace('[null,2]', `[null,${units}]`)) as object;
      const bytes = h5((file) => {
        file.create_attribute('model_config', JSON.stringify(config));
        const group = file.create_group('model_weights').create_group('d');
        group.create_attribute('weight_names', ['k']);
        // Chunks that were never written take no space.
        group.create_dataset({ name: 'k', data: new Float32Array(4), shape: [2, 2], maxshape: [null, null], chunks: [2, 2] } as never);
        (group.get('k') as h5wasm.Dataset).resize([units, units]);
      });
      expect(bytes.length).to.be.below(50_000);
      await expectRejection(read(bytes), 'ERR_FORMAT', /claim to have 3600000000 bytes/);
    });

    it('needs h5wasm, and says so', async () => {
      const open = openHdf5(load('sequence.h5'), 'test.h5', { roots: [], library: 'h5wasm-that-is-not-there' });
      await expectRejection(open, 'ERR_MISSING_PEER', /h5wasm.*npm install h5wasm/);
    });

    it('gets no more memory than the limit', async () => {
      const bytes = denseFile(new Float32Array(8_000_000), [2000, 4000]);
      const file = await openHdf5(bytes, 'test.h5', { roots: ['model_weights'], memory: 20 * 2 ** 20 });
      try {
        await expectRejection(file.read(file.tree.datasets), 'ERR_FORMAT', /no memory/);
      } finally {
        await file.close();
      }
    });

    it('that takes too long is given up', async () => {
      await expectRejection(
        openHdf5(load('functional.h5'), 'test.h5', { roots: ['model_weights'], timeout: 1 }),
        'ERR_FORMAT',
        /takes too long/,
      );
    });
  });

  describe('.keras', () => {
    const files = unzipSync(load('sequence.keras'));
    const { 'config.json': config, 'model.weights.h5': weights } = files as Record<string, Uint8Array>;

    it('without one of its parts, or torn, is refused', async () => {
      await expectRejection(read(zipSync({ 'config.json': config! })), 'ERR_FORMAT', /no model\.weights\.h5/);
      await expectRejection(read(zipSync({ 'model.weights.h5': weights! })), 'ERR_FORMAT', /no config\.json/);
      await expectRejection(read(load('sequence.keras').slice(0, 30_000)), 'ERR_FORMAT', /cannot be unpacked|cut off/);
      const notJson = new TextEncoder().encode('[1, 2]');
      await expectRejection(read(zipSync({ ...files, 'config.json': notJson })), 'ERR_FORMAT', /no JSON object.*config\.json/);
    });

    it('that unpacks to far more than it is, is refused', async () => {
      const bomb = zipSync({ 'config.json': config!, 'model.weights.h5': new Uint8Array(2 ** 27) }, { level: 9 });
      expect(bomb.length).to.be.below(300_000);
      await expectRejection(read(bomb), 'ERR_FORMAT', /would unpack to 134217728 bytes/);
      // One that claims to be small.
      const header = Buffer.from(bomb.buffer, bomb.byteOffset, bomb.byteLength);
      const at = header.indexOf('model.weights.h5') - 30;
      header.writeUInt32LE(1000, at + 22);
      await expectRejection(read(bomb), 'ERR_FORMAT', /more than its 1000 bytes/);
    });
  });

  describe('unzip', () => {
    it('skips other files, and compares sizes', () => {
      const archive = zipSync({ a: new Uint8Array(100), b: new Uint8Array(100).fill(1), c: new Uint8Array(2 ** 20) }, { level: 0 });
      expect([
        ...unzip(
          archive,
          new Map([
            ['b', 1000],
            ['x', 1],
          ]),
          'test',
        ),
      ]).to.deep.equal([['b', new Uint8Array(100).fill(1)]]);
      expectCode(() => unzip(archive, new Map([['c', 1000]]), 'test'), 'ERR_FORMAT', /would unpack to 1048576/);
      expect(unzip(new Uint8Array(100), new Map([['a', 1000]]), 'test').size).to.equal(0);
    });
  });

  describe('groups of Keras 2.12 to 2.15, which count layers with weights twice', () => {
    const place = (name: string, className: string, ordinal: number): Place => ({ name, className, ordinal });
    const layer = (...trail: Place[]): KerasLayer => {
      const last = trail.at(-1)!;
      return { key: last.name, name: last.name, className: last.className, config: {}, builtFor: undefined, inputs: [], trail };
    };
    const root = '/_layer_checkpoint_dependencies';
    const paths = ['conv2d', 'conv2d_2', 'separable_conv2d', `functional${root}/conv2d`].map((name) => `${root}/${name}`);
    const groups: H5Group[] = paths.flatMap((path) => [{ path }, { path: `${path}/vars` }]);
    groups.push({ path: `${root}/functional` }, { path: `${root}/flatten` });
    const datasets: H5Dataset[] = paths.map((path, i) => ({ path: `${path}/vars/0`, shape: [i], dtype: 'float32', bytes: 4 * i }));
    const tree: H5Tree = { attributes: new Map(), root: [], groups, datasets };

    it('are found by their order', () => {
      const store = new Keras3Weights(tree, 'test');
      const shapeOf = (...trail: Place[]): number => store.find(layer(...trail), [['kernel']])[0]!.shape[0]!;
      expect(shapeOf(place('first', 'Conv2D', 0))).to.equal(0);
      expect(shapeOf(place('second', 'Conv2D', 1))).to.equal(1);
      expect(shapeOf(place('third', 'SeparableConv2D', 0))).to.equal(2);
      expect(shapeOf(place('inner', 'Functional', 0), place('conv', 'Conv2D', 0))).to.equal(3);
      expect(store.wanted).to.have.length(4);
      expectCode(() => shapeOf(place('none', 'Conv2D', 2)), 'ERR_FORMAT', /no weights for it/);
      expectCode(() => store.find(layer(place('first', 'Conv2D', 0)), [['kernel'], ['bias']]), 'ERR_FORMAT', /1 weights for it and not 2/);
    });
  });
});
