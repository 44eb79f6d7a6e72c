import { expect } from 'chai';
import { describe, it } from 'mocha';
import { evaluateInt8, Int8Runner, runInt8 } from '#lib/evaluate/int8.js';
import type { Dataset } from '#lib/data/types.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { expectRejection } from '../support/errors.js';
import { bytesOf, goldenModels, int8Of } from '../support/golden-tflite.js';

const golden = goldenModels.get('dense-qat-adam')!;
const model = readTflite(bytesOf(golden.file));
const input = model.tensors[model.inputs[0]!]!;
const output = model.tensors[model.outputs[0]!]!;
const x = Float32Array.from(int8Of(golden.x), (code) => (code - input.zeroPoint[0]!) * input.scale[0]!);
const y = Float32Array.from(int8Of(golden.y), (code) => (code - output.zeroPoint[0]!) * output.scale[0]!);

function dataset(change: Partial<Dataset> = {}): Dataset {
  return { name: 'golden', size: 16, inputShape: [10], x, y: new Int32Array(16), classes: 5, ...change };
}

describe('runInt8', () => {
  it('quantizes its input and dequantizes its output', async () => {
    expect(await runInt8(model, x)).to.deep.equal(y);
  });

  it('clamps inputs outside the range, and rounds halves away from zero', async () => {
    const quantized = { shape: [1, 6], dtype: 'int8', scale: Float32Array.of(1), zeroPoint: Int32Array.of(0), axis: 0 } as const;
    const copy: TfliteModel = {
      description: 'copy',
      tensors: [
        { name: 'x', ...quantized },
        { name: 'y', ...quantized },
      ],
      operators: [{ op: 'RESHAPE', inputs: [0], outputs: [1], options: {} }],
      inputs: [0],
      outputs: [1],
    };
    expect([...(await runInt8(copy, Float32Array.of(1e9, -1e9, 0.5, -0.5, 1.4999, -2.5)))]).to.deep.equal([127, -128, 1, -1, 1, -3]);
  });

  it('rejects partial rows and NaN', async () => {
    await expectRejection(runInt8(model, new Float32Array(9)), 'ERR_SHAPE');
    await expectRejection(runInt8(model, new Float32Array(10).fill(NaN)), 'ERR_NON_FINITE', /input value 0/);
    await expectRejection(runInt8({ ...model, operators: [] }, x), 'ERR_FORMAT');
  });
});

describe('evaluateInt8', () => {
  const labels = Int32Array.from({ length: 16 }, (_, row) => {
    const scores = y.subarray(row * 5, row * 5 + 5);
    return scores.indexOf(Math.max(...scores));
  });

  it('counts right answers, whatever the number of threads', async () => {
    expect(await evaluateInt8(model, dataset({ y: labels }))).to.deep.equal({ accuracy: 1 });
    const wrong = labels.map((label, row) => (row < 4 ? (label + 1) % 5 : label));
    for (const threads of [1, 2, 4])
      expect(await evaluateInt8(model, dataset({ y: wrong }), { threads })).to.deep.equal({ accuracy: 0.75 });
  });

  it('rejects bad data', async () => {
    await expectRejection(
      evaluateInt8(model, dataset({ size: 0, x: new Float32Array(), y: new Int32Array() })),
      'ERR_EMPTY_DATA',
      /golden/,
    );
    await expectRejection(evaluateInt8(model, dataset({ x: x.subarray(0, 150) })), 'ERR_SHAPE', /rows of the 10/);
    await expectRejection(evaluateInt8(model, dataset({ y: new Float32Array(16) })), 'ERR_DTYPE', /labels/);
    await expectRejection(evaluateInt8(model, dataset({ y: new Int32Array(15) })), 'ERR_SHAPE', /15 labels/);
    await expectRejection(evaluateInt8(model, dataset({ y: new Int32Array(16).fill(5) })), 'ERR_LABEL_RANGE', /label 5/);
    await expectRejection(evaluateInt8(model, dataset({ y: new Int32Array(16).fill(-1) })), 'ERR_LABEL_RANGE');
  });

  it('stops when it is aborted', async () => {
    const reason = await evaluateInt8(model, dataset({ y: labels }), { signal: AbortSignal.abort() }).catch((error: unknown) => error);
    expect((reason as Error).name).to.equal('AbortError');
  });
});

describe('Int8Runner', () => {
  it('can be used again, and refuses after dispose', async () => {
    const runner = new Int8Runner(model, { threads: 1 });
    expect(runner.inputSize).to.equal(10);
    expect(runner.outputSize).to.equal(5);
    expect(await runner.run(x)).to.deep.equal(y);
    expect(await runner.runQuantized(int8Of(golden.x))).to.deep.equal(int8Of(golden.y));
    runner.dispose();
    await expectRejection(runner.run(x), 'ERR_DISPOSED');
  });
});
