import { expect } from 'chai';
import { describe, it } from 'mocha';
import { planColumns } from '#lib/pipeline/columns.js';
import { sample } from '#lib/pipeline/data.js';
import { stageLearningRate } from '#lib/pipeline/optimizer.js';
import { parseRecipe } from '#lib/pipeline/parse.js';
import { planPieces } from '#lib/pipeline/pieces.js';
import { ProgressMeter } from '#lib/pipeline/progress.js';
import { learningRateAt } from '#lib/train/schedules.js';

const recipe = (extra: object = {}) => parseRecipe({ model: 'ds-cnn-s', data: 'fsdd', ...extra });

describe('columns', () => {
  for (const epochs of [4, 5, 7, 40, 101]) {
    it(`gives every column ${epochs} epochs in all`, () => {
      const columns = planColumns(recipe({ epochs }));
      expect(columns.map(({ name }) => name)).to.deep.equal(['baseline', 'pruned', 'qat', 'prunedClustered', 'pcqat']);
      for (const column of columns) {
        expect(column.epochs).to.equal(epochs);
        expect(column.stages.reduce((sum, stage) => sum + stage.epochs, 0)).to.equal(epochs);
        for (const stage of column.stages) expect(stage.epochs).to.be.at.least(1);
      }
    });
  }

  it('makes the columns that are asked for', () => {
    const columns = planColumns(recipe({ outputs: { columns: ['pcqat', 'baseline'] } }));
    expect(columns.map(({ name }) => name)).to.deep.equal(['baseline', 'pcqat']);
  });

  it('trains a shared beginning once', () => {
    const { columns, pieces } = planPieces(planColumns(recipe({ epochs: 40 })), 10);
    const float = columns.map((column) => column.pieces[0]);
    expect(new Set(float).size).to.equal(1);
    expect(pieces.get(float[0]!)!.columns).to.have.lengthOf(5);
    const pruning = ['pruned', 'prunedClustered', 'pcqat'].map((name) => columns.find((column) => column.name === name)!.pieces[1]);
    expect(new Set(pruning).size).to.equal(1);
    expect(pieces.get(pruning[0]!)!.parent).to.equal(float[0]);
    expect(columns.every(({ steps }) => steps === 400)).to.equal(true);
    const trained = [...pieces.values()].reduce((sum, { steps }) => sum + steps, 0);
    expect(trained).to.be.below(5 * 400);
  });
});

describe('learning rate of a stage', () => {
  it('runs from `from` to `to` over the steps of the stage', () => {
    for (const kind of ['cosine', 'exponential'] as const) {
      const rate = stageLearningRate({ kind, from: 0.1, to: 0.001 }, 5, 20);
      expect(learningRateAt(rate, 0)).to.be.closeTo(0.1, 1e-12);
      expect(learningRateAt(rate, 100)).to.be.closeTo(0.001, 1e-9);
    }
  });

  it('warms up inside the stage', () => {
    const rate = stageLearningRate({ kind: 'cosine', from: 0.1, to: 0, warmUpEpochs: 1 }, 5, 20);
    expect(learningRateAt(rate, 0)).to.equal(0);
    expect(learningRateAt(rate, 10)).to.be.closeTo(0.05, 1e-12);
    expect(learningRateAt(rate, 20)).to.be.closeTo(0.1, 1e-12);
    expect(learningRateAt(rate, 100)).to.be.closeTo(0, 1e-12);
  });
});

describe('ProgressMeter', () => {
  it('counts steps and estimates the time left', () => {
    const { pieces } = planPieces(planColumns(recipe({ epochs: 40 })), 10);
    const all = [...pieces.values()];
    const total = all.reduce((sum, { steps }) => sum + steps, 0);
    const meter = new ProgressMeter(all);
    expect(meter.remaining()).to.deep.equal({ done: 0, etaSeconds: 0 });
    meter.advance('float', 100, 10);
    expect(meter.remaining().done).to.be.closeTo(100 / total, 1e-12);
    expect(meter.remaining().etaSeconds).to.be.closeTo((total - 100) * 0.1, 1e-9);
    const before = meter.remaining().etaSeconds;
    meter.advance('qat', 10, 2); // twice as slow
    expect(meter.remaining().etaSeconds).to.be.above(before - 10 * 0.1);
    for (const { stage, steps } of all)
      meter.advance(stage.stage, stage.stage === 'float' ? steps - 100 : stage.stage === 'qat' ? steps - 10 : steps);
    expect(meter.remaining()).to.deep.equal({ done: 1, etaSeconds: 0 });
  });
});

describe('sample', () => {
  it('is the same in every run and follows no period of the data', () => {
    const size = 1000;
    const data = {
      name: 'x',
      size,
      inputShape: [1],
      x: Float32Array.from({ length: size }, (_, i) => i),
      y: Int32Array.from({ length: size }, (_, i) => i % 10),
      classes: 10,
    };
    const chosen = sample(data, 100);
    expect(chosen).to.deep.equal(sample(data, 100));
    expect(new Set(chosen.x).size).to.equal(100);
    const counts = Array.from({ length: 10 }, (_, label) => [...chosen.y].filter((y) => y === label).length);
    for (const count of counts) expect(count).to.be.within(3, 20);
    expect(sample(data, 1000)).to.equal(data);
  });
});
