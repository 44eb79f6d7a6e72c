import { expect } from 'chai';
import { describe, it } from 'mocha';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import { quantizeModel } from '#lib/compress/quantization/apply.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { Model } from '#lib/graph/model.js';
import { inferShapes } from '#lib/graph/shapes.js';
import { dsCnn, mnistCnn, lenet5, mobilenetV1, resnet8 } from '#lib/graph/zoo/index.js';
import { loadBinding } from '#lib/native.js';
import { calibrate } from '#lib/train/calibrate.js';
import { randomInt8 } from '../support/int8-convert.js';
import { randomDataset } from '../support/int8-graphs.js';
import { runLiteRt } from '../support/litert.js';
import { runTflite29 } from '../support/tflite29.js';

const { IntegerSession } = loadBinding();

const MODELS: readonly (readonly [string, () => Model])[] = [
  ['DS-CNN-S', () => dsCnn({ size: 'S', classes: 10 })],
  ['MobileNet v1 0.25', () => mobilenetV1({ alpha: 0.25, inputShape: [64, 64, 3], classes: 2 })],
  ['ResNet-8', () => resnet8({ classes: 10 })],
  ['LeNet-5', () => lenet5({ classes: 10 })],
  ['the MNIST CNN', () => mnistCnn()],
];

const ROWS = 5;

/** One step of one layer may be a few steps after the layers behind it. */
const MOST_STEPS = 4;

describe('exported zoo models in foreign runtimes', () => {
  for (const [name, create] of MODELS) {
    for (const kind of ['post-training', 'trained ranges'] as const) {
      it(`${name}, ${kind}: loads and runs in TFLite 2.9 and LiteRT, at most ${MOST_STEPS} steps away`, async () => {
        const source = create();
        const inputShape = inferShapes(source.graph).get(source.graph.nodes[0]!.name)!;
        const data = randomDataset(inputShape, 12, 9);
        let model = source;
        if (kind === 'trained ranges') {
          model = quantizeModel(source, { onNotice: () => undefined });
          await calibrate(model, data);
        }
        const tflite = await convertToInt8(model, kind === 'trained ranges' ? {} : { representativeData: data });
        const file = encodeTflite(tflite);
        const x = randomInt8(tflite, ROWS, 4);
        const session = new IntegerSession(readTflite(file));
        const y = (await session.run(x)) as Int8Array;
        for (const foreign of [runTflite29(file, x), await runLiteRt(file, [1, ...inputShape], x)]) {
          expect(foreign).to.have.length(y.length);
          expect(Math.max(...Array.from(foreign, (value, i) => Math.abs(value - y[i]!)))).to.be.at.most(MOST_STEPS);
        }
      });
    }
  }
});
