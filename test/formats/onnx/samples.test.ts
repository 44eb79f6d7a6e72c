import { expect } from 'chai';
import { describe, it } from 'mocha';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { predict } from '#lib/evaluate/evaluate.js';
import { runOnnx } from '#lib/evaluate/onnxruntime.js';
import { importModel } from '#lib/formats/import/index.js';
import { filesBeside, noFiles } from '#lib/formats/onnx/external.js';
import { assembleOnnxBytes } from '#lib/formats/onnx/import.js';
import { readOnnx, readTensor } from '#lib/formats/onnx/read.js';
import { tensorValues } from '#lib/formats/onnx/tensors.js';
import type { Model } from '#lib/graph/model.js';
import { channelsLast, relativeError } from '../../support/onnx.js';
import { randomNumbers } from '../../support/random.js';

const TOLERANCE = 1e-5;
const samples = path.resolve('../shared/data/import-samples');

/** One operator with its weights among the inputs, as ONNX's own tests have them: they become initializers. */
function withInitializers(test: string): Uint8Array {
  const bytes = readFileSync(path.join(test, 'model.onnx'));
  const { inputs, initializers } = readOnnx(bytes, test).graph;
  const real = inputs.filter(({ name }) => !initializers.has(name)).slice(1);
  // Messages that follow each other are one: a second graph with only these tensors.
  const added = real.map(({ name }, i) => {
    const tensor = Buffer.concat([readFileSync(path.join(test, `test_data_set_0/input_${i + 1}.pb`)), field(8, Buffer.from(name))]);
    return field(7, field(5, tensor));
  });
  return Buffer.concat([bytes, ...added]);
}

function field(number: number, bytes: Uint8Array): Buffer {
  const length: number[] = [];
  let rest = bytes.length;
  for (; rest > 127; rest = Math.floor(rest / 128)) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([number * 8 + 2, ...length, rest]), bytes]);
}

function stored(file: string): { readonly dims: readonly number[]; readonly values: Float32Array } {
  const tensor = readTensor(new Uint8Array(readFileSync(file)), file);
  return { dims: tensor.dims, values: Float32Array.from(tensorValues(tensor, noFiles(file))) };
}

/** Tests of ONNX itself that are out of scope, and why. */
const OUT_OF_SCOPE: Readonly<Record<string, RegExp>> = {
  test_add: /not one value per channel/, // adds a constant image
  test_averagepool_2d_pads: /left out of the averages/,
  test_clip_example: /bounds to \[-1, 1\]/,
  test_concat_2d_axis_1: /constant/,
  test_constant_pad: /pads with 1.2/,
  test_convinteger_without_padding: /uint8/,
  test_dequantizelinear: /uint8/,
  test_dynamicquantizelinear: /3 outputs/,
  test_matmulinteger: /uint8/,
  test_maxpool_2d_pads: /may be negative/,
  test_qlinearconv: /uint8/,
  test_qlinearmatmul_2D_int8_float32: /int8/,
  test_quantizelinear: /quantized/,
  test_quantizelinear_axis: /quantized/,
  test_transpose_all_permutations_3: /batch in another place/,
  test_transpose_default: /batch in another place/,
  test_Conv2d_groups: /groups/,
  test_ELU: /Elu/,
  test_LogSoftmax: /LogSoftmax/,
  light_shufflenet: /groups/,
};
/** Their inputs are sequences whose last axis is averaged or kept, so that they are read as they are. */
const AS_THEY_ARE: ReadonlySet<string> = new Set(['test_reduce_mean_keepdims_random']);

describe("ONNX's own tests and networks", function () {
  before(function () {
    if (!existsSync(samples)) {
      console.log(`      skipped: ${samples} is not there`);
      this.skip();
    }
  });

  for (const set of ['node', 'pytorch']) {
    const root = path.join(samples, 'onnx-ops', set);
    for (const name of existsSync(root) ? readdirSync(root) : []) {
      it(`${set}/${name}`, async () => {
        const test = path.join(root, name);
        const run = (): Model => {
          const { assembler, output } = assembleOnnxBytes(withInitializers(test), filesBeside(path.join(test, 'model.onnx')));
          return assembler.finish(output);
        };
        const refused = OUT_OF_SCOPE[name];
        if (refused !== undefined) {
          expect(run).to.throw(refused);
          return;
        }
        const model = run();
        const [x, y] = [stored(path.join(test, 'test_data_set_0/input_0.pb')), stored(path.join(test, 'test_data_set_0/output_0.pb'))];
        const [input] = model.graph.nodes;
        const shape = input?.op === 'input' ? input.shape : [];
        const [, channels, ...spatial] = x.dims;
        const isMoved = x.dims.length > 2 && shape.join() === [...spatial, channels].join() && !AS_THEY_ARE.has(name);
        const arranged = ({ dims, values }: typeof x): Float32Array => (isMoved ? channelsLast(values, dims) : values);
        expect(relativeError(await predict(model, arranged(x)), arranged(y))).to.be.below(TOLERANCE);
      });
    }
  }

  for (const name of ['light_resnet50', 'light_shufflenet', 'light_squeezenet']) {
    it(`${name}: its stored output`, async () => {
      const file = path.join(samples, 'onnx-ops/light', `${name}.onnx`);
      const refused = OUT_OF_SCOPE[name];
      if (refused !== undefined) {
        const error = await importModel(file).then(() => undefined, (caught: unknown) => caught); // prettier-ignore
        expect(String(error)).to.match(refused);
        return;
      }
      const { model } = await importModel(file);
      const pixels = 3 * 224 * 224;
      const x = channelsLast(Float32Array.from({ length: pixels }, (_, i) => i / pixels), [1, 3, 224, 224]); // prettier-ignore
      const y = stored(file.replace('.onnx', '_output_0.pb'));
      expect(relativeError(await predict(model, x), y.values)).to.be.below(TOLERANCE);
    });
  }

  for (const [name, shape, scale] of [
    ['ds_cnn_s', [1, 49, 10], 20],
    ['mobilenet_v1_025_vww96', [3, 96, 96], 1],
    ['resnet8_cifar10', [3, 32, 32], 255],
  ] as const) {
    it(`${name}: the outputs of ONNX Runtime`, async () => {
      const file = path.join(samples, 'onnx-trained', `${name}.onnx`);
      const random = randomNumbers(5);
      const rows = 4;
      const x = Float32Array.from({ length: rows * shape[0] * shape[1] * shape[2] }, () => random() * scale);
      const { model } = await importModel(file);
      const y = await predict(model, channelsLast(x, [rows, ...shape]));
      expect(relativeError(y, await runOnnx(file, x))).to.be.below(TOLERANCE);
    });
  }
});
