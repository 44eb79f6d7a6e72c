import { expect } from 'chai';
import { unzipSync, zipSync } from 'fflate';
import { after, before, describe, it } from 'mocha';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { predict } from '#lib/evaluate/evaluate.js';
import { checkImport, importModel } from '#lib/formats/import/index.js';
import type { ImportedModel } from '#lib/formats/import/types.js';
import { elementCount } from '#lib/graph/shapes.js';
import type { Model } from '#lib/graph/model.js';
import { relativeError } from '../../support/layers-model.js';

const folder = fileURLToPath(new URL('../../../../test/formats/keras/models/', import.meta.url));

interface Expected {
  readonly shape: readonly number[];
  readonly output: readonly number[];
}

const expected = JSON.parse(readFileSync(`${folder}expected.json`, 'utf8')) as Readonly<Record<string, Expected>>;

/** The input that the outputs were computed for. */
function probe(model: Model, rows: number): Float32Array {
  const input = model.graph.nodes[0]!;
  const size = rows * (input.op === 'input' ? elementCount(input.shape) : 0);
  return Float32Array.from({ length: size }, (_, i) => (2 * ((i * 7919) % 10007)) / 10006 - 1);
}

describe('models that Keras 3 wrote', () => {
  const models = new Map<string, ImportedModel>();
  before(async () => {
    for (const name of Object.keys(expected).flatMap((each) => [`${each}.keras`, `${each}.h5`])) {
      models.set(name, await importModel(`${folder}${name}`));
    }
  });

  for (const [name, { shape, output }] of Object.entries(expected)) {
    for (const extension of ['keras', 'h5']) {
      it(`${name}.${extension} predicts what Keras does`, async () => {
        const { model, format } = models.get(`${name}.${extension}`)!;
        expect(format).to.equal(extension === 'h5' ? 'keras-h5' : 'keras');
        expect(relativeError(await predict(model, probe(model, shape[0]!)), output)).to.be.below(1e-5);
      });
    }

    it(`${name}: both files hold the same`, () => {
      const [a, b] = [models.get(`${name}.keras`)!.model, models.get(`${name}.h5`)!.model];
      expect(a.graph.nodes).to.deep.equal(b.graph.nodes);
      expect(a.tensors).to.deep.equal(b.tensors);
    });
  }

  it('names layers as Keras does, and a layer of a nested model by its own name', async () => {
    const { layers, unsupported, parameters } = await checkImport(`${folder}functional.keras`);
    expect(unsupported).to.deep.equal([]);
    expect(parameters).to.be.above(100);
    expect(layers.map(({ name }) => name)).to.include.members(['input_layer_3', 'conv2d_2', 'conv2d', 'batch_normalization', 're_lu']);
  });

  it('folds Rescaling and Normalization into the layers that follow', () => {
    const { model } = models.get('sequence.h5')!;
    expect(model.graph.nodes.slice(0, 2).map(({ op }) => op)).to.deep.equal(['input', 'conv1d']);
  });

  describe('archives', () => {
    let temporary: string;
    before(() => (temporary = mkdtempSync(path.join(tmpdir(), 'pcqat-keras-'))));
    after(() => rmSync(temporary, { recursive: true }));

    it('may be compressed', async () => {
      const file = path.join(temporary, 'deflated.keras');
      writeFileSync(file, zipSync(unzipSync(readFileSync(`${folder}sequential.keras`)), { level: 9 }));
      expect((await importModel(file)).model.tensors).to.deep.equal(models.get('sequential.keras')!.model.tensors);
    });
  });
});
