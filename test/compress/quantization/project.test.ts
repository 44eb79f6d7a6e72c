import { expect } from 'chai';
import { describe, it } from 'mocha';
import {
  adam,
  clusterWeights,
  type CompressionNotice,
  convertToInt8,
  Default8BitClusterPreserveQuantizeScheme,
  fit,
  loadModel,
  materializeWeight,
  type Model,
  projectCodebooks,
  pruneLowMagnitude,
  quantizeModel,
  saveModel,
  stripClustering,
  stripPruning,
  constantSparsity,
  weightRange,
} from '#lib/index.js';
import { mergeValues } from '#lib/compress/quantization/merge-values.js';
import { loadBinding } from '#lib/native.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fingerprint, toyData, toyModel } from '../../train/toy.js';

const train = toyData(96);
const onNotice = (): void => undefined;
const optimizer = adam({ learningRate: 0.01 });
const run = (model: Model, epochs: number) => fit(model, { train, epochs, batchSize: 16, optimizer });

type SchemeOptions = ConstructorParameters<typeof Default8BitClusterPreserveQuantizeScheme>[0];

/** A trained PCQAT model; every kernel is pruned and clustered, depthwise too. */
async function pcqat(options: SchemeOptions & { perChannel?: boolean; clusters?: number } = {}): Promise<Model> {
  const { perChannel = false, clusters = 6, ...scheme } = options;
  const layers = perChannel ? ['logits', 'conv'] : ['conv', 'dw', 'logits'];
  const pruned = pruneLowMagnitude(toyModel(), { layers, schedule: constantSparsity({ targetSparsity: 0.5, frequency: 1 }), onNotice });
  await run(pruned, 2);
  const clustered = clusterWeights(stripPruning(pruned), {
    numberOfClusters: clusters,
    preserveSparsity: true,
    clusterPerChannel: perChannel,
    layers,
    onNotice,
  });
  await run(clustered, 1);
  const model = quantizeModel(stripClustering(clustered), { scheme: new Default8BitClusterPreserveQuantizeScheme(scheme), onNotice });
  await run(model, 2);
  return model;
}

/** The used kernel after its fake quantization, as the training graph has it. */
function fakeQuantized(model: Model, parameter: string): Float32Array {
  const used = materializeWeight(model, parameter);
  const { min, max } = weightRange(model, parameter);
  const result = new Float32Array(used.length);
  loadBinding().fakeQuantize(used, min, max, model.chains.get(parameter)!.fakeQuant!.bits, true, result);
  return result;
}

const bits = (values: Float32Array): number[] => [...new Uint32Array(values.buffer, values.byteOffset, values.length)];

describe('mergeValues', () => {
  const values = Float32Array.of(-1, -1, -0.5, 0, 0, 0.98, 0.98, 1, 1, 0.5);

  it('joins the cheapest neighbours first, to the mean over their weights', () => {
    const merged = mergeValues(values, 30);
    expect(merged.get(Math.fround(0.98))).to.be.closeTo(0.99, 1e-6);
    expect(merged.get(1)).to.equal(merged.get(Math.fround(0.98)));
    expect(merged.get(0.5)).to.equal(0.5);
    expect(merged.get(-1)).to.equal(-1);
    expect(merged.has(0)).to.equal(false);
  });

  it('keeps to the limit, and joins all of a sign but never across zero when it may', () => {
    expect([...mergeValues(values, Infinity)].every(([from, to]) => from === to)).to.equal(true);
    expect(new Set(mergeValues(values, 0).values()).size).to.equal(2);
    for (const snr of [10, 20, 25, 40]) {
      const merged = mergeValues(values, snr);
      const noise = values.reduce((sum, value) => sum + (value === 0 ? 0 : (value - merged.get(value)!) ** 2), 0);
      expect(noise).to.be.at.most(values.reduce((sum, value) => sum + value ** 2, 0) * 10 ** (-snr / 10));
    }
    expect(mergeValues(new Float32Array(4), 35).size).to.equal(0);
  });
});

