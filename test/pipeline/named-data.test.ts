import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { arrayDataset } from '#lib/data/arrays.js';
import { loadRecipeData } from '#lib/pipeline/data.js';
import { loadChosenData, relabel } from '#lib/pipeline/named-data.js';
import { parseRecipe } from '#lib/pipeline/parse.js';
import { expectCode, expectRejection } from '../support/errors.js';
import { writeIdxFolder } from './synthetic.js';

/** A second of a tone as a .wav file. */
function wav(frequency: number): Buffer {
  const [rate, samples] = [16_000, 16_000];
  const bytes = Buffer.alloc(44 + 2 * samples);
  bytes.write('RIFF', 0);
  bytes.writeUInt32LE(36 + 2 * samples, 4);
  bytes.write('WAVEfmt ', 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(rate, 24);
  bytes.writeUInt32LE(2 * rate, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write('data', 36);
  bytes.writeUInt32LE(2 * samples, 40);
  for (let i = 0; i < samples; i++) bytes.writeInt16LE(Math.round(8000 * Math.sin((2 * Math.PI * frequency * i) / rate)), 44 + 2 * i);
  return bytes;
}

describe('data by name', () => {
  let root: string;
  let images: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'pcqat-named-'));
    images = join(root, 'images');
    await mkdir(images);
    await writeIdxFolder(images);
  });
  after(() => rm(root, { recursive: true }));

  it('is a folder whose files say what it is', async () => {
    const test = await loadChosenData({ data: images });
    expect(test).to.deep.include({ size: 24, inputShape: [12, 12, 1], classes: 4 });
    const train = await loadChosenData({ data: images, split: 'train', limit: 10 });
    expect(train.size).to.equal(10);
    const cifar = join(root, 'cifar');
    await mkdir(cifar);
    await writeFile(join(cifar, 'test.bin'), new Uint8Array(2 * 3073));
    await writeFile(join(cifar, 'train.bin'), new Uint8Array(20 * 3073));
    expect(await loadChosenData({ data: cifar })).to.deep.include({ size: 2, inputShape: [32, 32, 3], classes: 10 });
    const sounds = join(root, 'sounds');
    for (const [label, frequency] of [
      ['high', 3000],
      ['low', 300],
    ] as const) {
      await mkdir(join(sounds, label), { recursive: true });
      for (let i = 0; i < 10; i++) await writeFile(join(sounds, label, `${i}.wav`), wav(frequency + i));
    }
    await writeFile(join(sounds, 'README'), 'tones');
    expect(await loadChosenData({ data: sounds, features: 'arm' })).to.deep.include({ size: 2, labelNames: ['high', 'low'] });
    await expectRejection(loadChosenData({ data: sounds }), 'ERR_OPTION', /features/);
  });

  it('is a name that recipes know, perhaps with its folder', async () => {
    expect(await loadChosenData({ data: 'fsdd' })).to.deep.include({ size: 300, inputShape: [49, 10, 1] });
    const copy = join(root, 'with:colon');
    await cp(images, copy, { recursive: true });
    expect((await loadChosenData({ data: `mnist:${copy}`, split: 'train' })).labelNames).to.have.length(10);
  });

  it('is the data section of a recipe', async () => {
    const recipe = join(root, 'recipe.yaml');
    await writeFile(recipe, `model: lenet5\ndata: { name: idx, path: '${images}', pixels: [-1, 1], limit: { test: 5 } }\n`);
    const test = await loadChosenData({ data: recipe });
    expect(test.size).to.equal(5);
    expect(Math.min(...test.x)).to.be.within(-1, -0.9);
    await expectRejection(loadChosenData({ data: recipe, pixels: [0, 255] }), 'ERR_OPTION', /says itself/);
  });

  it('has pixels between the values that are asked for', async () => {
    const [plain, scaled] = [await loadChosenData({ data: images }), await loadChosenData({ data: images, pixels: [-10, 245] })];
    scaled.x.forEach((value, i) => expect(value).to.be.closeTo(255 * plain.x[i]! - 10, 1e-4));
    const recipe = parseRecipe({ model: 'lenet5', data: { name: 'idx', path: images, pixels: [-10, 245] } });
    expect((await loadRecipeData(recipe)).test.x).to.deep.equal(scaled.x);
    await expectRejection(loadChosenData({ data: 'fsdd', pixels: [0, 255] }), 'ERR_OPTION', /no images/);
    const pixels = { model: 'lenet5', data: { name: 'idx', path: images, pixels: [1, 0] } };
    expectCode(() => parseRecipe(pixels), 'ERR_RECIPE', /less than the second \(recipe\.data\.pixels\)/);
  });

  it('says what it cannot be', async () => {
    await expectRejection(loadChosenData({ data: 'imagenet' }), 'ERR_OPTION', /fsdd, mnist/);
    await expectRejection(loadChosenData({ data: 'mnist' }), 'ERR_OPTION', /data\.mnist\.path/);
    const empty = join(root, 'empty');
    await mkdir(empty);
    await expectRejection(loadChosenData({ data: empty }), 'ERR_FORMAT', /holds no data/);
    const text = join(root, 'text.json');
    await writeFile(text, '[]');
    await expectRejection(loadChosenData({ data: text }), 'ERR_RECIPE');
  });
});

describe('labels of a model', () => {
  const data = (names?: string[]) => arrayDataset({ x: [1, 2, 3], y: [0, 1, 2], inputShape: [1], ...(names ? { labelNames: names } : {}) });

  it('say which output each class is', () => {
    const moved = relabel(data(['a', 'b', 'c']), ['c', 'x', 'a', 'b'], 4);
    expect(moved).to.deep.include({ y: Int32Array.of(2, 3, 0), classes: 4, labelNames: ['c', 'x', 'a', 'b'] });
  });

  it('only name classes that have no names, or others', () => {
    for (const one of [data(), data(['a', 'b', 'c'])]) {
      expect(relabel(one, ['x', 'y', 'z'], 3)).to.deep.include({ y: Int32Array.of(0, 1, 2), labelNames: ['x', 'y', 'z'] });
    }
    expect(relabel(data(), undefined, 3)).to.deep.equal(data());
  });

  it('must fit the outputs and the data', () => {
    expectCode(() => relabel(data(), ['a', 'b'], 3), 'ERR_OPTION', /2 different labels but the model has 3 outputs/);
    expectCode(() => relabel(data(), ['a', 'b', 'a'], 3), 'ERR_OPTION', /2 different labels/);
    expectCode(() => relabel(data(['a', 'b', 'c']), ['a', 'b', 'z'], 3), 'ERR_OPTION', /lack 'c'/);
    expectCode(() => relabel(data(['a', 'b', 'c']), undefined, 12), 'ERR_OPTION', /3 classes but the model has 12 outputs.*--labels/);
  });
});
