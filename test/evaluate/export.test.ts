import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { exportInt8, readCertificate, verifyExport } from '#lib/index.js';
import { type Certified, certifiedPcqat } from '../support/certified.js';
import { expectRejection } from '../support/errors.js';

describe('exportInt8', () => {
  let folder: string;
  let source: Certified;
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'pcqat-export-'));
    source = await certifiedPcqat();
  });
  after(() => rm(folder, { recursive: true }));

  it('writes the file and, beside it, the certificate that its bytes give again', async () => {
    const file = path.join(folder, 'model.tflite');
    const certificate = await exportInt8(source.model, file, { data: source.data, foreign: 'none' });
    const bytes = await readFile(file);
    expect(bytes.equals(source.bytes)).to.equal(true);
    const written = await readCertificate(path.join(folder, 'model.certificate.json'));
    expect(written).to.deep.equal(certificate);
    expect((await verifyExport(bytes, written)).ok).to.equal(true);
    bytes[bytes.indexOf(source.bytes.at(-1)!)]! ^= 1;
    expect((await verifyExport(bytes, written)).ok).to.equal(false);
  });

  it('keeps the file when only the certificate fails, and says what was wrong', async () => {
    const file = path.join(folder, 'kept.tflite');
    const bad = { ...source.data, x: source.data.x.subarray(1) };
    await expectRejection(exportInt8(source.model, file, { data: bad, foreign: 'none' }), 'ERR_SHAPE');
    expect((await readFile(file)).equals(source.bytes)).to.equal(true);
    await writeFile(path.join(folder, 'folder'), '');
    await expectRejection(
      exportInt8(source.model, path.join(folder, 'folder', 'x.tflite'), { data: source.data, foreign: 'none' }),
      'ERR_IO',
    );
  });
});
