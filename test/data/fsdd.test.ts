import { loadFsdd } from '#lib/data/fsdd.js';
import { decodeFlac } from '#lib/data/flac.js';
import { datasetNames, loadDataset } from '#lib/data/registry.js';
import type { DatasetSplits } from '#lib/data/types.js';
import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expectRejection } from '../support/errors.js';

const folder = path.resolve('data/fsdd');

describe('Free Spoken Digit Dataset', () => {
  let splits: DatasetSplits;

  before(async () => {
    splits = await loadFsdd();
  });

  it('ships the recordings unaltered', async () => {
    const index = JSON.parse(await readFile(path.join(folder, 'index.json'), 'utf8'));
    const { samples, sampleRate } = decodeFlac(await readFile(path.join(folder, 'audio.flac')));
    expect(sampleRate).to.equal(8000);
    expect(samples.length).to.equal(index.totalSamples);
    expect(createHash('sha256').update(new Uint8Array(samples.buffer)).digest('hex')).to.equal(index.rawSha256);
  });

  it('has 2,400, 300 and 300 recordings, all digits alike', () => {
    for (const [part, size] of [
      [splits.train, 2400],
      [splits.validation, 300],
      [splits.test, 300],
    ] as const) {
      expect(part).to.include({ size, classes: 10 });
      expect(part.inputShape).to.deep.equal([49, 10, 1]);
      expect(part.x.length).to.equal(size * 490);
      for (let digit = 0; digit < 10; digit++) expect(part.y.filter((y) => y === digit).length).to.equal(size / 10);
    }
    expect(splits.credit).to.match(/Zohar Jackson.*CC BY-SA 4\.0/);
  });

  it('standardizes each coefficient by the training part', () => {
    const { x } = splits.train;
    for (let coefficient = 0; coefficient < 10; coefficient++) {
      const values = x.filter((_, i) => i % 10 === coefficient);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
      expect(mean).to.be.closeTo(0, 1e-4);
      expect(variance).to.be.closeTo(1, 1e-4);
    }
  });

  it('gives the same features every time', async () => {
    const again = await loadDataset('fsdd');
    expect(Buffer.compare(Buffer.from(again.train.x.buffer), Buffer.from(splits.train.x.buffer))).to.equal(0);
  });

  it('can leave a speaker out', async () => {
    const { train, validation, test } = await loadDataset('fsdd', { testSpeaker: 'lucas', standardize: false });
    expect([train.size, validation.size, test.size]).to.deep.equal([2250, 250, 500]);
    // Raw features: log energies of silence are the same in every recording.
    expect(train.x.reduce((least, value) => Math.min(least, value), 0)).to.be.lessThan(-10);
  });

  describe('when damaged', () => {
    let copy: string;

    before(async () => {
      copy = await mkdtemp(path.join(tmpdir(), 'pcqat-fsdd-'));
      await cp(path.join(folder, 'index.json'), path.join(copy, 'index.json'));
    });

    it('names what is missing or wrong', async () => {
      try {
        await expectRejection(loadFsdd({ path: path.join(copy, 'nowhere') }), 'ERR_IO', /nowhere/);
        await expectRejection(loadFsdd({ path: copy }), 'ERR_IO', /audio\.flac/);
        const audio = await readFile(path.join(folder, 'audio.flac'));
        await writeFile(path.join(copy, 'audio.flac'), audio.subarray(0, 100_000));
        await expectRejection(loadFsdd({ path: copy }), 'ERR_FORMAT', /audio\.flac/);
        await writeFile(path.join(copy, 'audio.flac'), audio);
        const index = { sampleRate: 8000, speakers: [{ name: 'a' }], rows: [[0, 0, 0, 10_498_000, 1000]] };
        await writeFile(path.join(copy, 'index.json'), JSON.stringify(index));
        await expectRejection(loadFsdd({ path: copy }), 'ERR_FORMAT', /row 0 points outside/);
        await writeFile(path.join(copy, 'index.json'), JSON.stringify({ ...index, rows: [[10, 0, 0, 0, 10]] }));
        await expectRejection(loadFsdd({ path: copy }), 'ERR_FORMAT', /rows\.0\.0/);
        await writeFile(path.join(copy, 'index.json'), '{"rows"');
        await expectRejection(loadFsdd({ path: copy }), 'ERR_FORMAT', /not JSON/);
      } finally {
        await rm(copy, { recursive: true });
      }
    });
  });
});

describe('loadDataset', () => {
  it('names the data set or option that it does not know', async () => {
    await expectRejection(loadDataset('fsd'), 'ERR_OPTION', new RegExp(datasetNames.join(', ')));
    await expectRejection(loadDataset('toString'), 'ERR_OPTION');
    await expectRejection(loadDataset('fsdd', { speaker: 'lucas' }), 'ERR_OPTION', /speaker/);
    await expectRejection(loadDataset('fsdd', { testSpeaker: 'nobody' }), 'ERR_OPTION', /george, jackson/);
    await expectRejection(loadDataset('mnist'), 'ERR_OPTION', /data\.mnist\.path/);
    await expectRejection(loadDataset('cifar10', { path: 'x', validation: -1 }), 'ERR_OPTION', /data\.cifar10\.validation/);
    await expectRejection(loadDataset('wav-folder', { path: 'x', features: 'htk' }), 'ERR_OPTION', /features/);
  });
});
