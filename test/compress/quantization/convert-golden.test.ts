import { expect } from 'chai';
import { describe, it } from 'mocha';
import { convertToInt8 } from '#lib/compress/quantization/convert.js';
import type { Dataset } from '#lib/data/types.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel, TfliteTensor } from '#lib/formats/tflite/types.js';
import type { Model } from '#lib/graph/model.js';
import { bytesOf, goldenModels } from '../../support/golden-tflite.js';
import { arrayOf, load, modelBefore, type Trace, traces, wrap } from '../../support/traces.js';

/** The 80 training rows: what the reference's converter got as representative data. */
function representativeData({ steps, net }: Trace): Dataset {
  const x = steps.flatMap((step) => [...arrayOf(step.x)]);
  return {
    name: 'training rows',
    size: 80,
    inputShape: net === 'dense' ? [10] : [8, 8, 3],
    x: Float32Array.from(x),
    y: new Int32Array(80),
  };
}

/**
 * The model as the reference exported it: everything after the last step, but weights and codebooks as the last forward pass read
 * them, because that is where the reference's exported kernels and ranges come from (spec W28).
 */
function exportedState(trace: Trace): Model {
  const model = wrap(trace);
  load(model, trace.steps.at(-1)!.after);
  const last = trace.steps.at(-2)!.after;
  load(model, Object.fromEntries(Object.entries(last).filter(([name]) => /kernel$|centroids_tf$|ori_weights_vars_tf$/.test(name))));
  return model;
}

const isFakeQuant = ({ stage }: Trace): boolean => stage.includes('qat');

interface Pair {
  readonly op: string;
  readonly ours: readonly TfliteTensor[];
  readonly theirs: readonly TfliteTensor[];
}

/** Operators of both files side by side, each with its inputs and then its output. */
function pairs(ours: TfliteModel, theirs: TfliteModel): Pair[] {
  expect(ours.operators.map(({ op }) => op)).to.deep.equal(theirs.operators.map(({ op }) => op));
  const tensorsOf = (model: TfliteModel, i: number): TfliteTensor[] =>
    [...model.operators[i]!.inputs, ...model.operators[i]!.outputs].map((index) => model.tensors[index]!);
  return ours.operators.map(({ op }, i) => ({ op, ours: tensorsOf(ours, i), theirs: tensorsOf(theirs, i) }));
}

const int32 = ({ data }: TfliteTensor): Int32Array => new Int32Array(data!.slice().buffer);
const ratios = (a: TfliteTensor, b: TfliteTensor): number =>
  Math.max(...Array.from(a.scale, (scale, i) => Math.abs(scale / b.scale[i]! - 1)));

/** One unit in the last place of f32, twice over: the reference multiplies in f32 where we multiply in double. */
const ULPS = 2.5e-7;
/** Activation ranges of a float model depend on the order of summation. */
const OBSERVED = 3e-6;

describe('convertToInt8 against the reference converter (spec 5.1)', () => {
  for (const [name, trace] of traces) {
    it(name, async () => {
      const theirs = readTflite(bytesOf(goldenModels.get(name)!.file));
      const model = isFakeQuant(trace) ? exportedState(trace) : modelBefore(trace);
      if (!isFakeQuant(trace)) load(model, trace.stripped);
      const ours = await convertToInt8(model, isFakeQuant(trace) ? {} : { representativeData: representativeData(trace) });
      const tolerance = isFakeQuant(trace) ? ULPS : OBSERVED;
      for (const { op, ours: our, theirs: their } of pairs(ours, theirs)) {
        for (const i of [0, our.length - 1]) {
          expect(our[i]!.shape).to.deep.equal(their[i]!.shape);
          expect(our[i]!.zeroPoint, `${op}: zero point`).to.deep.equal(their[i]!.zeroPoint);
          expect(ratios(our[i]!, their[i]!), `${op}: activation scale`).to.be.at.most(tolerance);
        }
        if (op === 'MEAN') continue;
        const [weight, bias] = [our[1]!, our[2]!];
        const [theirWeight, theirBias] = [their[1]!, their[2]!];
        expect(weight.shape).to.deep.equal(theirWeight.shape);
        // After training, TF 2.21 gives dense layers a scale per channel, which runtimes such as TFLite 2.9 compute wrongly.
        if (!isFakeQuant(trace) && op === 'FULLY_CONNECTED') continue;
        expect(weight.axis).to.equal(theirWeight.axis);
        expect(ratios(weight, theirWeight), `${op}: weight scales`).to.be.at.most(2 * ULPS);
        expect(ratios(bias, theirBias), `${op}: bias scales`).to.be.at.most(2 * tolerance);
        // Plain QAT moves the weights after it took their range; the reference exports the new weights with the old range.
        const stale = isFakeQuant(trace) && (/^p?qat/.test(trace.stage) || op === 'DEPTHWISE_CONV_2D');
        if (!stale) expect(weight.data, `${op}: codes`).to.deep.equal(theirWeight.data);
        // Codes of the bias are large: their scale may differ in the last bit of f32.
        const [b, t] = [int32(bias), int32(theirBias)];
        for (const [c, code] of t.entries())
          expect(Math.abs(b[c]! - code), `${op}: bias`).to.be.at.most(1 + Math.abs(code) * 2 * tolerance);
      }
    });
  }
});
