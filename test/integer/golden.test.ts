import { expect } from 'chai';
import { describe, it } from 'mocha';
import { readTflite } from '#lib/formats/tflite/read.js';
import { loadBinding } from '#lib/native.js';
import { bytesOf, goldenModels, int8Of } from '../support/golden-tflite.js';

const { IntegerSession, buildInfo } = loadBinding();

describe('IntegerSession on the golden models (spec 5.2)', () => {
  for (const isa of buildInfo().availableIsas) {
    it(`equals TFLite's reference kernels byte for byte on ${isa}: outputs of all ${goldenModels.size} files, with 1 and 3 threads`, async () => {
      for (const [name, golden] of goldenModels) {
        for (const threads of [1, 3]) {
          const session = new IntegerSession(readTflite(bytesOf(golden.file)), { isa, threads });
          expect(await session.run(int8Of(golden.x)), `${name}, ${threads} threads`).to.deep.equal(int8Of(golden.y));
          session.dispose();
        }
      }
    });

    it(`equals them on ${isa} in every inner tensor`, async () => {
      for (const [name, golden] of goldenModels) {
        const session = new IntegerSession(readTflite(bytesOf(golden.file)), { isa, threads: 1, keepValues: true });
        const x = int8Of(golden.x);
        const rowLength = x.length / golden.x.shape[0]!;
        for (let row = 0; row < 4; row++) {
          await session.run(x.slice(row * rowLength, (row + 1) * rowLength));
          for (const [tensor, reference] of Object.entries(golden.innerOfFirst4)) {
            const expected = int8Of(reference);
            const length = expected.length / 4;
            expect(session.getValue(Number(tensor)), `${name}, row ${row}, tensor ${tensor}`).to.deep.equal(
              expected.slice(row * length, (row + 1) * length),
            );
          }
        }
        session.dispose();
      }
    });
  }
});
