import { expect } from 'chai';
import { clusterWeights } from '#lib/compress/clustering/cluster.js';
import { materializeWeight } from '#lib/compress/materialize.js';
import { pruneLowMagnitude } from '#lib/compress/sparsity/prune.js';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { sparsityOf } from '#lib/compress/sparsity/metrics.js';
import type { Model } from '#lib/graph/model.js';
import type { Summary } from '#lib/train/callbacks.js';
import type { FitOptions } from '#lib/train/fit-options.js';
import type { TrainingState } from '#lib/train/history.js';
import { expectRejection } from '../../support/errors.js';
import { smallCnn, valuesOf, zeroHalf } from '../../support/models.js';
import { fingerprint, images, reload, train } from '../../support/training.js';

const silent = { onNotice: () => undefined };
const pruned = (): Model => pruneLowMagnitude(smallCnn(), { schedule: constantSparsity({ targetSparsity: 0.5, frequency: 2 }), ...silent });
const sparseClusters = (clusterPerChannel = false): Model => {
  const model = smallCnn();
  zeroHalf(model, 'conv2/kernel');
  return clusterWeights(model, { numberOfClusters: 6, preserveSparsity: true, clusterPerChannel, layers: ['conv2'] });
};

/** Trains and collects what `onSummary` got. */
async function summaries(model: Model, options: Partial<FitOptions> = {}): Promise<Summary[]> {
  const got: Summary[] = [];
  await train(model, images, { ...options, callbacks: { ...options.callbacks, onSummary: (summary) => void got.push(summary) } });
  return got;
}
const points = (list: readonly Summary[]): string[] => list.map(({ epoch, step }) => `${epoch}.${step}`);

