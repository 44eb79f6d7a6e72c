import { expect } from 'chai';
import { describe, it } from 'mocha';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { loadFsdd } from '#lib/data/fsdd.js';
import { Int8Runner } from '#lib/evaluate/int8.js';
import { runOnnx } from '#lib/evaluate/onnxruntime.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { encodeOnnx } from '#lib/formats/onnx/write.js';
import * as zoo from '#lib/graph/zoo/index.js';
import { adam } from '#lib/train/optimizers.js';
import { fit } from '#lib/train/fit.js';
import { argmax } from '#lib/train/metrics.js';
import { expectRejection } from '../support/errors.js';
import { ints, onnxFile, relativeError } from '../support/onnx.js';

const noise = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i * 1.7));

describe('running ONNX files in ONNX Runtime', () => {
  it('runs a file by its path or bytes, batch by batch', async () => {
    const model = zoo.mnistCnn();
    const bytes = encodeOnnx(model);
    const x = noise(7 * 784);
    const expected = await predict(model, x);
    const folder = mkdtempSync(path.join(tmpdir(), 'pcqat-ort-'));
    try {
      const file = path.join(folder, 'model.onnx');
      writeFileSync(file, bytes);
      for (const y of [
        await runOnnx(file, x),
        await runOnnx(bytes, x, { batchSize: 2, threads: 1 }),
        await runOnnx(bytes, x, { precise: true }),
      ])
        expect(relativeError(y, expected)).to.be.below(1e-5);
    } finally {
      rmSync(folder, { recursive: true });
    }
    expect(await runOnnx(bytes, new Float32Array())).to.have.length(0);
  });

  it('says what is wrong with arguments and files', async () => {
    const bytes = encodeOnnx(zoo.mnistCnn());
    await expectRejection(runOnnx(bytes, noise(783)), 'ERR_SHAPE', /whole rows of 784/);
    await expectRejection(runOnnx(bytes, new Int8Array(784)), 'ERR_DTYPE', /float32/);
    await expectRejection(runOnnx(bytes, noise(784), { batchSize: 0 }), 'ERR_OPTION', /batchSize/);
    await expectRejection(runOnnx(bytes, noise(784), { threads: 1.5 }), 'ERR_OPTION', /threads/);
    await expectRejection(runOnnx(bytes.subarray(0, 500), noise(784)), 'ERR_FORMAT');
    await expectRejection(runOnnx('no-such-file.onnx', noise(784)), 'ERR_IO');
    await expectRejection(
      runOnnx(onnxFile([4], [['NoSuchOperator', ['x'], 'y']]), noise(4)),
      'ERR_UNSUPPORTED',
      /onnxruntime-node.*NoSuchOperator/,
    );
    const two = onnxFile([4], [['Add', ['x', 'z'], 'y']], [], { inputs: [{ name: 'z', type: 'float', shape: [4] }] }); // prettier-ignore
    await expectRejection(runOnnx(two, noise(4)), 'ERR_UNSUPPORTED', /2 inputs/);
    const wrong = onnxFile([4], [['Transpose', ['x'], 'y', { perm: ints(0, 2, 1) }]]); // prettier-ignore
    await expectRejection(runOnnx(wrong, noise(4)), 'ERR_UNSUPPORTED');
  });

  it('says what to install where the runtime is missing', () => {
    const hook =
      "export async function resolve(name, context, next) { if (name === 'onnxruntime-node') throw new Error('gone'); return next(name, context); }";
    const register = `import { register } from 'node:module'; register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)});`;
    const index = new URL('../../../dist/index.js', import.meta.url).href;
    const code = `
      import { encodeOnnx, runOnnx, zoo } from ${JSON.stringify(index)};
      await runOnnx(encodeOnnx(zoo.lenet5()), new Float32Array(784)).catch(({ code, message }) => console.log(code, message));`;
    const output = execFileSync(
      process.execPath,
      ['--import', `data:text/javascript,${encodeURIComponent(register)}`, '--input-type=module', '-e', code],
      { encoding: 'utf8' },
    );
    expect(output).to.match(/^ERR_MISSING_PEER .*npm install onnxruntime-node/);
  });

  it('a trained, quantized DS-CNN chooses what our int8 executor chooses', async () => {
    const { train, validation, test } = await loadFsdd();
    const model = zoo.dsCnn({ size: 'S', classes: 10 });
    await fit(model, { train, epochs: 8, batchSize: 64, optimizer: adam({ learningRate: 3e-3 }) });
    const int8 = await convertToInt8(model, { representativeData: train, samples: 200 });
    const bytes = encodeOnnx(int8);
    const runner = new Int8Runner(int8);
    try {
      let [rows, equal, most] = [0, 0, 0];
      for (const data of [train, validation, test]) {
        if (data === undefined) continue;
        const [ours, theirs] = [await runner.run(data.x), await runOnnx(bytes, data.x)];
        for (let row = 0; row < data.size; row++) {
          const [from, to] = [row * 10, row * 10 + 10];
          if (argmax(ours.subarray(from, to)) === argmax(theirs.subarray(from, to))) equal++;
        }
        rows += data.size;
        most = theirs.reduce((largest, value, i) => Math.max(largest, Math.abs(value - ours[i]!) / runner.output.scale[0]!), most);
      }
      expect(rows).to.be.at.least(3000);
      expect(equal / rows).to.be.at.least(0.999);
      expect(most).to.be.below(4.01);
    } finally {
      runner.dispose();
    }
  }).timeout(60_000);
});
