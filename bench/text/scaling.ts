import { logLogPlot, type Panel, type Series } from '../plot.js';
import type { ScalingResult, ScalingRow } from '../scaling.js';
import { number, table } from './table.js';

type Axis = ScalingRow['axis'];

const AXES: Readonly<Record<Axis, { title: string; label: string; unit: number; unitName: string }>> = {
  batch: { title: 'DS-CNN-S against batch', label: 'rows in a step', unit: 1, unitName: 'row' },
  weights: { title: 'MobileNet v1, 32×32, batch 8, against weights', label: 'weights', unit: 1e6, unitName: 'million weights' },
};

const distinct = <T>(values: readonly T[]): T[] => [...new Set(values)];

function axisText({ rows, fits }: ScalingResult, axis: Axis): string {
  const { title, label, unit, unitName } = AXES[axis];
  const own = rows.filter((row) => row.axis === axis);
  const stages = distinct(own.map(({ stage }) => stage));
  const [one = 1, all = 1] = distinct(own.map(({ threads }) => threads));
  const ms = (size: number, stage: string, threads: number): number =>
    own.find((row) => row.size === size && row.stage === stage && row.threads === threads)?.ms ?? NaN;
  const cells = distinct(own.map(({ size }) => size)).map((size) => [
    String(size),
    ...stages.flatMap((stage) => {
      const [slow, fast] = [ms(size, stage, one), ms(size, stage, all)];
      return [number(slow), ...(all === one ? [] : [number(fast), number(slow / fast)])];
    }),
  ]);
  const head = stages.flatMap((stage) => [`${stage}, 1 thread ms`, ...(all === one ? [] : [`${stage}, ${all} threads ms`, '1 / all'])]);
  const lines = fits
    .filter((fit) => fit.axis === axis)
    .map(
      ({ stage, threads, fixedMs, perUnitMs, deviation }) =>
        `- ${stage}, ${threads} thread${threads === 1 ? '' : 's'}: ${number(fixedMs)} ms + ${number(perUnitMs * unit, 3)} ms per ${unitName}, ` +
        `at most ${number(deviation * 100, 0)} % off`,
    );
  return `${title}:\n\n${table([label, ...head], cells)}\n\nClosest lines:\n\n${lines.join('\n')}`;
}

/** Cost against size as Markdown. */
export function scalingText(result: ScalingResult): string {
  return (Object.keys(AXES) as Axis[]).map((axis) => axisText(result, axis)).join('\n\n');
}

/** The same as an SVG with one panel for each axis. */
export function scalingPlot({ rows }: ScalingResult): string {
  const panels = (Object.keys(AXES) as Axis[]).map((axis): Panel => {
    const series = new Map<string, Series & { readonly points: [number, number][] }>();
    for (const { axis: of, stage, threads, size, ms } of rows) {
      if (of !== axis) continue;
      const name = `${stage}, ${threads} thread${threads === 1 ? '' : 's'}`;
      if (!series.has(name)) series.set(name, { name, points: [] });
      series.get(name)!.points.push([size, ms]);
    }
    return { title: AXES[axis].title, xLabel: AXES[axis].label, yLabel: 'ms per step', series: [...series.values()] };
  });
  return logLogPlot(panels);
}
