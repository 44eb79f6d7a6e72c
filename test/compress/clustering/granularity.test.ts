import { expect } from 'chai';
import { describe, it } from 'mocha';
import {
  chooseGranularity,
  clusterWeights,
  createModel,
  type Dataset,
  fit,
  GraphBuilder,
  materializeWeight,
  type Model,
  type PcqatErrorCode,
  predict,
  stripClustering,
} from '#lib/index.js';
import { expectRejection } from '../../support/errors.js';
import { fingerprint, toyData, toyModel } from '../../train/toy.js';

const onNotice = (): void => undefined;
const data = toyData(64);

/** Two convolutions; with `spread`, the filters of the first differ in size by orders of magnitude, which its batch norm evens out. */
async function net(spread: boolean, softmax = false): Promise<Model> {
  const g = new GraphBuilder('net');
  let x = g.conv2d(g.input([6, 6, 1]), { name: 'wide', filters: 8, kernelSize: 3, padding: 'same', useBias: false });
  x = g.relu(g.batchNorm(x, { name: 'bn', epsilon: 1e-12, momentum: 0 }));
  x = g.conv2d(x, { name: 'plain', filters: 8, kernelSize: 3, activation: 'relu' });
  x = g.dense(g.flatten(x), { name: 'logits', units: 3 });
  const model = createModel(g.build(softmax ? g.softmax(x) : x), { seed: 3 });
  if (spread) {
    const kernel = model.tensors.get('wide/kernel')!.data;
    kernel.forEach((value, i) => (kernel[i] = value * 4 ** (i % 8)));
  }
  await fit(model, { train: data, epochs: 2, batchSize: 64 });
  return model;
}

describe('chooseGranularity', () => {
  it('gives a codebook per channel only to the layer that one codebook would ruin', async () => {
    const model = await net(true);
    const before = fingerprint(model);
    const choices = await chooseGranularity(model, { data, numberOfClusters: 4 });
    expect(choices.map(({ layer, granularity }) => [layer, granularity])).to.deep.equal([
      ['wide', 'channel'],
      ['plain', 'tensor'],
      ['logits', 'tensor'],
    ]);
    const [wide, , logits] = choices;
    expect(wide!.snr.tensor).to.be.lessThan(10);
    expect(wide!.snr.channel).to.be.greaterThan(wide!.snr.tensor + 3);
    expect(logits!.snr).to.have.keys(['tensor']);
    expect(fingerprint(model)).to.equal(before);
  });

  it('measures what it says: the output with one layer clustered, against the model as it is', async () => {
    const model = await net(false);
    const [, plain] = await chooseGranularity(model, { data, numberOfClusters: 4, samples: 10 });
    const options = { numberOfClusters: 4, layers: ['plain'], normalizeSigns: false, onNotice };
    const x = data.x.subarray(0, 360);
    const [y, clustered] = [await predict(model, x), await predict(stripClustering(clusterWeights(model, options)), x)];
    const power = (values: Float32Array): number => values.reduce((sum, value) => sum + value ** 2, 0);
    const expected = 10 * Math.log10(power(y) / power(y.map((value, i) => value - clustered[i]!)));
    expect(plain!.snr.tensor).to.be.closeTo(expected, 1e-4);
  });

  it('looks behind a softmax, which hides damage', async () => {
    const [a, b] = [await net(true), await net(true, true)];
    for (const [name, tensor] of a.tensors) b.tensors.set(name, tensor);
    const options = { data, numberOfClusters: 4 };
    expect(await chooseGranularity(b, options)).to.deep.equal(await chooseGranularity(a, options));
  });

  it('the limit decides, and a layer without room per channel stays with one codebook', async () => {
    const model = await net(true);
    const granularities = async (options: object) =>
      (await chooseGranularity(model, { data, numberOfClusters: 4, layers: ['wide'], ...options })).map(({ granularity }) => granularity);
    expect(await granularities({ minimumSnr: -100 })).to.deep.equal(['tensor']);
    expect(await granularities({ numberOfClusters: 9, minimumSnr: 100 })).to.deep.equal(['tensor']); // 9 weights per channel
    const depthwise = await chooseGranularity(toyModel(), { data, numberOfClusters: 3, layers: ['dw'], minimumSnr: 1000 });
    expect(depthwise.map(({ granularity, snr }) => [granularity, snr.channel])).to.deep.equal([['tensor', undefined]]);
  });

  it('refuses what is wrong', async () => {
    const model = toyModel();
    const wrong: [options: object, code: PcqatErrorCode][] = [
      [{ samples: 0 }, 'ERR_OPTION'],
      [{ minimumSnr: NaN }, 'ERR_OPTION'],
      [{ numberOfClusters: 1 }, 'ERR_OPTION'],
      [{ layers: ['nothing'] }, 'ERR_UNKNOWN_LAYER'],
      [{ data: { ...data, x: data.x.map(() => NaN) } }, 'ERR_NON_FINITE'],
      [{ data: { ...data, size: 0, x: new Float32Array(0), y: new Int32Array(0) } satisfies Dataset }, 'ERR_EMPTY_DATA'],
    ];
    for (const [options, code] of wrong) await expectRejection(chooseGranularity(model, { data, numberOfClusters: 4, ...options }), code);
  });
});

describe('clusterPerChannel by name', () => {
  it('gives the named layers a codebook per channel and the others one each', async () => {
    const model = clusterWeights(await net(false), { numberOfClusters: 4, clusterPerChannel: ['plain'], onNotice });
    expect(model.tensors.get('plain/kernel:centroids')!.shape).to.deep.equal([8, 4]);
    expect(model.tensors.get('wide/kernel:centroids')!.shape).to.deep.equal([4]);
    expect(new Set(materializeWeight(model, 'wide/kernel')).size).to.be.at.most(4);
  });

  it('refuses names that are no layers', () => {
    expect(() => clusterWeights(toyModel(), { numberOfClusters: 4, clusterPerChannel: ['konv'], onNotice })).to.throw("'konv' is no layer");
    expect(() => clusterWeights(toyModel(), { numberOfClusters: 4, clusterPerChannel: 'conv' as never, onNotice })).to.throw(
      'clusterPerChannel',
    );
  });
});
