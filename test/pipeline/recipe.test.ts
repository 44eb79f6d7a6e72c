import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { parse as parseYaml } from 'yaml';
import { PcqatError } from '#lib/errors.js';
import { demoRecipe } from '#lib/pipeline/demo.js';
import { parseRecipe, readRecipe } from '#lib/pipeline/parse.js';
import { planColumns } from '#lib/pipeline/columns.js';
import { COLUMNS, recipeSchema } from '#lib/pipeline/recipe.js';

const base = { model: 'ds-cnn-s', data: 'fsdd' };

function errorOf(input: unknown): PcqatError {
  try {
    parseRecipe(input);
  } catch (error) {
    expect(error).to.be.instanceOf(PcqatError);
    return error as PcqatError;
  }
  throw new Error(`accepted ${JSON.stringify(input)}`);
}

describe('recipe', () => {
  it('fills in the defaults', () => {
    const recipe = parseRecipe(base);
    expect(recipe).to.deep.include({ seed: 1, sparsity: 0.5, clusters: 16, centroidInit: 'kmeans++', preserveSparsity: true });
    expect(recipe.model).to.deep.equal({ name: 'ds-cnn-s' });
    expect(recipe.data).to.deep.equal({ name: 'fsdd' });
    expect(recipe.optimizer).to.deep.equal({ kind: 'adam' });
  });

  it('takes every model, data set and stage', () => {
    const stages = (last: object[]) => [{ stage: 'float', epochs: 2 }, ...last];
    const recipe = parseRecipe({
      model: { name: 'mobilenet-v1', alpha: 0.5 },
      data: { name: 'idx', path: 'mnist', limit: { train: 100 } },
      optimizer: { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 1e-4 },
      learningRate: { kind: 'exponential', from: 0.1, to: 0.01, warmUpEpochs: 1 },
      augment: { shift: [2, 2], flip: true, noise: 0.1 },
      layers: { conv1: { sparsity: 0, clusters: false }, block1_pw: { granularity: 'channel' } },
      columns: {
        baseline: stages([{ stage: 'finetune', epochs: 4, learningRate: 0.001 }]),
        pruned: stages([{ stage: 'prune', epochs: 4, schedule: 'constant', rampEpochs: 0.5, updatesPerEpoch: 2 }]),
        qat: stages([{ stage: 'qat', epochs: 4, weightScale: 'channel', rangeInit: 'reference' }]),
        prunedClustered: stages([
          { stage: 'prune', epochs: 2, initialSparsity: 0.1 },
          { stage: 'cluster', epochs: 2, granularity: 'channel', aggregation: 'average' },
        ]),
        pcqat: stages([
          { stage: 'prune', epochs: 1 },
          { stage: 'cluster', epochs: 1 },
          { stage: 'pcqat', epochs: 1 },
          { stage: 'retune', epochs: 1, learningRate: 0.0001 },
        ]),
      },
      outputs: { html: false, models: true },
    });
    expect(recipe.columns.pcqat).to.have.lengthOf(5);
    expect(recipe.outputs).to.deep.equal({ html: false, models: true });
  });

  const wrong: [what: string, change: object, field: string, allowed: RegExp][] = [
    ['an unknown field', { sparcity: 0.5 }, 'recipe.sparcity', /unknown field 'sparcity'/],
    [
      'an unknown field of a stage',
      { columns: { qat: [{ stage: 'float', epochs: 1, lr: 1 }] } },
      'recipe.columns.qat[0].lr',
      /unknown field 'lr'/,
    ],
    ['an unknown column', { columns: { cqat: [] } }, 'recipe.columns.cqat', /unknown field 'cqat'/],
    ['an unknown model', { model: 'ds-cnn-xl' }, 'recipe.model', /ds-cnn-s/],
    ['an unknown model by its object', { model: { name: 'vgg' } }, 'recipe.model.name', /ds-cnn-s/],
    ['an option of another model', { model: { name: 'resnet8', alpha: 1 } }, 'recipe.model.alpha', /unknown field 'alpha'/],
    ['an unknown data set', { data: 'imagenet' }, 'recipe.data', /fsdd/],
    ['a missing path', { data: { name: 'idx' } }, 'recipe.data.path', /it is missing/],
    ['sparsity 1', { sparsity: 1 }, 'recipe.sparsity', /less than 1/],
    ['negative sparsity', { sparsity: -0.1 }, 'recipe.sparsity', /at least 0/],
    ['sparsity as text', { sparsity: '0.5' }, 'recipe.sparsity', /must be a number/],
    ['NaN', { sparsity: NaN }, 'recipe.sparsity', /must be a number/],
    ['one cluster', { clusters: 1, preserveSparsity: false }, 'recipe.clusters', /at least 2/],
    ['two clusters with preserveSparsity', { clusters: 2 }, 'recipe.clusters', /at least 3 with preserveSparsity/],
    ['two clusters of a layer', { layers: { conv1: { clusters: 2 } } }, 'recipe.layers.conv1.clusters', /at least 3 with preserveSparsity/],
    ['too many clusters', { clusters: 257 }, 'recipe.clusters', /at most 256/],
    ['broken clusters', { clusters: 2.5 }, 'recipe.clusters', /whole number/],
    ['an unknown initialiser', { centroidInit: 'forgy' }, 'recipe.centroidInit', /linear, random, density-based, kmeans\+\+/],
    ['an unknown optimizer', { optimizer: 'lion' }, 'recipe.optimizer', /adam, adamw, sgd/],
    ['an unknown stage', { columns: { qat: [{ stage: 'distill', epochs: 1 }] } }, 'recipe.columns.qat[0].stage', /float, prune/],
    ['no epochs', { columns: { qat: [{ stage: 'float' }] } }, 'recipe.columns.qat[0].epochs', /missing/],
    ['zero epochs', { columns: { qat: [{ stage: 'float', epochs: 0 }] } }, 'recipe.columns.qat[0].epochs', /at least 1/],
    ['an empty column', { columns: { qat: [] } }, 'recipe.columns.qat', /at least 1/],
    ['a rate of 0', { learningRate: 0 }, 'recipe.learningRate', /greater than 0/],
    ['a rising rate', { learningRate: { kind: 'cosine', from: 0.1, to: 0.2 } }, 'recipe.learningRate.to', /at most/],
    ['an exponential rate to 0', { learningRate: { kind: 'exponential', from: 0.1, to: 0 } }, 'recipe.learningRate.to', /never reaches 0/],
    ['threads 0', { threads: 0 }, 'recipe.threads', /at least 1/],
    ['a negative seed', { seed: -1 }, 'recipe.seed', /at least 0/],
    ['a batch of 0', { batchSize: 0 }, 'recipe.batchSize', /at least 1/],
    ['no columns', { outputs: { columns: [] } }, 'recipe.outputs.columns', /at least 1/],
    ['a short shift', { augment: { shift: [1] } }, 'recipe.augment.shift', /at least 2 entries/],
  ];
  for (const [what, change, field, allowed] of wrong) {
    it(`rejects ${what} and names ${field}`, () => {
      const error = errorOf({ ...base, ...change });
      expect(error.code).to.equal('ERR_RECIPE');
      expect(error.where).to.equal(field);
      expect(error.message).to.match(allowed);
      expect(error.remedy).to.be.a('string').that.is.not.empty;
    });
  }

  const misplaced: [what: string, column: string, stages: object[], field: string][] = [
    [
      'float in the middle',
      'baseline',
      [
        { stage: 'float', epochs: 20 },
        { stage: 'float', epochs: 20 },
      ],
      'columns.baseline[1].stage',
    ],
    ['finetune first', 'baseline', [{ stage: 'finetune', epochs: 40 }], 'columns.baseline[0].stage'],
    [
      'pcqat without prune',
      'pcqat',
      [
        { stage: 'cluster', epochs: 20 },
        { stage: 'pcqat', epochs: 20 },
      ],
      'columns.pcqat[1].stage',
    ],
    [
      'pcqat without cluster',
      'pcqat',
      [
        { stage: 'prune', epochs: 20 },
        { stage: 'pcqat', epochs: 20 },
      ],
      'columns.pcqat[1].stage',
    ],
    [
      'prune after cluster',
      'prunedClustered',
      [
        { stage: 'cluster', epochs: 20 },
        { stage: 'prune', epochs: 20 },
      ],
      'columns.prunedClustered[1].stage',
    ],
    [
      'prune after qat',
      'qat',
      [
        { stage: 'qat', epochs: 20 },
        { stage: 'prune', epochs: 20 },
      ],
      'columns.qat[1].stage',
    ],
    [
      'retune before there is a codebook in int8',
      'prunedClustered',
      [
        { stage: 'prune', epochs: 10 },
        { stage: 'cluster', epochs: 20 },
        { stage: 'retune', epochs: 10 },
      ],
      'columns.prunedClustered[2].stage',
    ],
    [
      'quantization after retune',
      'pcqat',
      [
        { stage: 'prune', epochs: 10 },
        { stage: 'cluster', epochs: 10 },
        { stage: 'pcqat', epochs: 10 },
        { stage: 'retune', epochs: 5 },
        { stage: 'qat', epochs: 5 },
      ],
      'columns.pcqat[4].stage',
    ],
    ['a baseline that is pruned', 'baseline', [{ stage: 'prune', epochs: 40 }], 'columns.baseline'],
    ['a QAT column without qat', 'qat', [{ stage: 'float', epochs: 40 }], 'columns.qat'],
    ['another budget', 'qat', [{ stage: 'qat', epochs: 39 }], 'columns.qat'],
  ];
  for (const [what, column, stages, field] of misplaced) {
    it(`rejects ${what}`, () => {
      const error = errorOf({ ...base, columns: { [column]: stages } });
      expect(error.code).to.equal('ERR_RECIPE');
      expect(error.where).to.equal(`recipe.${field}`);
    });
  }

  it('rejects what is no object', () => {
    for (const input of [null, 5, 'ds-cnn-s', [], undefined]) expect(errorOf(input).code).to.equal('ERR_RECIPE');
  });

  it('answers any JSON with a recipe or ERR_RECIPE', () => {
    const field = fc.constantFrom(
      'model',
      'data',
      'seed',
      'clusters',
      'layers',
      'columns',
      'optimizer',
      'learningRate',
      'outputs',
      'augment',
    );
    fc.assert(
      fc.property(fc.dictionary(field, fc.jsonValue()), (input) => {
        try {
          parseRecipe({ ...base, ...input });
        } catch (error) {
          expect((error as PcqatError).code).to.equal('ERR_RECIPE');
          expect((error as PcqatError).where).to.match(/^recipe\./);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('makes the demo recipe from flags', () => {
    const recipe = demoRecipe({ model: 'ds-cnn-l', sparsity: 0.75, clusters: 8, seed: 3 });
    expect(recipe).to.deep.include({ sparsity: 0.75, clusters: 8, seed: 3 });
    expect(recipe.model).to.deep.equal({ name: 'ds-cnn-l' });
    expect(() => demoRecipe({ sparsity: 1 })).to.throw(PcqatError, /less than 1/);
  });
});

describe('readRecipe', () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(join(tmpdir(), 'pcqat-recipe-'))));
  after(() => rm(folder, { recursive: true }));

  const read = async (name: string, text: string) => {
    await writeFile(join(folder, name), text);
    return readRecipe(join(folder, name));
  };
  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => expect.fail('accepted'),
      (error: unknown) => error as PcqatError,
    );

  it('reads JSON and YAML alike', async () => {
    const json = await read('a.json', JSON.stringify({ ...base, sparsity: 0.25, outputs: { columns: ['pcqat'] } }));
    const yaml = await read('a.yaml', 'model: ds-cnn-s\ndata: fsdd\nsparsity: 0.25\noutputs:\n  columns: [pcqat]\n');
    expect(yaml).to.deep.equal(json);
    expect(COLUMNS).to.include.members(json.outputs.columns!);
  });

  it('says what is wrong with the file', async () => {
    const json = await failure(read('b.json', '{ "model": '));
    expect(json.code).to.equal('ERR_RECIPE');
    expect(json.message).to.match(/not valid JSON/);
    const yaml = await failure(read('b.yml', 'model: [ds-cnn-s\n'));
    expect(yaml.message).to.match(/not valid YAML/);
    const missing = await failure(readRecipe(join(folder, 'none.json')));
    expect(missing.code).to.equal('ERR_IO');
    expect(missing.where).to.equal(join(folder, 'none.json'));
  });

  it('does not expand a YAML bomb', async () => {
    const lines = ['a: &a [x,x,x,x,x,x,x,x,x]'];
    for (let i = 0; i < 9; i++) lines.push(`${'bcdefghij'[i]}: &${'bcdefghij'[i]} [${Array(9).fill(`*${'abcdefghi'[i]}`).join(',')}]`);
    expect((await failure(read('bomb.yaml', lines.join('\n')))).code).to.equal('ERR_RECIPE');
  });
});

describe('docs/recipes.md', () => {
  it('shows recipes that are valid, and names every field', async () => {
    const text = await readFile('docs/recipes.md', 'utf8');
    const blocks = [...text.matchAll(/```(?:yaml|json)\n([\s\S]*?)```/g)].map((match) => match[1]!);
    expect(blocks.length).to.be.at.least(3);
    for (const block of blocks) parseRecipe(parseYaml(block));
    for (const field of Object.keys(recipeSchema.shape)) expect(text).to.include(`\`${field}\``.replace('`$schema`', '"$schema"'));
  });

  it('tells the truth about the default columns', async () => {
    const text = await readFile('docs/recipes.md', 'utf8');
    for (const { name, stages } of planColumns(parseRecipe(base))) {
      const shown = stages.map(({ stage, epochs }) => `${stage} ${epochs}`).join(' → ');
      expect(text).to.match(new RegExp(`\\| \`${name}\` +\\| ${shown} +\\|`));
    }
  });
});
