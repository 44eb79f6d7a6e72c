import { expect } from 'chai';
import { describe, it } from 'mocha';
import { inspectTflite, zipArchiveSize, type TfliteSummary } from '#lib/formats/tflite/inspect.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { expectCode } from '../../support/errors.js';
import { transposeConv } from '../../support/int8-operators.js';
import { bytesOf, goldenModels, pipelineFacts, pipelineFile, sizeFacts, type LayerFacts } from '../../support/golden-tflite.js';

const NAMES: Readonly<Record<string, LayerFacts['op']>> = { CONV_2D: 'conv', DEPTHWISE_CONV_2D: 'depthwise', FULLY_CONNECTED: 'dense' };

function factsOf({ layers }: TfliteSummary): object[] {
  return layers.map(({ op, shape, scales, codes, codesPerChannelMax, zeros }) => ({
    op: NAMES[op],
    shape,
    scales,
    codes,
    codesPerChannelMax,
    zeros: Math.round(zeros * 1e4) / 1e4,
  }));
}

const kept = Object.keys(pipelineFacts.files).filter((name) => name.startsWith('S-'));

describe('inspectTflite', () => {
  for (const name of kept) {
    it(`counts codes, scales and zeros of ${name} as recorded`, () => {
      expect(factsOf(inspectTflite(pipelineFile(name)))).to.deep.equal(pipelineFacts.files[name]!.layers);
    });
  }

  it('gives types, parameters and sizes', () => {
    const file = bytesOf(goldenModels.get('dense-qat-adam')!.file);
    const summary = inspectTflite(file);
    expect(summary.bytes).to.equal(file.length);
    expect(summary.operators).to.deep.equal(['FULLY_CONNECTED', 'FULLY_CONNECTED']);
    expect(summary.inputs).to.have.length(1);
    expect(summary.inputs[0]).to.include({ dtype: 'int8', name: 'serving_default_input_1:0' });
    expect(summary.outputs[0]!.shape).to.deep.equal([1, 5]);
    expect(summary.tensors).to.have.length(7);
    expect(summary.zipBytes).to.equal(zipArchiveSize(file, 'a.tflite'));
    expectCode(() => inspectTflite(file.subarray(0, 99), 'half.tflite'), 'ERR_FORMAT', /half\.tflite/);
  });

  it('counts the codes of a transposed convolution per output channel', () => {
    const model = transposeConv({ kernel: [3, 3], strides: [2, 2], padding: 'SAME' });
    const codes = new Int8Array(model.tensors[1]!.data!.buffer);
    codes.forEach((_, i) => (codes[i] = Math.floor(i / 54) - 3)); // one value for each of the 7 filters of 54 weights
    const [layer] = inspectTflite(encodeTflite(model)).layers;
    expect(layer).to.deep.equal({
      name: 'up',
      op: 'TRANSPOSE_CONV',
      shape: [7, 3, 3, 6],
      dtype: 'int8',
      scales: 7,
      weights: 378,
      zeros: 54 / 378,
      codes: 7,
      codesPerChannelMax: 1,
    });
  });

  it("measures the reference's ZIP size (spec 5.3): deflate + 98 + 2 · name", () => {
    for (const { file, tfmotZip, rawDeflate6, gzip9, brotli11 } of sizeFacts.files) {
      expect(tfmotZip, file).to.equal(rawDeflate6 + 98 + 2 * sizeFacts.archiveName.length);
      const name = file.replace('.tflite', '');
      const golden = goldenModels.get(name);
      if (golden === undefined && !kept.includes(name)) continue;
      const bytes = golden === undefined ? pipelineFile(name) : bytesOf(golden.file);
      // Node's zlib is not the zlib 1.2.13 that measured the files: it finds other matches, which shows in files of a few KB.
      const slack = bytes.length < 10_000 ? 0.06 : 0.02;
      const summary = inspectTflite(bytes);
      expect(zipArchiveSize(bytes, sizeFacts.archiveName), file).to.be.closeTo(tfmotZip, slack * tfmotZip);
      expect(summary.gzipBytes, file).to.be.closeTo(gzip9, slack * gzip9);
      expect(summary.brotliBytes, file).to.equal(brotli11);
    }
  });
});
