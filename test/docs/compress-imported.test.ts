import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { convertToFloat } from '#lib/compress/quantization/convert-float.js';
import { parseCertificate } from '#lib/formats/certificate/file.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { smallFloat, SHAPE } from '../support/certified.js';
import { randomDataset } from '../support/int8-graphs.js';
import { inTemporaryFolder } from '../support/temporary.js';

/** The example takes a file through the whole chain, in one epoch a stage. */
function compress(file: string, shape: readonly number[], folder: string): string {
  const [rows, classes] = [80, 4];
  const out = path.join(folder, 'out.tflite');
  writeFileSync(path.join(folder, 'x.f32'), randomDataset(shape, rows, 1).x);
  writeFileSync(path.join(folder, 'data.json'), JSON.stringify({ x: 'x.f32', y: Array.from({ length: rows }, (_, i) => i % classes) }));
  const options = ['--data', path.join(folder, 'data.json'), '--out', out, '--epochs', '1', '--clusters', '8'];
  const text = execFileSync(process.execPath, ['examples/compress-imported.mjs', file, ...options], { encoding: 'utf8' });
  const certificate = parseCertificate(readFileSync(path.join(folder, 'out.certificate.json'), 'utf8'));
  expect(certificate.file.bytes).to.equal(readFileSync(out).length);
  expect(readFileSync(path.join(folder, 'out.h'), 'utf8')).to.include(`compressed_model_len = ${certificate.file.bytes};`);
  for (const { codes, operator, name } of certificate.layers) {
    if (operator !== 'DEPTHWISE_CONV_2D') expect(codes, name).to.be.at.most(8);
  }
  return text;
}

describe('examples/compress-imported.mjs', () => {
  it('compresses a frozen TensorFlow graph, as its README says', () =>
    inTemporaryFolder(async (folder) => {
      const text = compress('test/formats/graphdef/fixtures/classic.pb', [10, 7, 3], folder);
      expect(text)
        .to.match(/^graphdef: 14 layers\n/)
        .and.match(/verified: true/);
    }));

  it('compresses a float .tflite file', () =>
    inTemporaryFolder(async (folder) => {
      const file = path.join(folder, 'in.tflite');
      writeFileSync(file, encodeTflite(convertToFloat(smallFloat())));
      expect(compress(file, SHAPE, folder))
        .to.match(/^tflite: .*\n/)
        .and.match(/verified: true/);
    }));
});
