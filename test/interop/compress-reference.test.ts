import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import { parseCertificate } from '#lib/formats/certificate/file.js';
import { inTemporaryFolder } from '../support/temporary.js';

/** Published networks and real data, too large for the repository. */
const shared = fileURLToPath(new URL('../../../../shared/data/', import.meta.url));
const networks = `${shared}reference-models/`;

/** Arm's features of real keyword recordings. */
function keywords(): Float32Array {
  return new Float32Array(new Uint8Array(gunzipSync(readFileSync(`${shared}speech-commands-12/mfcc-armkws-49x10-f32le.bin.gz`))).buffer);
}

/** Photographs of CIFAR-10, 0…255: planes of 32×32 in the file, pixels of three values here. */
function photographs(count: number): Float32Array {
  const records = gunzipSync(readFileSync(`${shared}cifar10-subset/test.bin.gz`));
  return Float32Array.from({ length: count * 3072 }, (_, i) => {
    const [image, pixel, channel] = [Math.floor(i / 3072), Math.floor((i % 3072) / 3), i % 3];
    return records[image * 3073 + 1 + channel * 1024 + pixel] ?? 0;
  });
}

/** Six pictures of 96×96, 0…1, each shifted to the side ten times. */
function pictures(): Float32Array {
  const [size, shifts] = [96 * 96 * 3, 10];
  const names = ['bird', 'cat', 'sunflower', 'dragonfly', 'parrot', 'hot_dog'];
  const x = new Float32Array(names.length * shifts * size);
  names.forEach((name, n) => {
    const picture = readFileSync(`${networks}mobilenet-v1-imagenet/images/${name}-96.rgb`);
    for (let shift = 0; shift < shifts; shift++) {
      for (let i = 0; i < size; i++) x[(n * shifts + shift) * size + i] = (picture[(i + shift * 3 * 4) % size] ?? 0) / 255;
    }
  });
  return x;
}

const CASES = [
  ['arm-ml-kws/DS_CNN_S.pb', keywords],
  ['arm-ml-kws/DS_CNN_L.pb', keywords],
  ['mlperf-tiny/pretrainedResnet.h5', () => photographs(200)],
  ['mlperf-tiny/pretrainedResnet.tflite', () => photographs(200)],
  ['mlperf-tiny/vww_96.h5', pictures],
  ['mlperf-tiny/vww_96_float.tflite', pictures],
] as const;

describe('published networks go through the whole chain', function () {
  this.timeout(120_000);
  before(function () {
    if (!existsSync(shared)) {
      console.log(`      skipped: ${shared} is not there`);
      this.skip();
    }
  });

  for (const [file, data] of CASES) {
    it(`${file}: imported, pruned, clustered, trained with PCQAT, exported and verified`, () =>
      inTemporaryFolder(async (folder) => {
        const out = path.join(folder, 'out.tflite');
        writeFileSync(path.join(folder, 'x.f32'), data());
        writeFileSync(path.join(folder, 'data.json'), JSON.stringify({ x: 'x.f32' }));
        const options = ['--data', path.join(folder, 'data.json'), '--out', out, '--epochs', '1'];
        const { stdout } = await promisify(execFile)(process.execPath, ['examples/compress-imported.mjs', networks + file, ...options]);
        // The model's own answers are the labels.
        expect(stdout)
          .to.match(/imported: 100\.00 %/)
          .and.match(/verified: true/);
        const { layers } = parseCertificate(readFileSync(path.join(folder, 'out.certificate.json'), 'utf8'));
        for (const { codes, operator, name, zerosAfter, weights } of layers) {
          if (operator === 'DEPTHWISE_CONV_2D') continue;
          expect(codes, `codes of ${name}`).to.be.at.most(16);
          if (operator === 'CONV_2D') expect(zerosAfter / weights, `zeros of ${name}`).to.be.at.least(0.5 - 1 / weights);
        }
      }));
  }
});
