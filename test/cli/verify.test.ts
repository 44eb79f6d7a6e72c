import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import type { ExportVerification } from '#lib/evaluate/verify.js';
import { writeCertificate } from '#lib/formats/certificate/file.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { type Certified, certifiedPcqat } from '../support/certified.js';
import { pcqat } from '../support/cli.js';

describe('pcqat verify', function () {
  this.timeout(60_000);
  let root: string;
  let whole: Certified;
  let file: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'pcqat-verify-'));
    whole = await certifiedPcqat();
    file = join(root, 'small.tflite');
    await writeFile(file, whole.bytes);
    await writeCertificate(whole.certificate, join(root, 'small.certificate.json'));
  });
  after(() => rm(root, { recursive: true }));

  /** Writes a changed copy of the file. */
  const changed = async (name: string, bytes: Uint8Array): Promise<string> => {
    const path = join(root, name);
    await writeFile(path, bytes);
    return path;
  };

  it('prints a row per layer and the fidelity, with the certificate beside the file', async () => {
    const { code, stdout, stderr } = await pcqat(['verify', file]);
    expect(stderr).to.equal('');
    expect(code).to.equal(0);
    expect(stdout).to.match(/conv2 +CONV_2D +pcqat +tensor +8 +432 +\d+ → \d+ +\d +\d +\S+ +ok\n/);
    expect(stdout).to.match(/dw +DEPTHWISE_CONV_2D +qat +none +– +54 /);
    expect(stdout).to.match(/simulation: on 16 probe rows: mean \S+, largest \S+ steps; certified on 40 rows of random: same class \S+/);
    expect(stdout).to.match(/fake quantization alone: certified on 40 rows of random: same class \S+, mean 0\.\d+, largest \S+\n/);
    expect(stdout).to.match(/foreign runtime: not compared: none was asked for/);
    expect(stdout).to.match(/The file is as certified\.\n$/);
  });

  it('prints one JSON object with --json, and takes a certificate from elsewhere', async () => {
    const certificate = join(root, 'elsewhere.json');
    await writeFile(certificate, await readFile(join(root, 'small.certificate.json')));
    const { code, stdout } = await pcqat(['verify', file, certificate, '--json', '--threads', '1']);
    expect(code).to.equal(0);
    const result = JSON.parse(stdout) as ExportVerification;
    expect(result).to.include({ ok: true });
    expect(result.layers).to.have.lengthOf(5);
  });

  it('finds the same figures on every instruction set', async () => {
    expect((await pcqat(['verify', file], { env: { PCQAT_ISA: 'scalar' } })).code).to.equal(0);
  });

  it('ends with 1 and ERR_INVARIANT when a byte of a layer was changed, naming the layer', async () => {
    const model = readTflite(whole.bytes);
    const tensors = model.tensors.map((one) =>
      one.name === 'conv2/kernel' ? { ...one, data: one.data!.with(7, one.data![7]! ^ 1) } : one,
    );
    const tampered = await changed('tampered.tflite', encodeTflite({ ...model, tensors }));
    const certificate = join(root, 'small.certificate.json');
    const { code, stdout, stderr } = await pcqat(['verify', tampered, certificate]);
    expect(code).to.equal(1);
    expect(stdout).to.match(/conv2 .* DIFFERS\n/);
    expect(stdout).to.match(/conv1 .* ok\n/);
    expect(stdout).to.match(/MISMATCH layer 'conv2': kernel: the data differ\n/);
    expect(stderr).to.match(/^pcqat: ERR_INVARIANT: the file is not as certified: layer 'conv2': .*tampered\.tflite.*\n$/);
    const json = await pcqat(['verify', tampered, certificate, '--json']);
    expect(json.code).to.equal(1);
    const result = JSON.parse(json.stdout) as ExportVerification;
    expect(result.layers.filter(({ ok }) => !ok).map(({ name }) => name)).to.deep.equal(['conv2']);
  });

  it('says that only the hash differs for bytes outside of every tensor', async () => {
    const other = await changed('described.tflite', encodeTflite({ ...readTflite(whole.bytes), description: 'other' }));
    const { code, stderr } = await pcqat(['verify', other, join(root, 'small.certificate.json')]);
    expect(code).to.equal(1);
    expect(stderr).to.match(/^pcqat: ERR_INVARIANT: .*though all layers, tensors and operators are as certified/);
  });

  it('does not print control characters of names', async () => {
    const model = readTflite(whole.bytes);
    const tensors = model.tensors.map((one) => (one.name === 'pool' ? { ...one, name: 'p\u001b[31m' } : one));
    const other = await changed('named.tflite', encodeTflite({ ...model, tensors }));
    const { stdout, stderr } = await pcqat(['verify', other, join(root, 'small.certificate.json')]);
    expect(stdout + stderr)
      .to.include('p\ufffd[31m')
      .and.not.to.include('\u001b');
  });

  it('answers bad input with one line, its code and 1', async () => {
    const text = await readFile(join(root, 'small.certificate.json'), 'utf8');
    const cut = await changed('cut.json', Buffer.from(text.slice(0, text.length / 2)));
    const version = await changed('version.json', Buffer.from(text.replace('"version": 1', '"version": 7')));
    const noFile = await changed('no.tflite', Buffer.from('not a model'));
    const certificate = join(root, 'small.certificate.json');
    for (const [args, pattern] of [
      [[file, cut], /^pcqat: ERR_FORMAT: .*cut\.json.*\n$/],
      [[file, version], /^pcqat: ERR_UNSUPPORTED: .*version 7.*\n$/],
      [[file, file], /^pcqat: ERR_FORMAT: .*\n$/],
      [[noFile], /^pcqat: ERR_IO: the certificate cannot be read.*no\.certificate\.json.*\n$/],
      [[join(root, 'none.tflite'), certificate], /^pcqat: ERR_IO: .*none\.tflite.*\n$/],
      [[noFile, certificate], /^pcqat: ERR_INVARIANT: .*cannot be read: Not a valid \.tflite file.*\n$/],
    ] as const) {
      const { code, stderr } = await pcqat(['verify', ...args]);
      expect(stderr).to.match(pattern);
      expect(code).to.equal(1);
    }
    expect((await pcqat(['verify'])).code).to.equal(2);
  });
});
