import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { projectCodebooks } from '#lib/compress/quantization/project.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { stripQuantization } from '#lib/compress/quantization/strip.js';
import { openRunner } from '#lib/evaluate/runners.js';
import { loadModel } from '#lib/formats/pcqat/load.js';
import type { Model } from '#lib/graph/model.js';
import { EXPORT_FORMATS } from '#lib/pipeline/export-formats.js';
import { parseRecipe } from '#lib/pipeline/parse.js';
import { runRecipe } from '#lib/pipeline/run.js';
import type { ExportReport } from '#lib/report/types.js';
import { syntheticSplits } from './synthetic.js';

describe('exported files of a recipe', function () {
  this.timeout(60_000);
  const data = syntheticSplits();
  let out: string;
  let trained: Model;
  let exports: readonly ExportReport[];

  before(async () => {
    out = await mkdtemp(join(tmpdir(), 'pcqat-exports-'));
    const recipe = parseRecipe({
      model: 'lenet5',
      data: { name: 'idx', path: 'unused' },
      epochs: 4,
      batchSize: 16,
      clusters: 8,
      outputs: { columns: ['baseline', 'pcqat'], models: true, formats: [...EXPORT_FORMATS] },
    });
    const report = await runRecipe(recipe, { data, out });
    exports = report.columns.pcqat?.exports ?? [];
    // As the pipeline prepares it for its files.
    trained = projectCodebooks(stripClustering(stripPruning(await loadModel(join(out, 'pcqat.json')))), { onNotice: () => undefined });
  });
  after(() => rm(out, { recursive: true }));

  const outputs = async (file: string): Promise<Float32Array> => {
    const runner = await openRunner(join(out, file));
    try {
      return await runner.run(data.test.x);
    } finally {
      runner.dispose();
    }
  };
  const largestDifference = (a: Float32Array, b: Float32Array): number => {
    expect(a.length).to.equal(b.length);
    return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? NaN))), 0);
  };

  it('are all written, and reported with their sizes', async () => {
    for (const format of EXPORT_FORMATS.filter((one) => one !== 'tflite')) {
      const files = exports.filter((one) => one.format === format);
      expect(files.length, format).to.be.greaterThan(0);
      for (const { file, bytes } of files) expect((await readFile(join(out, file))).length, file).to.equal(bytes);
    }
  });

  for (const file of ['pcqat-float.onnx', 'pcqat-tfjs', 'pcqat-float.tflite']) {
    it(`give the outputs of the model without fake quantization: ${file}`, async () => {
      const runner = await openRunner(stripQuantization(trained));
      const expected = await runner.run(data.test.x);
      runner.dispose();
      const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(largestDifference(await outputs(file), expected) / scale).to.be.below(1e-5);
    });
  }

  it('keep float16 weights within their precision', async () => {
    const [half, full] = [await outputs('pcqat-float16.tflite'), await outputs('pcqat-float.tflite')];
    const scale = full.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largestDifference(half, full) / scale).to.be.below(2 ** -8);
  });

  it('hold the bytes of the int8 file in the C header', async () => {
    const header = await readFile(join(out, 'pcqat.h'), 'utf8');
    const bytes = [...header.matchAll(/0x([0-9a-f]{2})\b/g)].map(([, digits]) => Number.parseInt(digits ?? '', 16));
    expect(Buffer.from(bytes).equals(await readFile(join(out, 'pcqat.tflite')))).to.equal(true);
  });
});
