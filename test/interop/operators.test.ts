import { expect } from 'chai';
import { describe, it } from 'mocha';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import { loadBinding } from '#lib/native.js';
import { convertCase, randomInt8, toUint8 } from '../support/int8-convert.js';
import { int8Cases, newerCases } from '../support/int8-graphs.js';
import { expectClose, LITERT, TFLITE_29 } from '../support/foreign-kernels.js';
import { operatorCases } from '../support/int8-operators.js';
import { runLiteRt } from '../support/litert.js';
import { expectOperatorsClose } from '../support/single-operators.js';
import { runTflite29, type Bytes } from '../support/tflite29.js';

const { IntegerSession } = loadBinding();
const ROWS = 12;
/** One step of one operator may be a few steps after those behind it. */
const MOST_STEPS = 3;

async function ours<T extends Bytes>(file: Uint8Array, x: T): Promise<T> {
  const session = new IntegerSession(readTflite(file));
  try {
    return (await session.run(x)) as T;
  } finally {
    session.dispose();
  }
}

describe('exported operators in foreign runtimes', () => {
  for (const int8Case of [...int8Cases(), ...newerCases()]) {
    it(`${int8Case.name}: every operator gives our bytes in TFLite 2.9 and LiteRT, and the file runs there`, async () => {
      const { tflite, file } = await convertCase(int8Case);
      const x = randomInt8(tflite, ROWS, 21);
      const y = await expectOperatorsClose(tflite, x, ROWS);
      expect(await ours(file, x)).to.deep.equal(y);
      for (const whole of [runTflite29(file, x), await runLiteRt(file, tflite.tensors[tflite.inputs[0]!]!.shape, x)]) {
        expect(Math.max(...Array.from(whole, (value, i) => Math.abs(value - y[i]!)))).to.be.at.most(MOST_STEPS);
      }
    });
  }

  for (const int8Case of int8Cases()) {
    it(`${int8Case.name} as uint8: TFLite 2.9 gives our bytes`, async () => {
      const tflite = toUint8((await convertCase(int8Case)).tflite);
      const file = encodeTflite(tflite);
      const x = Uint8Array.from(randomInt8(tflite, ROWS, 22), (value) => value + 128);
      expectClose(runTflite29(file, x), await ours(file, x), tflite, TFLITE_29);
    });
  }

  it('float input and output through QUANTIZE and DEQUANTIZE: equal floats', async () => {
    const quantized = { dtype: 'int8', scale: Float32Array.of(0.037), zeroPoint: Int32Array.of(-11), axis: 0 } as const;
    const real = { dtype: 'float32', scale: new Float32Array(), zeroPoint: new Int32Array(), axis: 0 } as const;
    const shape = [1, 8];
    const tflite: TfliteModel = {
      description: 'float in, float out',
      tensors: [
        { name: 'x', shape, ...real },
        { name: 'q', shape, ...quantized },
        { name: 'r', shape, ...quantized, scale: Float32Array.of(0.02), zeroPoint: Int32Array.of(5) },
        { name: 'y', shape, ...real },
      ],
      operators: [
        { op: 'QUANTIZE', inputs: [0], outputs: [1], options: {}, version: 1 },
        { op: 'QUANTIZE', inputs: [1], outputs: [2], options: {} },
        { op: 'DEQUANTIZE', inputs: [2], outputs: [3], options: {} },
      ],
      inputs: [0],
      outputs: [3],
    };
    const file = encodeTflite(tflite);
    const x = Float32Array.from({ length: 800 }, (_, i) => (i - 400) * 0.0123);
    const y = await ours(file, x);
    expect(runTflite29(file, x)).to.deep.equal(y);
    // XNNPACK rounds differently where QUANTIZE goes from int8 to int8.
    const steps = (await runLiteRt(file, shape, x)).map((value, i) => Math.round((value - y[i]!) / 0.02));
    expect(steps.filter((step) => step !== 0).length).to.be.at.most(0.03 * steps.length);
    expect(Math.max(...steps.map(Math.abs))).to.be.at.most(1);
  });
});

describe('hand-written operators in foreign runtimes', () => {
  for (const { name, model, refused = {}, uint8 } of operatorCases()) {
    it(`${name}: TFLite 2.9 and LiteRT give our bytes`, async () => {
      const file = encodeTflite(model);
      const shape = model.tensors[model.inputs[0]!]!.shape;
      const x = randomInt8(model, ROWS, 23);
      const y = await ours(file, x);
      if (refused.tflite29 === undefined) expectClose(runTflite29(file, x), y, model, TFLITE_29);
      if (refused.litert === undefined) expectClose(await runLiteRt(file, shape, x), y, model, LITERT);
    });
    if (uint8 !== true) continue;
    it(`${name} as uint8: TFLite 2.9 gives our bytes`, async () => {
      const unsigned = toUint8(model);
      const file = encodeTflite(unsigned);
      const x = Uint8Array.from(randomInt8(model, ROWS, 24), (value) => value + 128);
      expectClose(runTflite29(file, x), await ours(file, x), unsigned, TFLITE_29);
    });
  }
});
