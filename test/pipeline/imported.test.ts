import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { pruneOnce } from '#lib/compress/sparsity/once.js';
import { evaluate } from '#lib/evaluate/evaluate.js';
import { saveModel } from '#lib/formats/pcqat/save.js';
import { GraphBuilder } from '#lib/graph/builder.js';
import { createModel } from '#lib/graph/initialize.js';
import type { Model } from '#lib/graph/model.js';
import { lenet5 } from '#lib/graph/zoo/index.js';
import { planColumns } from '#lib/pipeline/columns.js';
import { parseRecipe, readRecipe } from '#lib/pipeline/parse.js';
import type { Recipe } from '#lib/pipeline/recipe.js';
import { runRecipe } from '#lib/pipeline/run.js';
import { textTable } from '#lib/report/table.js';
import { fit } from '#lib/train/fit.js';
import { adam } from '#lib/train/optimizers.js';
import { expectCode, expectRejection } from '../support/errors.js';
import { SIDE, syntheticSplits } from './synthetic.js';

const data = syntheticSplits();
const idx = { name: 'idx', path: 'unused' };

describe('a recipe that starts from a trained model', function () {
  this.timeout(60_000);
  let root: string;
  let trained: Model;
  let file: string;
  let count = 0;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'pcqat-imported-'));
    trained = lenet5({ classes: 4, inputShape: [SIDE, SIDE, 1], seed: 9 });
    await fit(trained, { train: data.train, epochs: 8, batchSize: 16, optimizer: adam({ learningRate: 3e-3 }) });
    file = join(root, 'trained.json');
    await saveModel(trained, file);
  });
  after(() => rm(root, { recursive: true }));

  const out = (): string => join(root, `out-${count++}`);
  const recipe = (extra: object = {}, model: object = { file }): Recipe =>
    parseRecipe({ model, data: idx, epochs: 4, batchSize: 16, clusters: 8, learningRate: 0.001, ...extra });
  const saved = async (name: string, model: Model): Promise<string> => {
    await saveModel(model, join(root, name));
    return join(root, `${name}.json`);
  };

  it('makes every column from it, and leaves the baseline as it is', async () => {
    const report = await runRecipe(recipe(), { out: out(), data });
    const { baseline, pruned, qat, prunedClustered, pcqat } = report.columns;
    expect(report).to.include({ model: 'trained.json', title: 'trained.json on idx' });
    expect(report.budget).to.deep.equal({ epochs: 4, steps: 12, batchSize: 16 });
    expect(baseline).to.deep.include({ epochs: 0, steps: 0, history: [], accuracy: (await evaluate(trained, data.test)).accuracy });
    expect(baseline!.accuracy).to.be.above(0.9);
    const stages = [pruned, qat, prunedClustered, pcqat].map((column) => column!.stages.map(({ stage, epochs }) => [stage, epochs]));
    expect(stages).to.deep.equal([
      [
        ['prune', 1],
        ['finetune', 3],
      ],
      [['qat', 4]],
      [
        ['prune', 1],
        ['cluster', 3],
      ],
      [
        ['prune', 1],
        ['cluster', 1],
        ['pcqat', 2],
      ],
    ]);
    for (const column of [pruned, qat, prunedClustered, pcqat]) expect(column!.int8Accuracy).to.be.above(0.9);
    for (const { zeros, codes } of pcqat!.layers) {
      expect(zeros).to.be.at.least(0.49);
      expect(codes).to.be.at.most(8);
    }
    const text = textTable(report);
    expect(text).to.include('Every other column: 4 epochs');
    expect(text).to.include('Baseline: trained.json as it is, not trained.');
  });

  it('trains the baseline too where the recipe says so', async () => {
    const columns = { baseline: [{ stage: 'finetune', epochs: 1 }] };
    const report = await runRecipe(recipe({ columns, outputs: { columns: ['baseline'], html: false } }), { out: out(), data });
    expect(report.columns['baseline']!.history.map(({ stage }) => stage)).to.deep.equal(['finetune']);
    expect(textTable(report)).to.include('Every column: 1 epochs');
    // It went on from the trained weights.
    expect(report.columns['baseline']!.history[0]!.loss).to.be.below(0.5);
  });

  it('resumes, but not with another model in the file', async () => {
    const path = join(root, 'replaced.json');
    await saveModel(trained, path);
    const one = recipe({ outputs: { columns: ['qat'], html: false } }, { file: path });
    const folder = out();
    const controller = new AbortController();
    let steps = 0;
    const onProgress = (event: { type: string }): void => {
      if (event.type === 'step' && ++steps === 5) controller.abort();
    };
    await runRecipe(one, { out: folder, data, signal: controller.signal, onProgress }).catch((error: Error) =>
      expect(error.name).to.equal('AbortError'),
    );
    await saveModel(lenet5({ classes: 4, inputShape: [SIDE, SIDE, 1], seed: 10 }), path);
    await expectRejection(runRecipe(one, { out: folder, data, resume: true }), 'ERR_OPTION', /of another recipe/);
    await saveModel(trained, path);
    const resumed = await runRecipe(one, { out: folder, data, resume: true });
    const whole = await runRecipe(one, { out: out(), data });
    expect(resumed.columns['qat']!.sha256).to.equal(whole.columns['qat']!.sha256);
  });

  it('keeps the zeros of a pruned model, whose mask it strips', async () => {
    const pruned = pruneOnce(trained, { targetSparsity: 0.5 });
    expect(pruned.chains.size).to.be.above(0);
    const path = await saved('pruned', pruned);
    const report = await runRecipe(recipe({ outputs: { columns: ['baseline'], html: false } }, { file: path }), { out: out(), data });
    for (const { zeros } of report.columns['baseline']!.layers) expect(zeros).to.be.at.least(0.45);
  });

  it('says what does not fit', async () => {
    const wide = await saved('wide', lenet5({ classes: 4, inputShape: [16, 16, 1] }));
    const many = await saved('many', lenet5({ classes: 5, inputShape: [SIDE, SIDE, 1] }));
    const quantized = await saved('quantized', quantizeModel(trained, { onNotice: () => undefined }));
    const g = new GraphBuilder('bare');
    const bare = await saved('bare', createModel(g.build(g.globalAveragePool2d(g.input([SIDE, SIDE, 4])))));
    const folder = out();
    const rejects = (path: string, message: RegExp): Promise<void> =>
      expectRejection(runRecipe(recipe({}, { file: path }), { out: folder, data }), 'ERR_RECIPE', message);
    await rejects(wide, /takes \[16, 16, 1\] but an example of 'train' is \[12, 12, 1\].*\(recipe\.model\.file\)/);
    await rejects(many, /gives \[5\] but 'train' has 4 classes/);
    await rejects(quantized, /fake quantization already/);
    await rejects(bare, /no layer with weights/);
    await expectRejection(runRecipe(recipe({}, { file: join(root, 'none.onnx') }), { out: folder, data }), 'ERR_IO', /none\.onnx/);
    await expectRejection(
      runRecipe(recipe({ layers: { nope: { sparsity: 0 } } }), { out: folder, data }),
      'ERR_RECIPE',
      /'trained\.json' has no layer 'nope'/,
    );
  });

  it('names the file relative to the recipe', async () => {
    const folder = join(root, 'recipes');
    await mkdir(folder);
    const path = join(folder, 'r.json');
    await writeFile(path, JSON.stringify({ model: { file: '../trained.json', output: 'logits' }, data: idx }));
    expect((await readRecipe(path)).model).to.deep.equal({ file, output: 'logits' });
    await writeFile(path, JSON.stringify({ model: { file }, data: idx }));
    expect((await readRecipe(path)).model).to.deep.equal({ file });
    expect(await readFile(file)).to.have.length.above(0);
  });

  it('checks the fields', () => {
    const rejects = (extra: object, field: string, message: RegExp, model: object = { file }): void => {
      expectCode(() => recipe(extra, model), 'ERR_RECIPE', message);
      expectCode(() => recipe(extra, model), 'ERR_RECIPE', new RegExp(`\\(recipe\\.${field}`));
    };
    rejects({}, 'model\\.nope\\)', /unknown field 'nope'/, { file, nope: 1 });
    rejects({}, 'model\\.file\\)', /it is 5 but must be a text/, { file: 5 });
    rejects({}, 'model\\.file\\)', /missing/, { output: 'y' });
    rejects({}, 'model\\.dequantize\\)', /must be true or false/, { file, dequantize: 'yes' });
    const short = [
      { stage: 'prune', epochs: 1 },
      { stage: 'finetune', epochs: 1 },
    ];
    rejects({ columns: { pruned: short } }, 'columns\\.qat\\)', /have 4 epochs but those of pruned have 2/);
    rejects({ columns: { qat: [{ stage: 'qat', epochs: 0 }] } }, 'columns\\.qat\\[0\\]\\.epochs\\)', /at least 1/);
    const fresh = {
      columns: {
        qat: [
          { stage: 'float', epochs: 0 },
          { stage: 'qat', epochs: 4 },
        ],
      },
    };
    rejects(fresh, 'columns\\.qat\\[0\\]\\.epochs\\)', /it is 0 but must be at least 1.*Only a model from a file/, { name: 'lenet5' });
    rejects({ columns: { baseline: [{ stage: 'finetune', epochs: 4 }] } }, 'columns\\.baseline\\[0\\]', /'finetune' has no stage/, {
      name: 'lenet5',
    });
    expect(planColumns(recipe(fresh)).find(({ name }) => name === 'qat')).to.include({ epochs: 4 });
  });

  for (const epochs of [4, 5, 7, 40, 101]) {
    it(`gives every column but the baseline ${epochs} epochs`, () => {
      for (const column of planColumns(recipe({ epochs }))) {
        expect(column.epochs).to.equal(column.name === 'baseline' ? 0 : epochs);
        if (column.name !== 'baseline') for (const stage of column.stages) expect(stage.epochs).to.be.at.least(1);
      }
    });
  }
});
