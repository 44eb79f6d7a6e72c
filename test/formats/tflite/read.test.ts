import { expect } from 'chai';
import { describe, it } from 'mocha';
import { readTflite, readTfliteFile } from '#lib/formats/tflite/read.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { PADDINGS } from '#lib/formats/tflite/schema.js';
import { expectCode, expectRejection } from '../../support/errors.js';
import { bytesOf, float32Of, goldenModels } from '../../support/golden-tflite.js';

describe('readTflite', () => {
  it(`finds the recorded tensors and operators in all ${goldenModels.size} golden files`, () => {
    for (const [name, golden] of goldenModels) {
      const model = readTflite(bytesOf(golden.file), name);
      expect(model.inputs, name).to.deep.equal(golden.inputs);
      expect(model.outputs, name).to.deep.equal(golden.outputs);
      expect(model.tensors, name).to.have.length(golden.tensors.length);
      for (const [i, tensor] of golden.tensors.entries()) {
        expect(model.tensors[i], `${name} tensor ${i}`).to.deep.equal({
          name: tensor.name,
          shape: tensor.shape,
          dtype: tensor.type.toLowerCase(),
          scale: tensor.scale === undefined ? new Float32Array() : float32Of(tensor.scale),
          zeroPoint: Int32Array.from(tensor.zeroPoint ?? []),
          axis: tensor.axis ?? 0,
          ...(tensor.shapeSignature === undefined ? {} : { shapeSignature: tensor.shapeSignature }),
          ...(tensor.data === undefined ? {} : { data: bytesOf(tensor.data) }),
        });
      }
      for (const [i, { options, ...operator }] of golden.operators.entries()) {
        const padding = options['padding'] === undefined ? {} : { padding: PADDINGS[Number(options['padding'])] };
        expect(model.operators[i], `${name} operator ${i}`).to.deep.equal({ ...operator, options: { ...options, ...padding } });
      }
    }
  });

  it('rejects what is no .tflite file, with the place', async () => {
    const file = bytesOf(goldenModels.get('dense-qat-adam')!.file);
    expectCode(() => readTflite(new Uint8Array()), 'ERR_FORMAT', /header/);
    expectCode(() => readTflite(new Uint8Array(100)), 'ERR_FORMAT', /identifier/);
    expectCode(() => readTflite(file.subarray(0, 40), 'cut.tflite'), 'ERR_FORMAT', /cut\.tflite/);
    expectCode(() => readTflite('text' as unknown as Uint8Array), 'ERR_DTYPE');
    await expectRejection(readTfliteFile('no-such-file.tflite'), 'ERR_IO', /no-such-file/);
  });

  it('rejects every truncation', () => {
    const file = bytesOf(goldenModels.get('plain-qat-adam')!.file);
    const complete = readTflite(file);
    for (let length = 0; length < file.length; length += 7) {
      // Cutting only the padding at the end may leave a complete file; then it must read the same.
      let model;
      try {
        model = readTflite(file.slice(0, length));
      } catch (error) {
        expect((error as { code: string }).code).to.equal('ERR_FORMAT');
        continue;
      }
      expect(model).to.deep.equal(complete);
    }
  });

  it('refuses strings and vectors that would expand a small file', () => {
    const file = bytesOf(goldenModels.get('dense-qat-adam')!.file);
    const view = new DataView(file.buffer);
    // Every aligned 32-bit word becomes a huge length once.
    for (let at = 8; at + 4 <= file.length; at += 4) {
      const saved = view.getUint32(at, true);
      for (const value of [0xffffffff, 0x7fffffff, file.length, 0x40000000]) {
        view.setUint32(at, value, true);
        try {
          readTflite(file);
        } catch (error) {
          expect((error as { code?: string }).code, String(error)).to.be.oneOf(['ERR_FORMAT', 'ERR_UNSUPPORTED']);
        }
      }
      view.setUint32(at, saved, true);
    }
  });

  it('refuses a file whose vectors all name the same table', () => {
    const count = 50_000;
    const file = encodeTflite({ ...readTflite(bytesOf(goldenModels.get('dense-qat-adam')!.file)) });
    const view = new DataView(file.buffer);
    const at = (table: number, slot: number): number => table + view.getUint16(table - view.getInt32(table, true) + 4 + 2 * slot, true);
    // The buffers' vector moves behind the file and names buffer 0 `count` times.
    const big = new Uint8Array(file.length + 4 + 4 * count);
    big.set(file);
    const grown = new DataView(big.buffer);
    const field = at(view.getUint32(0, true), 4);
    const vector = field + view.getUint32(field, true);
    const buffer = vector + 4 + view.getUint32(vector + 4, true);
    grown.setUint32(field, file.length - field, true);
    grown.setUint32(file.length, count, true);
    // Offsets are unsigned, so the table is copied behind its vector.
    const copy = new Uint8Array(big.length + 16);
    copy.set(big);
    const target = new DataView(copy.buffer);
    target.setInt32(big.length, big.length - (buffer - view.getInt32(buffer, true)), true);
    for (let i = 0; i < count; i++) target.setUint32(file.length + 4 + 4 * i, big.length - (file.length + 4 + 4 * i), true);
    expectCode(() => readTflite(copy), 'ERR_FORMAT', /too many times/);
  });
});
