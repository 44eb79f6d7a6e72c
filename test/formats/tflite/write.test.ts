import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel, TfliteTensor } from '#lib/formats/tflite/types.js';
import { encodeTflite, writeTflite } from '#lib/formats/tflite/write.js';
import { expectCode, expectRejection } from '../../support/errors.js';
import { bytesOf, goldenModels } from '../../support/golden-tflite.js';
import { operatorCases } from '../../support/int8-operators.js';

const golden = [...goldenModels].map(([name, { file }]) => [name, readTflite(bytesOf(file))] as const);
const one = golden[0]![1];

/** Positions of the model's tables, read with nothing but the FlatBuffers layout. */
function rawFile(file: Uint8Array): { u32(at: number): number; field(table: number, slot: number): number; vector(at: number): number[] } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const u32 = (at: number): number => view.getUint32(at, true);
  const field = (table: number, slot: number): number => {
    const vtable = table - view.getInt32(table, true);
    const offset = 4 + 2 * slot < view.getUint16(vtable, true) ? view.getUint16(vtable + 4 + 2 * slot, true) : 0;
    return offset === 0 ? 0 : table + offset;
  };
  const vector = (at: number): number[] => {
    const start = at + u32(at);
    return Array.from({ length: u32(start) }, (_, i) => start + 4 + 4 * i).map((position) => position + u32(position));
  };
  return { u32, field, vector };
}

describe('encodeTflite', () => {
  it('writes what the reader reads back, for all golden models', () => {
    for (const [name, model] of golden) expect(readTflite(encodeTflite(model)), name).to.deep.equal(model);
  });

  it('writes what the reader reads back, for every operator with its options', () => {
    for (const { name, model } of operatorCases()) {
      const read = readTflite(encodeTflite(model));
      expect(read.tensors, name).to.deep.equal(model.tensors);
      for (const [i, { op, options, ...operator }] of model.operators.entries()) {
        const back = read.operators[i]!;
        expect(back, name).to.deep.include({ op, ...operator });
        for (const [option, value] of Object.entries(options)) {
          const stored = op === 'LEAKY_RELU' ? Math.fround(value as number) : value; // floats are f32 in the file
          expect(back.options[option], `${name}: ${option}`).to.deep.equal(stored);
        }
      }
    }
  });

  it('gives the versions that 8-bit tensors need, as TFLite counts them', () => {
    const versions = Object.fromEntries(
      operatorCases()
        .flatMap(({ model }) => readTflite(encodeTflite(model)).operators.filter((_, i) => model.operators[i]!.version === undefined))
        .map(({ op, version }) => [op, version]),
    );
    expect(versions).to.include({ CONCATENATION: 2, MUL: 2, LOGISTIC: 2, TANH: 2, LEAKY_RELU: 1, HARD_SWISH: 1 });
    expect(versions).to.include({ RESIZE_NEAREST_NEIGHBOR: 3, RESIZE_BILINEAR: 3, TRANSPOSE_CONV: 3 });
  });

  it('gives equal bytes for equal models', () => {
    for (const [name, model] of golden) expect(encodeTflite(readTflite(encodeTflite(model))), name).to.deep.equal(encodeTflite(model));
  });

  it('keeps the rules that runtimes rely on: identifier, version 3, empty buffer 0, alignment to 16, both operator codes', () => {
    for (const [name, model] of golden) {
      const file = encodeTflite(model);
      const { u32, field, vector } = rawFile(file);
      expect(Buffer.from(file.subarray(4, 8)).toString(), name).to.equal('TFL3');
      const root = u32(0);
      expect(u32(field(root, 0)), name).to.equal(3);
      const buffers = vector(field(root, 4));
      expect(field(buffers[0]!, 0), `${name}: buffer 0 has no data`).to.equal(0);
      for (const buffer of buffers.slice(1)) {
        const data = field(buffer, 0);
        expect((data + u32(data) + 4) % 16, `${name}: data alignment`).to.equal(0);
      }
      for (const code of vector(field(root, 1))) {
        const [old, current] = [field(code, 0), field(code, 3)];
        expect(old === 0 ? 0 : file[old], name).to.equal(current === 0 ? 0 : u32(current));
      }
    }
  });

  it('rejects models that cannot be written', () => {
    const withTensor = (change: Partial<TfliteTensor>): TfliteModel => ({
      ...one,
      tensors: one.tensors.map((tensor, i) => (i === 1 ? { ...tensor, ...change } : tensor)),
    });
    const withOperator = (change: object): TfliteModel => ({
      ...one,
      operators: one.operators.map((operator) => ({ ...operator, ...change })),
    });
    expectCode(() => encodeTflite(withTensor({ data: new Uint8Array(3) })), 'ERR_SHAPE', /tensor/);
    expectCode(() => encodeTflite(withTensor({ zeroPoint: new Int32Array(7) })), 'ERR_SHAPE', /scales/);
    expectCode(() => encodeTflite(withOperator({ op: 'LSTM' })), 'ERR_UNSUPPORTED', /LSTM/);
    expectCode(() => encodeTflite(withOperator({ inputs: [99] })), 'ERR_OPTION', /tensor 99/);
    expectCode(() => encodeTflite(withOperator({ options: { fusedActivationFunction: 'SWISH' } })), 'ERR_OPTION', /SWISH/);
    expectCode(() => encodeTflite({ ...one, outputs: [-1] }), 'ERR_OPTION', /tensor -1/);
  });
});

describe('writeTflite', () => {
  it('writes the file whole, replaces an old one and leaves nothing else behind', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'pcqat-write-'));
    try {
      const file = path.join(folder, 'model.tflite');
      await writeFile(file, 'old');
      await writeTflite(Promise.resolve(one), file);
      expect(new Uint8Array(await readFile(file))).to.deep.equal(encodeTflite(one));
      expect(await readdir(folder)).to.deep.equal(['model.tflite']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('says what to do when the folder is missing, no folder, or the path is a folder', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'pcqat-write-'));
    try {
      await writeFile(path.join(folder, 'file'), '');
      await expectRejection(writeTflite(one, path.join(folder, 'missing', 'a.tflite')), 'ERR_IO', /Create the folder first/);
      await expectRejection(writeTflite(one, path.join(folder, 'file', 'a.tflite')), 'ERR_IO', /another path/);
      await expectRejection(writeTflite(one, folder), 'ERR_IO', /add a file name/);
      expect(await readdir(folder)).to.deep.equal(['file']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('names a folder that may not be written to', async function () {
    // Not even root creates files in /sys.
    if (process.platform !== 'linux') this.skip();
    await expectRejection(writeTflite(one, '/sys/a.tflite'), 'ERR_IO', /Cannot write \/sys\/a\.tflite.*(permissions|read-only)/);
  });
});
