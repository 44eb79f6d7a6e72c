import { escapeHtml } from './escape.js';
import type { EpochReport, Histogram } from './types.js';

const round = (value: number): string => String(Math.round(value * 10) / 10);

const MARGIN = { left: 40, right: 8, top: 18, bottom: 22 };

/** Powers of ten (and 2 and 5 between them) within a range. */
function logTicks(low: number, high: number): number[] {
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) ticks.push(10 ** power);
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

/** Runs of epochs of the same stage: `[name, first epoch, last epoch]`. */
function stageSpans(history: readonly EpochReport[]): [string, number, number][] {
  const spans: [string, number, number][] = [];
  for (const { stage, epoch } of history) {
    const last = spans.at(-1);
    if (last && last[0] === stage) last[2] = epoch;
    else spans.push([stage, epoch, epoch]);
  }
  return spans;
}

/** A polyline; a point that is not a finite number interrupts it. */
function path(points: readonly (readonly [number, number])[]): string {
  let pen = 'M';
  let text = '';
  for (const [x, y] of points) {
    if (Number.isFinite(x) && Number.isFinite(y)) {
      text += `${pen}${round(x)} ${round(y)}`;
      pen = 'L';
    } else pen = 'M';
  }
  return text;
}

/**
 * Training and validation loss over the epochs of a column, logarithmic, with the stages marked.
 * `range` is shared by the charts of a report so that they can be compared.
 */
export function lossChart(
  title: string,
  history: readonly EpochReport[],
  range: readonly [number, number],
  width = 360,
  height = 200,
): string {
  const epochs = Math.max(1, history.length);
  const [low, high] = range;
  const span = Math.log(high / low) || 1;
  const x = (epoch: number): number => MARGIN.left + ((epoch - 0.5) / epochs) * (width - MARGIN.left - MARGIN.right);
  const y = (loss: number): number => {
    const fraction = Math.log(Math.min(high, Math.max(low, loss)) / low) / span;
    return height - MARGIN.bottom - fraction * (height - MARGIN.top - MARGIN.bottom);
  };
  const bands = stageSpans(history).map(([stage, first, last], index) => {
    const left = x(first - 0.5);
    const right = x(last + 0.5);
    return (
      `<rect x="${round(left)}" y="${MARGIN.top}" width="${round(right - left)}" height="${height - MARGIN.top - MARGIN.bottom}" class="band${index % 2}"/>` +
      `<text x="${round((left + right) / 2)}" y="${MARGIN.top - 5}" class="label middle">${escapeHtml(stage)}</text>`
    );
  });
  const grid = logTicks(low, high).map(
    (tick) =>
      `<line x1="${MARGIN.left}" x2="${width - MARGIN.right}" y1="${round(y(tick))}" y2="${round(y(tick))}" class="grid"/>` +
      `<text x="${MARGIN.left - 5}" y="${round(y(tick) + 4)}" class="label end">${Number(tick.toPrecision(1))}</text>`,
  );
  const train = path(history.map(({ epoch, loss }) => [x(epoch), y(loss)]));
  const validation = path(history.map(({ epoch, validationLoss }) => [x(epoch), validationLoss === undefined ? NaN : y(validationLoss)]));
  const ends = [1, epochs].map((epoch) => `<text x="${round(x(epoch))}" y="${height - 6}" class="label middle">${epoch}</text>`);
  return (
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(`Loss of ${title} over ${epochs} epochs`)}">` +
    `${bands.join('')}${grid.join('')}${ends.join('')}<path d="${train}" class="train"/><path d="${validation}" class="validation"/></svg>`
  );
}

/** Smallest and largest loss over all curves; `[0.01, 10]` where there is none. */
export function lossRange(histories: readonly (readonly EpochReport[])[]): [number, number] {
  const losses = histories
    .flat()
    .flatMap(({ loss, validationLoss }) => [loss, validationLoss ?? NaN])
    .filter((loss) => Number.isFinite(loss) && loss > 0);
  if (losses.length === 0) return [0.01, 10];
  // spreading into arguments is safe: a report has at most a few thousand epochs
  return [Math.min(...losses) / 1.2, Math.max(...losses) * 1.2];
}

/** Bars of `after` (filled) over the outline of `before`; heights are square roots, so that small bins can be seen. */
export function histogramChart(
  title: string,
  before: Histogram | undefined,
  after: Histogram | undefined,
  width = 220,
  height = 90,
): string {
  const all = [before, after].filter((one) => one !== undefined);
  const most = Math.max(1, ...all.flatMap(({ counts }) => counts));
  const base = height - 16;
  const bar = (count: number): number => Math.sqrt(count / most) * (base - 4);
  const step = (counts: readonly number[]): number => width / counts.length;
  const bars = (after?.counts ?? []).map((count, index, counts) =>
    count === 0
      ? ''
      : `<rect x="${round(index * step(counts))}" y="${round(base - bar(count))}" width="${round(Math.max(1, step(counts) - 0.4))}" height="${round(bar(count))}" class="after"/>`,
  );
  const outline = (before?.counts ?? []).flatMap((count, index, counts): [number, number][] => [
    [index * step(counts), base - bar(count)],
    [(index + 1) * step(counts), base - bar(count)],
  ]);
  const limit = all[0]?.limit ?? 0;
  const ticks = (
    [
      [0, -limit, 'start'],
      [width / 2, 0, 'middle'],
      [width, limit, 'end'],
    ] as const
  ).map(([x, value, anchor]) => `<text x="${x}" y="${height - 3}" class="label ${anchor}">${Number(value.toPrecision(2))}</text>`);
  return (
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(`Weights of ${title} before and after`)}">` +
    `<line x1="0" x2="${width}" y1="${base}" y2="${base}" class="grid"/>${bars.join('')}<path d="${path(outline)}" class="before"/>${ticks.join('')}</svg>`
  );
}