describe('summaries', () => {
  it('P32 (held differently): per epoch, for each mask 1 − mean and its threshold; events instead of a log folder', async () => {
    const model = pruned();
    const got = await summaries(model, { epochs: 2 });
    expect(points(got)).to.deep.equal(['0.4', '1.8']);
    const last = got[1].layers;
    expect(last.map(({ weight }) => weight)).to.deep.equal([...model.chains.keys()]);
    for (const { weight, maskSparsity, sparsity, threshold, codebook } of last) {
      const mask = model.tensors.get(`${weight}:mask`)?.data ?? new Uint8Array(0);
      expect(maskSparsity).to.be.closeTo(1 - [...mask].reduce((sum, bit) => sum + bit, 0) / mask.length, 1e-12);
      expect(sparsity).to.equal(sparsityOf(materializeWeight(model, weight)));
      expect(threshold).to.equal(model.tensors.get(`${weight}:threshold`)?.data[0]);
      expect(threshold).to.be.above(0);
      expect(codebook).to.equal(undefined);
    }
  });

  it('P32 (held differently): every n steps, counted on across epochs; the mask is that of the step', async () => {
    const model = pruned();
    const seen: number[] = [];
    const got = await summaries(model, {
      epochs: 3,
      summaryFrequency: 3,
      callbacks: { onStep: ({ step }) => void seen.push(step) },
    });
    expect(points(got)).to.deep.equal(['0.3', '1.6', '2.9', '2.12']);
    expect(seen).to.have.length(12);
    expect(points(await summaries(pruned(), { summaryFrequency: 1 }))).to.deep.equal(['0.1', '0.2', '0.3', '0.4']);
    // Masks change at steps 2 and 4, before the step.
    const masks = (await summaries(pruned(), { summaryFrequency: 1 })).map(({ layers }) => layers[0].maskSparsity);
    expect(masks).to.deep.equal([0, 0.5, 0.5, 0.5]);
  });

  it('P32 (held differently): the count goes on when training is taken up again', async () => {
    const model = pruned();
    const controller = new AbortController();
    let state: TrainingState | undefined;
    const got: Summary[] = [];
    await train(model, images, {
      epochs: 2,
      summaryFrequency: 2,
      signal: controller.signal,
      callbacks: {
        onStep: ({ step }) => void (step === 5 && controller.abort()),
        onSummary: (summary) => void got.push(summary),
        onInterrupt: (interrupted) => void (state = interrupted),
      },
    }).catch(() => undefined);
    expect(points(got)).to.deep.equal(['0.2', '0.4']);
    if (state === undefined) expect.fail('not interrupted');
    expect(points(await summaries(reload(model), { epochs: 2, summaryFrequency: 2, start: state }))).to.deep.equal(['1.6', '1.8']);
  });

  it('clusters: values of the codebook, how many weights use each, and a histogram of the weights before clustering (spec 2.7)', async () => {
    for (const perChannel of [false, true]) {
      const model = sparseClusters(perChannel);
      let latest: Summary | undefined;
      const check = (summary: Summary): void => {
        latest = summary;
        const [{ weight, codebook, maskSparsity, threshold }] = summary.layers;
        if (codebook === undefined) expect.fail('no codebook');
        const channels = perChannel ? 8 : 1;
        expect(codebook.centroids).to.have.length(6 * channels);
        // The model's tensors are those of this moment: what it uses is exactly the codebook, so many times each.
        const used = materializeWeight(model, weight);
        const counts = new Uint32Array(codebook.centroids.length);
        used.forEach((value, i) => {
          const row = (perChannel ? i % 8 : 0) * 6;
          counts[row + codebook.centroids.subarray(row, row + 6).indexOf(value)]++;
        });
        expect(codebook.counts).to.deep.equal(counts);
        expect(codebook.weights.counts.reduce((sum, count) => sum + count, 0)).to.equal(used.length);
        expect(codebook.weights.counts).to.have.length(30);
        expect(maskSparsity).to.equal(0.5);
        expect(threshold).to.equal(undefined);
      };
      await train(model, images, { summaryFrequency: 2, callbacks: { onSummary: check } });
      const mask = model.tensors.get('conv2/kernel:mask')?.data ?? [];
      const masked = valuesOf(model, 'conv2/kernel').map((value, i) => value * mask[i]);
      expect(latest?.layers[0].codebook?.weights.min).to.equal(Math.min(...masked));
      expect(latest?.layers[0].codebook?.weights.max).to.equal(Math.max(...masked));
    }
  });

  it('a histogram of one value holds it in its first bin', async () => {
    const model = smallCnn();
    valuesOf(model, 'conv2/kernel').fill(0);
    const clustered = clusterWeights(model, { numberOfClusters: 4, preserveSparsity: true, layers: ['conv2'], ...silent });
    const [{ layers }] = await summaries(clustered);
    expect(layers[0].codebook?.weights).to.deep.include({ min: 0, max: 0 });
    expect(layers[0].codebook?.weights.counts[0]).to.equal(valuesOf(model, 'conv2/kernel').length);
    expect([...(layers[0].codebook?.counts ?? [])]).to.deep.equal([432]);
  });

  it('listening changes no byte of the model, and waits for promises', async () => {
    const [silentRun, heard] = [sparseClusters(), sparseClusters()];
    await train(silentRun, images, { epochs: 2 });
    const order: string[] = [];
    await train(heard, images, {
      epochs: 2,
      summaryFrequency: 1,
      callbacks: {
        onStep: ({ step }) => void order.push(`step ${step}`),
        onSummary: async ({ step }) => {
          await new Promise((resolve) => setImmediate(resolve));
          order.push(`summary ${step}`);
        },
      },
    });
    expect(fingerprint(heard)).to.equal(fingerprint(silentRun));
    expect(order.slice(0, 4)).to.deep.equal(['step 1', 'summary 1', 'step 2', 'summary 2']);
    const prunedRuns = [pruned(), pruned()];
    await train(prunedRuns[0], images);
    await summaries(prunedRuns[1], { summaryFrequency: 1 });
    expect(fingerprint(prunedRuns[1])).to.equal(fingerprint(prunedRuns[0]));
  });

  it('a model without chains has no summaries', async () => {
    expect(await summaries(smallCnn(), { summaryFrequency: 1 })).to.deep.equal([]);
    expect(await summaries(smallCnn())).to.deep.equal([]);
  });

  it('P32: what is no frequency is refused', async () => {
    for (const summaryFrequency of ['batch', '', null, {}, 0, -1, 1.5, NaN]) {
      const options = { summaryFrequency: summaryFrequency as number };
      await expectRejection(train(pruned(), images, options), 'ERR_OPTION', /summaryFrequency/);
    }
  });
});
