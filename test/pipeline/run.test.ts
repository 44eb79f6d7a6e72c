import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { PcqatError } from '#lib/errors.js';
import { verifyExport } from '#lib/evaluate/verify.js';
import { readCertificate } from '#lib/formats/certificate/file.js';
import { loadModel } from '#lib/formats/pcqat/load.js';
import { CHECKPOINT_FOLDER } from '#lib/pipeline/checkpoint.js';
import { parseRecipe } from '#lib/pipeline/parse.js';
import type { ProgressEvent } from '#lib/pipeline/progress.js';
import type { Recipe } from '#lib/pipeline/recipe.js';
import { runRecipe, type RunOptions } from '#lib/pipeline/run.js';
import type { Report } from '#lib/report/types.js';
import { syntheticSplits } from './synthetic.js';

const COLUMNS = ['baseline', 'pruned', 'qat', 'prunedClustered', 'pcqat'];
const data = syntheticSplits();
const recipe = (extra: object = {}): Recipe =>
  parseRecipe({
    model: 'lenet5',
    data: { name: 'idx', path: 'unused' },
    epochs: 6,
    batchSize: 16,
    clusters: 8,
    augment: { shift: [1, 0] },
    ...extra,
  });

describe('runRecipe', () => {
  let root: string;
  let count = 0;
  before(async () => (root = await mkdtemp(join(tmpdir(), 'pcqat-run-'))));
  after(() => rm(root, { recursive: true }));

  const folder = (): string => join(root, String(count++));
  const run = (one: Recipe, options: Partial<RunOptions> & { out: string }): Promise<Report> => runRecipe(one, { data, ...options });
  const failure = async (promise: Promise<unknown>): Promise<PcqatError> => {
    const error = await promise.then(
      () => expect.fail('resolved'),
      (reason: unknown) => reason,
    );
    return error as PcqatError;
  };
  /** Of exported files and their certificates. */
  const hashes = async (out: string): Promise<Record<string, string>> => {
    const names = (await readdir(out)).filter((name) => /\.(tflite|certificate\.json)$/.test(name)).sort();
    const entries = await Promise.all(
      names.map(async (name) => [
        name,
        createHash('sha256')
          .update(await readFile(join(out, name)))
          .digest('hex'),
      ]),
    );
    return Object.fromEntries(entries) as Record<string, string>;
  };

  const folders = { whole: '' };
  let whole: { report: Report; files: Record<string, string> };
  before(async () => {
    const out = folder();
    folders.whole = out;
    whole = { report: await run(recipe(), { out }), files: await hashes(out) };
    expect((await readdir(out)).sort()).to.deep.equal(
      [
        ...['baseline', 'pruned', 'qat', 'pruned-clustered', 'pcqat'].flatMap((name) => [`${name}.tflite`, `${name}.certificate.json`]),
        ...['report.html', 'report.json'],
      ].sort(),
    );
    expect(JSON.parse(await readFile(join(out, 'report.json'), 'utf8'))).to.deep.equal(JSON.parse(JSON.stringify(whole.report)));
  });

  it('writes the report of the issue', () => {
    const { report, files } = whole;
    expect(report).to.deep.include({ model: 'lenet5', data: 'idx', seed: 1 });
    expect(report.seconds).to.be.above(0);
    expect(Object.keys(report.columns)).to.deep.equal(COLUMNS);
    for (const name of COLUMNS) {
      const column = report.columns[name]!;
      expect(files).to.have.property(column.file, column.sha256);
      for (const accuracy of [column.accuracy, column.int8Accuracy]) expect(accuracy).to.be.within(0, 1);
      expect(column.gzipBytes).to.be.below(column.bytes);
      expect(column.layers.map((layer) => layer.name)).to.deep.equal(['conv1', 'conv2', 'dense1', 'dense2', 'logits']);
      expect(column.epochs).to.equal(6);
      expect(column.steps).to.equal(18);
      expect(column.history.map(({ epoch }) => epoch)).to.deep.equal([1, 2, 3, 4, 5, 6]);
      expect(column.accuracyOf).to.equal(name === 'qat' || name === 'pcqat' ? 'fake-int8' : 'float');
    }
    expect(report.columns.baseline!.accuracy).to.be.above(0.9);
    expect(report.columns.baseline!.int8Accuracy).to.be.above(0.9);
  });

  it('writes a certificate beside every file, which the file verifies against', async () => {
    for (const name of COLUMNS) {
      const { file, certificate: path, sha256, layers, fidelity } = whole.report.columns[name]!;
      const certificate = await readCertificate(join(folders.whole, path));
      const { ok, mismatches } = await verifyExport(await readFile(join(folders.whole, file)), certificate);
      expect(mismatches).to.deep.equal([]);
      expect(ok).to.equal(true);
      expect(certificate.file.sha256).to.equal(sha256);
      expect(certificate.layers.map(({ name, codes }) => [name, codes])).to.deep.equal(layers.map(({ name, codes }) => [name, codes]));
      const quantized = name === 'qat' || name === 'pcqat';
      const technique = { baseline: 'float', pruned: 'prune', qat: 'qat', prunedClustered: 'cluster', pcqat: 'pcqat' }[name];
      expect(certificate.layers.map((layer) => layer.technique)).to.deep.equal(layers.map(() => technique));
      const { simulation } = certificate.fidelity;
      expect(fidelity).to.deep.equal(quantized ? { ...simulation!.data, fakeQuant: simulation!.fakeQuant } : undefined);
      if (!quantized) continue;
      expect(fidelity).to.include({ rows: 24, agreement: 1 });
      expect(fidelity!.maxSteps).to.be.below(1e-3);
      for (const { largestDifference } of certificate.layers) expect(largestDifference).to.be.within(0, 1e-3);
      expect(fidelity!.fakeQuant.agreement).to.be.at.least(23 / 24);
      expect(fidelity!.fakeQuant.meanSteps).to.be.below(1);
    }
  });

  it('keeps zeros and clusters where the column promises it', () => {
    const { pruned, prunedClustered, pcqat, qat } = whole.report.columns;
    for (const column of [pruned, prunedClustered, pcqat]) for (const { zeros } of column!.layers) expect(zeros).to.be.at.least(0.49);
    for (const { codes } of pcqat!.layers) expect(codes).to.be.at.most(8);
    expect(qat!.maxCodes).to.be.above(100);
    expect(pcqat!.gzipBytes).to.be.below(qat!.gzipBytes);
  });

  it('gives the same bytes for every number of threads', async () => {
    for (const threads of [1, 4]) {
      const out = folder();
      const report = await run(recipe(), { out, threads });
      expect(report.columns).to.deep.equal(whole.report.columns);
      expect(await hashes(out)).to.deep.equal(whole.files);
    }
  });

  it('ends with the same bytes however often it is stopped', async () => {
    const out = folder();
    for (const every of [5, 1, 8, 2, 3, 4, 7, 100]) {
      const controller = new AbortController();
      let steps = 0;
      const onProgress = (event: ProgressEvent): void => {
        if (event.type === 'step' && ++steps === every) controller.abort();
      };
      const error = await run(recipe(), { out, resume: every !== 5, signal: controller.signal, onProgress }).then(
        () => undefined,
        (reason: unknown) => reason as Error,
      );
      if (error === undefined) expect(every).to.equal(100);
      else expect(error.name).to.equal('AbortError');
    }
    const report = JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as Report;
    expect(report.columns).to.deep.equal(JSON.parse(JSON.stringify(whole.report.columns)));
    expect(await hashes(out)).to.deep.equal(whole.files);
    expect(await readdir(out)).not.to.include(CHECKPOINT_FOLDER);
  });

  it('keeps finished columns and does not train them again', async () => {
    const out = folder();
    const controller = new AbortController();
    const stop = (event: ProgressEvent): void => {
      if (event.type === 'column' && event.column === 'pruned') controller.abort();
    };
    expect((await failure(run(recipe(), { out, signal: controller.signal, onProgress: stop }))).name).to.equal('AbortError');
    const events: ProgressEvent[] = [];
    const report = await run(recipe(), { out, resume: true, onProgress: (event) => events.push(event) });
    const stages = events.filter((event) => event.type === 'stage').flatMap(({ columns }) => columns);
    expect(stages).not.to.include.members(['baseline']);
    expect(stages).to.include('pcqat');
    expect(report.columns).to.deep.equal(whole.report.columns);
  });

  it('answers --resume of a finished run with its report', async () => {
    const out = folder();
    const report = await run(recipe(), { out });
    let trained = false;
    expect(await run(recipe(), { out, resume: true, onProgress: () => (trained = true) })).to.deep.equal(
      JSON.parse(JSON.stringify(report)),
    );
    expect(trained).to.equal(false);
  });

  it('never discards an unfinished run unasked, nor resumes another recipe', async () => {
    const out = folder();
    const controller = new AbortController();
    const onProgress = (event: ProgressEvent): void => {
      if (event.type === 'step') controller.abort();
    };
    await failure(run(recipe(), { out, signal: controller.signal, onProgress }));
    expect((await failure(run(recipe(), { out }))).message).to.match(/unfinished run.*--resume.*--fresh/s);
    const other = await failure(run(recipe({ seed: 2 }), { out, resume: true }));
    expect(other.code).to.equal('ERR_OPTION');
    expect(other.message).to.match(/another recipe/);
    await writeFile(join(out, CHECKPOINT_FOLDER, 'state.json'), '{"version":1}');
    expect((await failure(run(recipe(), { out, resume: true }))).code).to.equal('ERR_FORMAT');
    const report = await run(recipe(), { out, fresh: true });
    expect(report.columns).to.deep.equal(whole.report.columns);
    expect((await failure(run(recipe({ seed: 3 }), { out, resume: true }))).message).to.match(/no unfinished run/);
  });

  it('rejects a checkpoint whose model was damaged', async () => {
    const out = folder();
    const controller = new AbortController();
    const onProgress = (event: ProgressEvent): void => {
      if (event.type === 'step') controller.abort();
    };
    await failure(run(recipe(), { out, signal: controller.signal, onProgress }));
    const file = (await readdir(join(out, CHECKPOINT_FOLDER))).find((name) => name.endsWith('.bin'))!;
    const path = join(out, CHECKPOINT_FOLDER, file);
    const bytes = await readFile(path);
    await writeFile(path, bytes.subarray(0, bytes.length / 2));
    expect((await failure(run(recipe(), { out, resume: true }))).code).to.equal('ERR_FORMAT');
  });

  it('finds an unwritable folder before training', async () => {
    const file = join(root, 'a-file');
    await writeFile(file, '');
    let trained = false;
    const error = await failure(run(recipe(), { out: join(file, 'out'), onProgress: () => (trained = true) }));
    expect(error.code).to.equal('ERR_IO');
    expect(error.where).to.equal(join(file, 'out'));
    expect(trained).to.equal(false);
  });

  it('finds a wrong layer name and a model that does not fit before training', async () => {
    let trained = false;
    const onProgress = (): void => void (trained = true);
    const layer = await failure(run(recipe({ layers: { conv9: { sparsity: 0.9 } } }), { out: folder(), onProgress }));
    expect(layer.code).to.equal('ERR_RECIPE');
    expect(layer.where).to.equal('recipe.layers.conv9');
    expect(layer.message).to.match(/conv1, conv2/);
    const model = await failure(run(recipe({ model: 'mnist-cnn' }), { out: folder(), onProgress }));
    expect(model.code).to.equal('ERR_RECIPE');
    expect(model.message).to.match(/28, 28, 1.*12, 12, 1/s);
    expect(trained).to.equal(false);
  });

  it('follows the options of a layer', async () => {
    const layers = { conv1: { sparsity: 0, clusters: false }, dense1: { sparsity: 0.9, clusters: 4 } };
    const report = await run(recipe({ layers, outputs: { columns: ['pcqat'], html: false, models: true } }), { out: folder() });
    const of = (name: string) => report.columns['pcqat']!.layers.find((layer) => layer.name === name)!;
    expect(of('conv1').zeros).to.be.below(0.1);
    expect(of('conv1').codes).to.be.above(8);
    expect(of('dense1').zeros).to.be.at.least(0.89);
    expect(of('dense1').codes).to.be.at.most(4);
    expect(of('conv2').codes).to.be.at.most(8);
  });

  it('saves the models where asked, and no HTML', async () => {
    const out = folder();
    await run(recipe({ outputs: { columns: ['pcqat'], html: false, models: true } }), { out });
    expect((await readdir(out)).sort()).to.deep.equal(['pcqat.bin', 'pcqat.certificate.json', 'pcqat.json', 'pcqat.tflite', 'report.json']);
    expect((await loadModel(join(out, 'pcqat'))).chains.get('dense1/kernel')?.technique).to.equal('pcqat');
  });

  it('names the layer when training diverges, and keeps what is finished', async () => {
    const out = folder();
    const columns = {
      baseline: [
        { stage: 'float', epochs: 3 },
        { stage: 'finetune', epochs: 3, learningRate: 10 },
      ],
    };
    // with a rate of 10 the decay multiplies every weight by −9 a step
    const optimizer = { kind: 'sgd', weightDecay: 1 };
    const error = await failure(run(recipe({ columns, optimizer, learningRate: 0.01, batchSize: 4 }), { out }));
    expect(error.code).to.equal('ERR_DIVERGED');
    expect(error.where).to.match(/layer '/);
    const state = JSON.parse(await readFile(join(out, CHECKPOINT_FOLDER, 'state.json'), 'utf8')) as { pieces: object };
    expect(Object.keys(state.pieces)).to.have.lengthOf(1);
  });
});
