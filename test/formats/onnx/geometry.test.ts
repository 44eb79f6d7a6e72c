import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { PcqatError } from '#lib/errors.js';
import { predict } from '#lib/evaluate/evaluate.js';
import { runOnnx } from '#lib/evaluate/onnxruntime.js';
import type { AttributeValue } from '#lib/formats/onnx/encode.js';
import type { Model } from '#lib/graph/model.js';
import { channelsLast, int, ints, type NodeSpec, onnxFile, readModel, relativeError, weights } from '../../support/onnx.js';

const CHANNELS = 2;
const small = (low: number, high: number) => fc.integer({ min: low, max: high });
const pair = (low: number, high: number) => fc.tuple(small(low, high), small(low, high));
const geometry = fc.record({
  size: pair(4, 11),
  kernel: pair(1, 4),
  strides: pair(1, 3),
  before: pair(0, 2),
  after: pair(0, 2),
  dilation: fc.constantFrom(1, 1, 2),
  pad: fc.constantFrom('NOTSET', 'NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'),
  ceil: fc.constantFrom(0, 1),
  counts: fc.constantFrom(0, 1),
  extra: pair(0, 1),
  isPositive: fc.boolean(),
});
type Geometry = typeof geometry extends fc.Arbitrary<infer T> ? T : never;

function attributes({ kernel, strides, before, after, pad }: Geometry): Record<string, AttributeValue> {
  const shared = { kernel_shape: ints(...kernel), strides: ints(...strides) };
  return pad === 'NOTSET' ? { ...shared, pads: ints(...before, ...after) } : { ...shared, auto_pad: { string: pad } };
}

/** A file with the operator, perhaps behind a ReLU, or undefined where ONNX has no meaning for it. */
function fileOf(op: string, shape: Geometry): Uint8Array {
  const input = shape.isPositive ? 'r' : 'x';
  const own: Readonly<Record<string, Record<string, AttributeValue>>> = {
    Conv: { dilations: ints(shape.dilation, shape.dilation) },
    ConvTranspose: { output_padding: ints(...shape.extra) },
    MaxPool: { ceil_mode: int(shape.ceil) },
    AveragePool: { ceil_mode: int(shape.ceil), count_include_pad: int(shape.counts) },
  };
  const kernel = op.startsWith('Conv') ? ['w'] : [];
  const node: NodeSpec = [op, [input, ...kernel], 'y', { ...attributes(shape), ...own[op] }];
  const nodes: NodeSpec[] = shape.isPositive ? [['Relu', ['x'], 'r'], node] : [node];
  return onnxFile([CHANNELS, ...shape.size], nodes, kernel.length > 0 ? [weights('w', [CHANNELS, CHANNELS, ...shape.kernel])] : []);
}

describe('ONNX windows of any geometry', () => {
  for (const op of ['Conv', 'ConvTranspose', 'MaxPool', 'AveragePool']) {
    it(`${op}: is refused, or does what ONNX Runtime does`, async () => {
      let accepted = 0;
      await fc.assert(
        fc.asyncProperty(geometry, async (shape) => {
          // ONNX Runtime's AveragePool alone takes negative pads from auto_pad where the window is smaller than its stride.
          fc.pre(op !== 'AveragePool' || !shape.pad.startsWith('SAME') || shape.kernel.every((size, i) => size >= shape.strides[i]!));
          const file = fileOf(op, shape);
          const x = new Float32Array(weights('x', [2, CHANNELS, ...shape.size], 3).data.buffer);
          let model: Model;
          try {
            model = readModel(file);
          } catch (error) {
            expect(error).to.be.instanceOf(PcqatError);
            return;
          }
          // What has no meaning in ONNX (a pad as large as the window) is no matter of ours.
          const y = await runOnnx(file, x, { threads: 1 }).catch(() => undefined);
          if (y === undefined) return;
          accepted++;
          const ours = await predict(model, channelsLast(x, [2, CHANNELS, ...shape.size]), { threads: 1 });
          expect(relativeError(ours, channelsLast(y, [2, CHANNELS, y.length / 2 / CHANNELS]))).to.be.below(1e-5);
        }),
        { numRuns: Number(process.env['RUNS'] ?? 150), seed: 1 },
      );
      expect(accepted).to.be.above(20);
    });
  }
});
