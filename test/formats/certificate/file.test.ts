import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { PcqatError } from '#lib/errors.js';
import { certificatePath, certificateText, parseCertificate, readCertificate, writeCertificate } from '#lib/formats/certificate/file.js';
import type { ExportCertificate } from '#lib/formats/certificate/schema.js';
import { certifiedPcqat } from '../../support/certified.js';
import { expectCode, expectRejection } from '../../support/errors.js';

describe('certificate files', () => {
  let certificate: ExportCertificate;
  let folder: string;
  before(async () => {
    certificate = (await certifiedPcqat(true)).certificate;
    folder = await mkdtemp(join(tmpdir(), 'pcqat-certificate-'));
  });
  after(() => rm(folder, { recursive: true }));

  it('lie beside the export', () => {
    expect(certificatePath('out/pcqat.tflite')).to.equal('out/pcqat.certificate.json');
    expect(certificatePath('model.bin')).to.equal('model.bin.certificate.json');
  });

  it('are read as they were written, with lists of numbers on one line and no temporary file left', async () => {
    const path = join(folder, 'a.certificate.json');
    await writeCertificate(certificate, path);
    expect(await readCertificate(path)).to.deep.equal(certificate);
    expect(await readdir(folder)).to.deep.equal(['a.certificate.json']);
    const text = await readFile(path, 'utf8');
    expect(text).to.equal(certificateText(certificate));
    expect(text).to.match(/"inputs": \[\d+\],\n/);
    expect(text.split('\n').filter((line) => /^\s*-?\d+,?$/.test(line))).to.deep.equal([]);
  });

  it('keep names whatever is in them', () => {
    const odd = structuredClone(certificate);
    for (const name of ['[1,   2]', '[\n 1,\n 2 ]', '"', '\u0000', '__proto__', 'ümläut ☃']) {
      odd.layers[0]!.name = name;
      odd.operators[0]!.options['fusedActivationFunction'] = name;
      expect(parseCertificate(certificateText(odd)).layers[0]!.name).to.equal(name);
    }
  });

  it('are refused when truncated, at any place', () => {
    const text = certificateText(certificate);
    for (let length = 0; length < text.length - 2; length += 97) expectCode(() => parseCertificate(text.slice(0, length)), 'ERR_FORMAT');
  });

  it('are refused with the field that is wrong', () => {
    for (const [change, field] of [
      [(c) => (c.file.sha256 = 'x'), /file\.sha256/],
      [(c) => (c.layers[1].codes = -1), /layers\.1\.codes/],
      [(c) => (c.layers[1].technique = 'magic'), /layers\.1\.technique/],
      [(c) => (c.layers[0].extra = 1), /layers\.0.*extra/],
      [(c) => delete c.layers[0].kernel.dataSha256 && (c.layers[0].kernel.dtype = 'int4'), /layers\.0\.kernel\.dtype/],
      [(c) => (c.layers[0].granularity = 'none'), /layers\.0: granularity, clusters and codebook contradict/],
      [(c) => (c.layers[0].codebook = [1, 2]), /layers\.0: granularity/],
      [(c) => (c.layers[0].codebook = [[200]]), /layers\.0\.codebook/],
      [(c) => (c.layers[0].clusters = null), /layers\.0: granularity/],
      [(c) => (c.fidelity.probe.rows = 17), /fidelity\.probe\.rows/],
      [(c) => (c.fidelity.probe.rows = 0), /fidelity\.probe\.rows/],
      [
        (c) => (c.fidelity.probe.input = Buffer.alloc(40_000).toString('base64')),
        /fidelity\.probe: more than one row may take at most 32768/,
      ],
      [(c) => (c.fidelity.probe.input = 'äöü'), /fidelity\.probe\.input/],
      [(c) => (c.fidelity.simulation.data.agreement = 1.5), /fidelity\.simulation\.data\.agreement/],
      [(c) => delete c.fidelity.foreign, /fidelity\.foreign/],
      [(c) => (c.format = 'pcqat-model'), /format/],
      [(c) => (c.operators[0].inputs = [-2]), /operators\.0\.inputs/],
    ] as [(c: any) => unknown, RegExp][]) {
      // eslint-disable-line @typescript-eslint/no-explicit-any
      const bad = structuredClone(certificate);
      change(bad);
      expectCode(() => parseCertificate(JSON.stringify(bad), 'x.json'), 'ERR_FORMAT', field);
    }
    expectCode(() => parseCertificate('[]', 'x.json'), 'ERR_FORMAT', /x\.json/);
    expectCode(() => parseCertificate('null'), 'ERR_FORMAT');
  });

  it('are refused when of another version, saying so', () => {
    expectCode(() => parseCertificate(JSON.stringify({ ...certificate, version: 2 })), 'ERR_UNSUPPORTED', /version 2, but version 1/);
  });

  it('never throw anything but PcqatError', () => {
    const text = JSON.stringify(certificate);
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.string({ maxLength: 5 }), (at, junk) => {
        try {
          parseCertificate(text.slice(0, at) + junk + text.slice(at + junk.length));
        } catch (error) {
          expect(error).to.be.instanceOf(PcqatError);
        }
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it('that are missing are an ERR_IO', async () => {
    await expectRejection(readCertificate(join(folder, 'none.json')), 'ERR_IO', /none\.json/);
    await expectRejection(writeCertificate(certificate, join(folder, 'none', 'x.json')), 'ERR_IO', /none/);
    await writeFile(join(folder, 'binary.json'), Buffer.alloc(100, 0xff));
    await expectRejection(readCertificate(join(folder, 'binary.json')), 'ERR_FORMAT', /binary\.json/);
  });
});
