import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import type { Report } from '#lib/report/types.js';
import { writeIdxFolder } from '../pipeline/synthetic.js';
import { pcqat, type Result } from '../support/cli.js';

const lines = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('command line', () => {
  let root: string;
  let recipe: string;
  let whole: Result;
  let out: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'pcqat-cli-'));
    const data = join(root, 'data');
    await mkdir(data);
    await writeIdxFolder(data);
    recipe = join(root, 'tiny.yaml');
    await writeFile(recipe, `model: lenet5\ndata: { name: idx, path: '${data}', validation: 16 }\nepochs: 6\nbatchSize: 8\nclusters: 8\n`);
    out = join(root, 'whole');
    whole = await pcqat(['run', recipe, '--out', out]);
  });
  after(() => rm(root, { recursive: true }));

  const hashes = async (folder: string): Promise<Record<string, string>> => {
    const names = (await readdir(folder)).filter((name) => name.endsWith('.tflite')).sort();
    expect(names).to.have.lengthOf(5);
    const files = await Promise.all(names.map((name) => readFile(join(folder, name))));
    return Object.fromEntries(files.map((bytes, i) => [names[i], createHash('sha256').update(bytes).digest('hex')])) as Record<
      string,
      string
    >;
  };
  const columns = async (folder: string): Promise<Report['columns']> =>
    (JSON.parse(await readFile(join(folder, 'report.json'), 'utf8')) as Report).columns;

  describe('run', () => {
    it('prints the table to stdout and plain progress lines to stderr', async () => {
      expect(whole.code, whole.stderr).to.equal(0);
      expect(whole.stdout).to.match(/Baseline +Pruned +QAT +Pruned\+Clustered +PCQAT/);
      expect(whole.stdout).to.match(/Every column: 6 epochs \(36 steps of 8\) in all/);
      expect(whole.stdout).to.include(join(out, 'report.html'));
      expect(whole.stderr).to.match(/pcqat 1\/\d · loss \d\.\d+/);
      expect(whole.stderr).not.to.include('\r');
      expect(await readFile(join(out, 'report.html'), 'utf8')).to.match(/<table>.*Pruned\+Clustered/s);
    });

    it('prints only JSON lines to stdout with --json', async () => {
      const folder = join(root, 'json');
      const { code, stdout } = await pcqat(['run', recipe, '--out', folder, '--json', '--threads', '1', '--no-html']);
      expect(code).to.equal(0);
      const events = lines(stdout);
      expect(events[0]).to.deep.equal({ type: 'data', name: 'idx', train: 48, validation: 16, test: 24 });
      expect(new Set(events.map(({ type }) => type))).to.deep.equal(new Set(['data', 'stage', 'epoch', 'column', 'report']));
      const { report } = events.at(-1) as { report: Report };
      expect(report.columns).to.deep.equal(await columns(out));
      expect(await hashes(folder)).to.deep.equal(await hashes(out));
      expect(await readdir(folder)).not.to.include('report.html');
    });

    it('stops at Ctrl-C with 130 and a checkpoint; --resume ends with the same bytes', async () => {
      const folder = join(root, 'stopped');
      for (const stage of ['finetune', 'prune', 'qat', 'cluster', 'pcqat']) {
        const resume = stage === 'finetune' ? [] : ['--resume'];
        let signalled = false;
        const onOutput = (text: string, kill: () => void): void => {
          if (signalled || !text.includes(`"type":"stage","stage":"${stage}"`)) return;
          signalled = true;
          kill();
        };
        const { code, stdout, stderr } = await pcqat(['run', recipe, '--out', folder, '--json', ...resume], { onOutput });
        expect(code, stderr).to.equal(130);
        expect(lines(stdout).at(-1)).to.have.property('type', 'checkpoint');
        expect(stderr).to.include(`pcqat run ${recipe} --out ${folder} --json --resume`);
      }
      const { code, stderr } = await pcqat(['run', recipe, '--out', folder, '--resume']);
      expect(code, stderr).to.equal(0);
      expect(await hashes(folder)).to.deep.equal(await hashes(out));
      expect(await columns(folder)).to.deep.equal(await columns(out));
    });

    it('takes --seed before the recipe', async () => {
      const folder = join(root, 'seed');
      const { code } = await pcqat(['run', recipe, '--out', folder, '--seed', '5']);
      expect(code).to.equal(0);
      expect((JSON.parse(await readFile(join(folder, 'report.json'), 'utf8')) as Report).seed).to.equal(5);
      expect(await hashes(folder)).not.to.deep.equal(await hashes(out));
    });

    it('answers errors with one line, its code and 1', async () => {
      const bad = join(root, 'bad.json');
      await writeFile(bad, JSON.stringify({ model: 'ds-cnn-s', data: 'fsdd', sparsity: 1.5 }));
      const file = join(root, 'file');
      await writeFile(file, '');
      for (const [args, pattern] of [
        [['run', bad], /^pcqat: ERR_RECIPE: .*recipe\.sparsity.*\n$/],
        [['run', join(root, 'none.json')], /^pcqat: ERR_IO: .*none\.json.*\n$/],
        [['run', recipe, '--out', join(file, 'out')], /^pcqat: ERR_IO: the output folder cannot be written.*\n$/],
        [['run', recipe, '--out', root, '--resume'], /^pcqat: ERR_OPTION: there is no unfinished run.*\n$/],
        [['demo', '--sparsity', '1', '--out', join(root, 'never')], /^pcqat: ERR_RECIPE: .*recipe\.sparsity.*\n$/],
        [['demo', '--clusters', '2', '--out', join(root, 'never')], /^pcqat: ERR_RECIPE: .*preserveSparsity.*\n$/],
        [['demo', '--data', join(root, 'none'), '--out', join(root, 'never')], /^pcqat: ERR_IO: .*none.*\n$/],
      ] as const) {
        const { code, stdout, stderr } = await pcqat([...args]);
        expect(stderr).to.match(pattern);
        expect(code).to.equal(1);
        expect(stdout).to.equal('');
      }
    });

    it('shows a stack with --verbose', async () => {
      expect((await pcqat(['run', join(root, 'none.json'), '--verbose'])).stderr).to.match(/\n {4}at /);
    });
  });

  describe('inspect', () => {
    it('prints layers, types, scales, zeros, codes and sizes', async () => {
      const { code, stdout } = await pcqat(['inspect', join(out, 'pcqat.tflite')]);
      expect(code).to.equal(0);
      expect(stdout).to.match(/conv2 +CONV_2D +\S+ +int8 +\d+ +2,400 +\d+\.\d % +\d+ +\d+/);
      expect(stdout).to.match(/input .*: int8 \[1, 12, 12, 1\], scale/);
      expect(stdout).to.match(/bytes: [\d,]+ raw, [\d,]+ gzip, [\d,]+ brotli/);
    });

    it('prints one JSON object with --json', async () => {
      const { stdout } = await pcqat(['inspect', join(out, 'pcqat.tflite'), '--json']);
      const summary = JSON.parse(stdout) as { bytes: number; layers: { name: string; codes: number; zeros: number }[] };
      const column = (await columns(out))['pcqat']!;
      expect(summary.bytes).to.equal(column.bytes);
      expect(summary.layers.map(({ name, codes, zeros }) => ({ name, codes, zeros }))).to.deep.equal(
        column.layers.map(({ name, codes, zeros }) => ({ name, codes, zeros })),
      );
    });

    it('rejects random, truncated and missing files', async () => {
      const bytes = await readFile(join(out, 'pcqat.tflite'));
      const random = join(root, 'random.tflite');
      await writeFile(random, Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919 + 13) % 251)));
      const cut = join(root, 'cut.tflite');
      await writeFile(cut, bytes.subarray(0, bytes.length / 2));
      const empty = join(root, 'empty.tflite');
      await writeFile(empty, '');
      for (const file of [random, cut, empty]) {
        const { code, stderr } = await pcqat(['inspect', file]);
        expect(stderr).to.match(/^pcqat: ERR_FORMAT: .*\n$/);
        expect(stderr).to.include(file);
        expect(code).to.equal(1);
      }
      expect((await pcqat(['inspect', join(root, 'none')])).stderr).to.match(/^pcqat: ERR_IO: /);
    });
  });

  describe('info', () => {
    it('prints version, instruction set, threads and GPU module', async () => {
      const { code, stdout } = await pcqat(['info']);
      expect(code).to.equal(0);
      for (const pattern of [/pcqat +\d+\.\d+\.\d+/, /instruction set +\w+ \(available: scalar/, /threads +\d+/, /GPU module +\S+/]) {
        expect(stdout).to.match(pattern);
      }
    });

    it('prints one JSON object with --json, and follows PCQAT_ISA', async () => {
      const { stdout } = await pcqat(['info', '--json'], { env: { PCQAT_ISA: 'scalar' } });
      const info = JSON.parse(stdout) as {
        version: string;
        isa: string;
        availableIsas: string[];
        threads: number;
        cuda: { available: boolean; reason?: string };
      };
      expect(info.isa).to.equal('scalar');
      expect(info.availableIsas).to.include('scalar');
      expect(info.threads).to.be.at.least(1);
      if (!info.cuda.available) expect(info.cuda.reason).to.be.a('string').that.is.not.empty;
    });

    it('says what to do where the addon is missing', async () => {
      const { code, stderr } = await pcqat(['info'], { env: { PCQAT_ADDON: join(root, 'none.node') } });
      expect(code).to.equal(1);
      expect(stderr).to.match(/^pcqat: ERR_NATIVE_MISSING: .*none\.node.*npm run build:native/s);
    });

    it('says what is wrong with PCQAT_ISA', async () => {
      const { code, stderr } = await pcqat(['info'], { env: { PCQAT_ISA: 'bogus' } });
      expect(code).to.equal(1);
      expect(stderr).to.match(/^pcqat: ERR_ISA: .*bogus/);
    });
  });

  describe('usage', () => {
    it('ends with 2 for wrong usage and 0 for help', async () => {
      for (const args of [
        ['train'],
        ['demo', '--modle', 'x'],
        ['demo', '--model', 'vgg'],
        ['demo', '--seed', 'x'],
        ['run'],
        ['demo', '--threads', '0'],
        [],
      ]) {
        const { code, stdout, stderr } = await pcqat(args);
        expect(code, args.join(' ')).to.equal(2);
        expect(stdout).to.equal('');
        expect(stderr).to.match(/error|Usage/);
      }
      for (const args of [['--help'], ['demo', '--help'], ['--version']]) {
        const { code, stdout } = await pcqat(args);
        expect(code).to.equal(0);
        expect(stdout).to.match(/Usage|^\d/);
      }
    });
  });
});
