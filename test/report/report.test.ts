import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { escapeHtml } from '#lib/report/escape.js';
import { duration, thousands } from '#lib/report/format.js';
import { histogram, magnitude } from '#lib/report/histogram.js';
import { reportHtml } from '#lib/report/html.js';
import { lossRange } from '#lib/report/svg.js';
import { markdownTable, textTable } from '#lib/report/table.js';
import type { ColumnReport, Report } from '#lib/report/types.js';

const column = (title: string, extra: Partial<ColumnReport> = {}): ColumnReport => ({
  title,
  accuracy: 0.97333,
  accuracyOf: 'float',
  int8Accuracy: 0.97,
  file: `${title}.tflite`,
  certificate: `${title}.certificate.json`,
  sha256: 'a'.repeat(64),
  bytes: 52832,
  gzipBytes: 20123,
  brotliBytes: 19000,
  zipBytes: 20300,
  zeros: 0.5012,
  maxCodes: 16,
  layers: [
    {
      name: 'conv1',
      weights: 2560,
      zeros: 0.5,
      codes: 16,
      before: histogram(Float32Array.of(-1, 0.5, 1), 1),
      after: histogram(Float32Array.of(0, 0.5, 1), 1),
    },
  ],
  epochs: 3,
  steps: 114,
  stages: [{ stage: 'float', epochs: 3, steps: 114, shared: true }],
  history: [
    { stage: 'float', epoch: 1, loss: 2.3, accuracy: 0.1, validationLoss: 2.2, validationAccuracy: 0.2 },
    { stage: 'prune', epoch: 2, loss: 0.5, accuracy: 0.8, validationLoss: 0.6, validationAccuracy: 0.7 },
    { stage: 'prune', epoch: 3, loss: 0.05, accuracy: 0.99 },
  ],
  ...extra,
});

const report = (extra: Partial<Report> = {}): Report => ({
  version: 1,
  pcqat: '0.1.0',
  title: 'demo',
  model: 'ds-cnn-s',
  data: 'fsdd',
  seed: 1,
  seconds: 134,
  sparsity: 0.5,
  clusters: 16,
  dataset: { train: 2400, validation: 300, test: 300, classes: 10, credit: 'CC BY-SA 4.0, Zohar Jackson' },
  budget: { epochs: 3, steps: 114, batchSize: 64 },
  machine: { cpu: 'some CPU', cores: 2, memoryBytes: 2 ** 34, platform: 'linux-x64', node: '20.20.2', isa: 'avx2', threads: 2 },
  columns: { baseline: column('Baseline'), pcqat: column('PCQAT', { accuracyOf: 'fake-int8' }) },
  recipe: {},
  ...extra,
});

describe('table', () => {
  it('has the rows of the result table, the budget and the credit', () => {
    const text = textTable(report());
    expect(text).to.match(/Baseline +PCQAT/);
    expect(text).to.match(/float \/ fake-int8 accuracy +97\.33 % +97\.33 % \(fake\)/);
    expect(text).to.match(/full-integer INT8 accuracy +97\.00 %/);
    expect(text).to.match(/52,832 → 20,123/);
    expect(text).to.match(/50\.1 % · 16/);
    expect(text).to.match(/Every column: 3 epochs \(114 steps of 64\)/);
    expect(text).to.match(/Zohar Jackson/);
  });

  it('aligns its columns', () => {
    const lines = textTable(report()).split('\n');
    expect(lines[0]!.length).to.equal(lines[1]!.length);
    expect(new Set(lines.slice(0, 6).map((line) => line.length)).size).to.equal(1);
  });

  it('is a Markdown table', () => {
    const lines = markdownTable(report()).split('\n');
    for (const line of lines.slice(0, 6)) expect(line.match(/\|/g)).to.have.lengthOf(4);
    expect(lines[1]).to.equal('| --- | ---: | ---: |');
  });
});

describe('report.html', () => {
  it('is one self-contained page with table, curves, histograms and layers', () => {
    const html = reportHtml(report());
    expect(html).to.match(/^<!doctype html>/);
    expect(html).not.to.match(/<script|<link|<img|<iframe|@import|url\(|https?:|\son\w+=/i);
    expect(html).to.match(/default-src 'none'/);
    for (const text of ['full-integer INT8 accuracy', 'Baseline', 'PCQAT', '52,832 → 20,123', 'conv1', 'prefers-color-scheme: dark']) {
      expect(html).to.include(text);
    }
    expect(html.match(/class="train"/g)).to.have.lengthOf(2);
    expect(html.match(/class="before"/g)).to.have.lengthOf(2);
    expect(html).not.to.match(/NaN|undefined|Infinity/);
  });

  it('closes every element it opens', () => {
    const open: string[] = [];
    for (const [, slash, name, self] of reportHtml(report()).matchAll(/<(\/?)([a-z][a-z0-9]*)[^>]*?(\/?)>/g)) {
      if (self === '/' || ['meta', 'doctype'].includes(name!)) continue;
      if (slash === '/') expect(open.pop()).to.equal(name);
      else open.push(name!);
    }
    expect(open).to.deep.equal([]);
  });

  it('escapes every name', () => {
    const evil = `<script>alert("1")</script>'&`;
    const bad = column(evil, {
      file: evil,
      layers: [{ ...column('x').layers[0]!, name: evil }],
      history: [{ stage: evil, epoch: 1, loss: 1, accuracy: 0 }],
    });
    const html = reportHtml(
      report({
        title: evil,
        data: evil,
        pcqat: evil,
        columns: { baseline: bad },
        dataset: { ...report().dataset, credit: evil },
        machine: { ...report().machine, cpu: evil, isa: evil },
      }),
    );
    expect(html).not.to.include('<script');
    expect(html).not.to.include(`"1"`);
  });

  it('draws empty and non-finite histories', () => {
    const none = column('none', { history: [], layers: [] });
    const flat = column('flat', {
      history: [
        { stage: 'float', epoch: 1, loss: 0, accuracy: 1 },
        { stage: 'float', epoch: 2, loss: NaN, accuracy: 1 },
      ],
    });
    expect(reportHtml(report({ columns: { none, flat } }))).not.to.match(/NaN|Infinity/);
    expect(lossRange([])).to.deep.equal([0.01, 10]);
  });
});

describe('report helpers', () => {
  it('escapes all that HTML cares about, and only that', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const escaped = escapeHtml(text);
        expect(escaped).not.to.match(/[<>"']/);
        expect(escaped.replace(/&(amp|lt|gt|quot|#39);/g, '')).not.to.include('&');
      }),
    );
  });

  it('counts every finite value once, zero in the middle bin', () => {
    const values = Float32Array.of(-2, -1, 0, 0, 1, 2, NaN, Infinity);
    const { counts } = histogram(values, magnitude(values));
    expect(counts.reduce((sum, count) => sum + count)).to.equal(6);
    expect(counts[(counts.length - 1) / 2]).to.equal(2);
    expect(counts[0]).to.equal(1);
    expect(counts.at(-1)).to.equal(1);
    expect(histogram(Float32Array.of(0, 0), 0).counts[40]).to.equal(2);
  });

  it('formats numbers', () => {
    expect([0, 999, 1000, 1234567].map(thousands)).to.deep.equal(['0', '999', '1,000', '1,234,567']);
    expect([1.25, 59, 134, 7322].map(duration)).to.deep.equal(['1.3 s', '59 s', '2 min 14 s', '2 h 2 min']);
  });
});
