import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { after, afterEach, before, describe, it } from 'mocha';
import { checkText, importCommand, type Importers } from '#lib/cli/commands/import.js';
import type { ImportCheck, ImportOptions } from '#lib/formats/import/types.js';
import { loadModel } from '#lib/formats/pcqat/load.js';
import { saveModel } from '#lib/formats/pcqat/save.js';
import { countParameters } from '#lib/graph/model.js';
import { pcqat } from '../support/cli.js';
import { expectRejection } from '../support/errors.js';
import { smallCnn } from '../support/models.js';

const check: ImportCheck = {
  format: 'onnx',
  name: 'net',
  layers: [
    { name: 'input', op: 'input', shape: [8, 8, 3] },
    { name: 'conv1', op: 'conv2d', shape: [6, 6, 16] },
  ],
  parameters: 1234,
  unsupported: [
    { name: 'gru\u001b[31m', op: 'GRU', reason: 'it is recurrent', remedy: 'Use convolutions.' },
    { name: 'ein', op: 'Einsum', reason: 'it is no matrix product', remedy: 'Write it as MatMul.' },
  ],
};

/** Readers that remember what they were asked for. */
function fake(found: ImportCheck = check): { readonly calls: [string, ImportOptions][]; readonly importers: Importers } {
  const calls: [string, ImportOptions][] = [];
  return {
    calls,
    importers: {
      checkImport: async (file, options = {}) => {
        calls.push([file, options]);
        return found;
      },
      importModel: async (file, options = {}) => {
        calls.push([file, options]);
        return { model: smallCnn(), format: 'onnx', weightScales: new Map([['conv1/kernel', Float32Array.of(0.5)]]) };
      },
    },
  };
}

describe('pcqat import', () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(path.join(tmpdir(), 'pcqat-import-'))));
  after(() => rm(folder, { recursive: true }));
  afterEach(() => (process.exitCode = 0));

  /** What the command prints. */
  async function printed(task: () => Promise<void>): Promise<string> {
    const { write } = process.stdout;
    let text = '';
    process.stdout.write = ((chunk: string) => (text += chunk) !== '') as typeof write;
    try {
      await task();
    } finally {
      process.stdout.write = write;
    }
    return text;
  }

  it('lists layers and everything that is not supported, and ends with 1', async () => {
    const { calls, importers } = fake();
    const text = await printed(() => importCommand('net.onnx', { check: true, json: false, input: 'x', inputShape: [8, 8, 3] }, importers));
    expect(calls).to.deep.equal([['net.onnx', { input: 'x', inputShape: [8, 8, 3] }]]);
    expect(process.exitCode).to.equal(1);
    expect(text).to.include("net.onnx: onnx model 'net', 2 layers, 1,234 parameters");
    expect(text).to.match(/conv1 +conv2d +6×6×16/);
    expect(text).to.include('2 nodes are not supported:');
    expect(text).to.match(/gru�\[31m +GRU +it is recurrent +Use convolutions\./);
    expect(text).to.match(/ein +Einsum +it is no matrix product +Write it as MatMul\./);
    expect(text).not.to.include('\u001b');
  });

  it('ends with 0 where all can be taken', async () => {
    const good = { ...check, unsupported: [] };
    const text = await printed(() => importCommand('net.onnx', { check: true, json: false }, fake(good).importers));
    expect(text).to.include('It can be imported.');
    expect(process.exitCode).to.equal(0);
    expect(checkText('a', { ...good, layers: [] })).to.include('no layers');
    expect(checkText('a', { ...good, unsupported: check.unsupported.slice(1) })).to.include('One node is not supported:');
  });

  it('prints one JSON object with --json', async () => {
    const text = await printed(() => importCommand('net.onnx', { check: true, json: true }, fake().importers));
    expect(JSON.parse(text)).to.deep.equal(check);
    expect(process.exitCode).to.equal(1);
  });

  it('saves the model and says what it is', async () => {
    const out = path.join(folder, 'saved.json');
    const { calls, importers } = fake();
    const text = await printed(() => importCommand('net.onnx', { out, json: false, dequantize: true, output: 'y' }, importers));
    expect(calls).to.deep.equal([['net.onnx', { output: 'y', dequantize: true }]]);
    expect((await loadModel(out)).graph).to.deep.equal(smallCnn().graph);
    expect(text).to.include("onnx model 'small'");
    expect(text).to.include('1 weights were integers');
    expect(text).to.match(/conv1 +conv2d +6×6×6/);
    expect(text.trim().split('\n').slice(-2)).to.deep.equal([out, path.join(folder, 'saved.bin')]);
    const json = JSON.parse(await printed(() => importCommand('net.onnx', { out, json: true }, importers))) as Record<string, unknown>;
    expect(json).to.deep.include({ format: 'onnx', parameters: countParameters(smallCnn()), dequantized: ['conv1/kernel'] });
    expect(json['files']).to.deep.equal([out, path.join(folder, 'saved.bin')]);
  });

  it("needs no import of what is pcqat's own", async () => {
    const own = path.join(folder, 'own');
    await saveModel(smallCnn(), own);
    for (const file of [own, `${own}.json`]) {
      await expectRejection(importCommand(file, { check: true, json: false }, fake().importers), 'ERR_OPTION', /of pcqat already/);
    }
  });

  it('never overwrites what it reads', async () => {
    const file = path.join(folder, 'model.json');
    for (const out of [file, path.join(folder, 'model')]) {
      await expectRejection(importCommand(file, { out, json: false }, fake().importers), 'ERR_OPTION', /would overwrite/);
    }
    await expectRejection(
      importCommand(path.join(folder, 'w.bin'), { out: path.join(folder, 'w'), json: false }, fake().importers),
      'ERR_OPTION',
      /would overwrite/,
    );
  });

  it('answers errors and wrong usage as every command does', async () => {
    const odd = path.join(folder, 'odd.txt');
    await writeFile(odd, 'nothing');
    for (const [args, code, pattern] of [
      [[path.join(folder, 'none.onnx')], 1, /^pcqat: ERR_IO: .*none\.onnx/],
      [[odd, '--check'], 1, /^pcqat: ERR_FORMAT: .*odd\.txt.*\.onnx/],
      [[odd, '--input-shape', '49,0'], 2, /positive whole numbers/],
      [[odd, '--input-shape', 'a'], 2, /must be a number/],
      [[], 2, /missing required argument/],
    ] as const) {
      const result = await pcqat(['import', ...args]);
      expect(result.stderr).to.match(pattern);
      expect(result).to.deep.include({ code, stdout: '' });
    }
    expect(await readFile(odd, 'utf8')).to.equal('nothing');
  });
});
