import { expect } from 'chai';
import { describe, it } from 'mocha';
import type { Isa } from '../../binding.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { loadBinding } from '#lib/native.js';
import { convertCase, randomInt8, toUint8 } from '../support/int8-convert.js';
import { operatorCases } from '../support/int8-operators.js';
import { int8Cases } from '../support/int8-graphs.js';

const { IntegerSession, buildInfo } = loadBinding();

async function run(model: TfliteModel, x: Int8Array | Uint8Array, isa: Isa, threads: number): Promise<unknown> {
  const session = new IntegerSession(model, { isa, threads });
  try {
    return await session.run(x);
  } finally {
    session.dispose();
  }
}

describe('the integer executor is the same everywhere', () => {
  for (const int8Case of int8Cases()) {
    it(`${int8Case.name}: equal bytes on every instruction set and with 1, 2 and 4 threads, int8 and uint8`, async () => {
      const { tflite } = await convertCase(int8Case);
      const x = randomInt8(tflite, 9, 5);
      const expected = await run(tflite, x, 'scalar', 1);
      const uint8 = toUint8(tflite);
      const x8 = Uint8Array.from(x, (value) => value + 128);
      const expected8 = await run(uint8, x8, 'scalar', 1);
      for (const isa of buildInfo().availableIsas) {
        for (const threads of [1, 2, 4]) {
          expect(await run(tflite, x, isa, threads), `${isa}, ${threads} threads`).to.deep.equal(expected);
          expect(await run(uint8, x8, isa, threads), `uint8, ${isa}, ${threads} threads`).to.deep.equal(expected8);
        }
      }
    });
  }

  for (const { name, model } of operatorCases().filter((operatorCase) => operatorCase.name.startsWith('TRANSPOSE_CONV'))) {
    it(`${name}: equal bytes on every instruction set and with 1 and 4 threads`, async () => {
      const x = randomInt8(model, 9, 6);
      const expected = await run(model, x, 'scalar', 1);
      for (const isa of buildInfo().availableIsas) {
        for (const threads of [1, 4]) expect(await run(model, x, isa, threads), `${isa}, ${threads} threads`).to.deep.equal(expected);
      }
    });
  }
});
