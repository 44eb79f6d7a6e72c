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

describe('projectCodebooks', () => {
  for (const perChannel of [false, true]) {
    it(`puts centroids on the grid: the kernel is its own fake quantization, bit for bit (${perChannel ? 'per channel' : 'per tensor'})`, async () => {
      const model = await pcqat({ perChannel });
      const projected = projectCodebooks(model, { onNotice });
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
