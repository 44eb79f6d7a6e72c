import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { predict } from '#lib/evaluate/evaluate.js';
import { importModel } from '#lib/formats/import/index.js';
import { relativeError } from '../support/layers-model.js';

/** Published networks, too large for the repository. */
const shared = fileURLToPath(new URL('../../../../shared/data/', import.meta.url));

interface Reference {
  readonly scale: number;
  readonly output: readonly number[];
}

/** What Keras 3.15 answers for three rows of x[i] = scale · ((i · 7919) mod 10007) / 10006. */
const reference = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../../test/formats/keras/reference.json', import.meta.url)), 'utf8'),
) as Readonly<Record<'pretrainedResnet' | 'vww_96', Reference>>;

const FILES = [
  ['reference-models/mlperf-tiny/pretrainedResnet.h5', 'keras-h5', 'pretrainedResnet', 32 * 32 * 3],
  ['reference-models/mlperf-tiny/vww_96.h5', 'keras-h5', 'vww_96', 96 * 96 * 3],
  ['import-samples/tfjs-layers-trained/resnet8-cifar10', 'tfjs', 'pretrainedResnet', 32 * 32 * 3],
  ['import-samples/tfjs-layers-trained/mobilenet-v1-025-vww96', 'tfjs', 'vww_96', 96 * 96 * 3],
] as const;

describe('published Keras and tfjs networks predict what Keras does', function () {
  before(function () {
    if (!existsSync(shared)) {
      console.log(`      skipped: ${shared} is not there`);
      this.skip();
    }
  });

  for (const [file, format, name, size] of FILES) {
    it(file, async () => {
      const { scale, output } = reference[name];
      const imported = await importModel(`${shared}${file}`);
      expect(imported.format).to.equal(format);
      const x = Float32Array.from({ length: 3 * size }, (_, i) => (scale * ((i * 7919) % 10007)) / 10006);
      expect(relativeError(await predict(imported.model, x), output)).to.be.below(1e-5);
    });
  }
});
