import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { EXPORT_FORMATS } from '#lib/pipeline/export-formats.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { parameterNames } from '#lib/graph/model.js';
import { stripQuantization } from '#lib/compress/quantization/strip.js';
import { checkFormats, type ExportJob, extraFormats, writeExports } from '#lib/pipeline/exports.js';
import { parseRecipe } from '#lib/pipeline/parse.js';
import { recipeSchema } from '#lib/pipeline/recipe.js';
import { runRecipe } from '#lib/pipeline/run.js';
import { certifiedPcqat } from '../support/certified.js';
import { expectCode } from '../support/errors.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { syntheticSplits } from './synthetic.js';

const base = { model: 'lenet5', data: { name: 'idx', path: 'unused' } };
/** Formats may lack a writer: not through parseRecipe, which says so. */
const withFormats = (formats?: readonly string[]) => recipeSchema.parse({ ...base, outputs: formats === undefined ? {} : { formats } });

describe('formats of a recipe', () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(join(tmpdir(), 'pcqat-exports-'))));
  after(() => rm(folder, { recursive: true }));

  it('are the int8 .tflite alone by default', async () => {
    expect(extraFormats(withFormats())).to.deep.equal([]);
    expect(extraFormats(withFormats(['tflite']))).to.deep.equal([]);
    expect(() => parseRecipe({ ...base, outputs: { formats: ['tflite'] } })).not.to.throw();
    const out = join(folder, 'default');
    const outputs = { columns: ['baseline'], html: false, formats: ['tflite'] };
    const report = await runRecipe(parseRecipe({ ...base, epochs: 4, outputs }), { out, data: syntheticSplits() });
    expect(report.columns['baseline']).not.to.have.property('exports');
  });

  it('are each written once, in one order', () => {
    expect(extraFormats(withFormats(['onnx-float', 'tflite', 'onnx', 'onnx']))).to.deep.equal(['onnx', 'onnx-float']);
  });

  it('are checked before anything is trained', () => {
    expectCode(() => parseRecipe({ ...base, outputs: { formats: ['coreml'] } }), 'ERR_RECIPE', /recipe\.outputs\.formats\[0\]/);
    expectCode(() => parseRecipe({ ...base, outputs: { formats: [] } }), 'ERR_RECIPE', /at least 1/);
    const writers = { onnx: async () => async () => [] };
    expect(() => checkFormats(withFormats(['onnx', 'tflite']), writers)).not.to.throw();
    expectCode(
      () => checkFormats(withFormats(['onnx', 'c-header']), writers),
      'ERR_RECIPE',
      /'c-header' cannot be written yet \(recipe\.outputs\.formats\[1\]\)\. Use tflite, onnx/,
    );
  });

  it('go to their writers with the model, the file and the name', async () => {
    const { model, bytes } = await certifiedPcqat();
    const jobs: ExportJob[] = [];
    const job = { model, tflite: readTflite(bytes), bytes, stem: join(folder, 'pcqat') };
    const write = async (one: ExportJob): Promise<string[]> => {
      jobs.push(one);
      await writeFile(`${one.stem}.onnx`, 'onnx');
      return [`${one.stem}.onnx`];
    };
    const written = await writeExports(['onnx'], job, { onnx: async () => write });
    expect(written).to.deep.equal({ onnx: [join(folder, 'pcqat.onnx')] });
    expect(jobs).to.deep.equal([job]);
    expect(
      createHash('sha256')
        .update(await readFile(join(folder, 'pcqat.onnx')))
        .digest('hex'),
    ).to.match(/^[0-9a-f]{64}$/);
  });

  it('get the float model with the weights that the layers use', async () => {
    const { model, data } = await certifiedPcqat();
    expect(model.chains.size).to.be.above(0);
    const float = stripQuantization(model);
    expect([float.chains.size, float.quantizers.size, float.tensors.size]).to.deep.equal([0, 0, parameterNames(model).length]);
    expect(await predict(float, data.x)).to.deep.equal(await predict({ ...model, quantizers: new Map() }, data.x));
    const kernel = float.tensors.get('conv2/kernel')!.data;
    expect(new Set(kernel).size).to.be.at.most(8);
  });

  it('are all named in the documentation', async () => {
    const text = await readFile('docs/recipes.md', 'utf8');
    for (const format of EXPORT_FORMATS) expect(text).to.include(`\`${format}\``);
  });
});