describe('projectCodebooks', () => {
  for (const perChannel of [false, true]) {
    it(`puts centroids on the grid: the kernel is its own fake quantization, bit for bit (${perChannel ? 'per channel' : 'per tensor'})`, async () => {
      const model = await pcqat({ perChannel });
      const projected = projectCodebooks(model, { minimumSnr: Infinity });
      for (const [parameter, chain] of projected.chains) {
        if (chain.codebook === undefined) continue;
        const used = materializeWeight(projected, parameter);
        expect(bits(fakeQuantized(projected, parameter)), parameter).to.deep.equal(bits(used));
        // The codes are those that the model had before: only the scale was rounded.
        const before = fakeQuantized(model, parameter);
        used.forEach((value, i) => expect(Math.abs(value - before[i]!)).to.be.at.most(2 ** -16 * Math.abs(before[i]!)));
        expect(used.some((value) => Object.is(value, -0))).to.equal(false);
      }
      expect([...projected.chains.values()].filter(({ codebook }) => codebook?.frozen === true)).to.have.length(perChannel ? 2 : 3);
    });
  }

  it('re-tuning moves everything but the codebooks, and no zero or code changes in the file', async () => {
    const projected = projectCodebooks(await pcqat());
    const before = new Map(['conv', 'dw', 'logits'].map((layer) => [layer, materializeWeight(projected, `${layer}/kernel`)]));
    const exported = await convertToInt8(projected);
    const { beta, bias } = {
      beta: projected.tensors.get('conv_bn/beta')!.data.slice(),
      bias: projected.tensors.get('logits/bias')!.data.slice(),
    };
    await run(projected, 2);
    for (const [layer, kernel] of before) {
      expect(bits(materializeWeight(projected, `${layer}/kernel`)), layer).to.deep.equal(bits(kernel));
      expect(bits(fakeQuantized(projected, `${layer}/kernel`)), layer).to.deep.equal(bits(kernel));
    }
    expect(projected.tensors.get('conv_bn/beta')!.data).to.not.deep.equal(beta);
    expect(projected.tensors.get('logits/bias')!.data).to.not.deep.equal(bias);
    const kernels = (tensors: typeof exported.tensors) => tensors.filter(({ name }) => name.endsWith('/kernel')).map(({ data }) => data);
    expect(kernels((await convertToInt8(projected)).tensors)).to.deep.equal(kernels(exported.tensors));
  });

  it('the code in the file times its scale is the centroid, exactly, where nothing is folded', async () => {
    const projected = projectCodebooks(await pcqat());
    const tensor = (await convertToInt8(projected)).tensors.find(({ name }) => name === 'logits/kernel')!;
    const used = materializeWeight(projected, 'logits/kernel');
    const [units, depth] = tensor.shape as [number, number];
    const codes = new Int8Array(tensor.data!.buffer, tensor.data!.byteOffset, tensor.data!.length);
    used.forEach((value, i) => expect(Math.fround(codes[(i % units) * depth + Math.floor(i / units)]! * tensor.scale[0]!)).to.equal(value));
    expect(new Set(codes).size).to.be.at.most(6);
  });

  it('leaves a tensor-wide codebook with a scale per channel as it is, and says so; other chains are not touched', async () => {
    const model = await pcqat({ weightScale: 'channel' });
    const notices: CompressionNotice[] = [];
    const projected = projectCodebooks(model, { onNotice: (notice) => void notices.push(notice) });
    expect(notices.map(({ code, layer }) => [code, layer])).to.deep.equal([
      ['no-common-grid', 'conv'],
      ['no-common-grid', 'dw'],
    ]);
    expect(projected.chains.get('conv/kernel')).to.deep.equal(model.chains.get('conv/kernel'));
    expect(projected.tensors.get('conv/kernel:centroids')).to.deep.equal(model.tensors.get('conv/kernel:centroids'));
    const qat = quantizeModel(toyModel());
    expect(fingerprint(projectCodebooks(qat))).to.equal(fingerprint(qat));
  });

  it('joins values that training has brought close together, and neither zeros nor signs change', async () => {
    const model = await pcqat();
    const centroids = model.tensors.get('conv/kernel:centroids')!.data as Float32Array;
    const zero = model.tensors.get('conv/kernel:zero_index')!.data[0]!;
    const [a, b] = [0, 1, 2].filter((i) => i !== zero) as [number, number];
    centroids[b] = centroids[a]! * 1.002;
    const [before, after] = [model, projectCodebooks(model)].map((one) => materializeWeight(one, 'conv/kernel'));
    expect(new Set(after).size).to.be.lessThan(new Set(before).size);
    before.forEach((value, i) => expect(Math.sign(after[i]!)).to.equal(Math.sign(value)));
    const power = (values: Float32Array): number => values.reduce((sum, value) => sum + value ** 2, 0);
    // 35 dB for joining; the grid adds half a code at most.
    const noise = power(after.map((value, i) => value - before[i]!));
    const grid = after.length * (Math.max(...after.map(Math.abs)) / 127 / 2) ** 2;
    expect(noise).to.be.at.most(power(before) * 10 ** -3.5 + grid);
    expect(() => projectCodebooks(model, { minimumSnr: -1 })).to.throw('projectCodebooks.minimumSnr');
  });

  it('a second call changes nothing, and it survives saving', async () => {
    const projected = projectCodebooks(await pcqat());
    expect(fingerprint(projectCodebooks(projected))).to.equal(fingerprint(projected));
    const folder = await mkdtemp(path.join(tmpdir(), 'pcqat-project-'));
    try {
      await saveModel(projected, path.join(folder, 'model'));
      const loaded = await loadModel(path.join(folder, 'model'));
      expect(loaded.chains.get('conv/kernel')!.codebook!.frozen).to.equal(true);
      await run(loaded, 1);
      expect(bits(materializeWeight(loaded, 'conv/kernel'))).to.deep.equal(bits(materializeWeight(projected, 'conv/kernel')));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
