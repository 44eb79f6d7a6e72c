import type { Peak } from '../peak.js';
import type { StepResult, StepRow } from '../steps.js';
import { mb, mib, number, share, table } from './table.js';

const GEMM_HEAD = ['OpenBLAS GFLOP/s', 'operations at that rate ms', 'our float step: of it'];

function atGemmRate(gflop: number, gflops: number | null, floatMs: number | undefined): string[] {
  if (gflops === null) return ['–', '–', '–'];
  const ms = (gflop / gflops) * 1e3;
  return [number(gflops, 0), number(ms, 1), floatMs === undefined ? '–' : share(ms, floatMs)];
}

/**
 * Operations over the peak, and over what a product of OpenBLAS reaches; bytes over the bandwidth of a copy, which reads and writes each byte it
 * counts.
 */
function floorTable({ nets, rows: steps }: StepResult, peak: Peak | undefined): string {
  const rows = nets.map(({ net, batch, floor, openblasGflops }) => [
    net,
    String(batch),
    number(floor.gflop),
    number(floor.trafficBytes / 1e6, 0),
    peak === undefined ? '–' : number((floor.gflop / peak.gflops) * 1e3, 1),
    peak === undefined ? '–' : number(floor.trafficBytes / (2 * peak.copyGBs * 1e6), 1),
    ...atGemmRate(floor.gflop, openblasGflops, steps.find((row) => row.net === net && row.stage === 'float')?.oursMs),
  ]);
  return table(['network', 'batch', 'GFLOP', 'activation MB', 'floor of arithmetic ms', 'floor of memory ms', ...GEMM_HEAD], rows);
}

/** The rows of one stage of one network, the fastest rival first. */
function byStage(rows: readonly StepRow[]): StepRow[][] {
  const groups = new Map<string, StepRow[]>();
  for (const row of rows) {
    const key = `${row.net} ${row.stage}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map((group) => group.toSorted((a, b) => (a.rivalMs ?? 0) - (b.rivalMs ?? 0)));
}

function stageTable({ nets, rows }: StepResult): string {
  const groups = byStage(rows);
  const rivals = [...new Set(rows.flatMap(({ rival }) => rival ?? []))];
  const cells = groups.map((group) => {
    const { net, stage, oursMs, rival, ratio, firstStepMs, peakBytes } = group[0]!;
    const { batch, rounds, arenaBytes } = nets.find((one) => one.net === net)!;
    const times = rivals.map((name) => group.find((row) => row.rival === name)?.rivalMs);
    const beside = [...times.map((ms) => (ms == null ? '–' : number(ms))), rival === null ? '–' : `${number(ratio!)} (${rival})`];
    return [
      net,
      String(batch),
      stage,
      number(oursMs),
      ...(rivals.length === 0 ? [] : beside),
      number(firstStepMs, 0),
      mb(peakBytes),
      mib(arenaBytes[stage]!),
      String(rounds),
    ];
  });
  const besideHead = rivals.length === 0 ? [] : [...rivals.map((name) => `${name} float ms`), 'ours / better rival'];
  return table(['network', 'batch', 'stage', 'ours ms', ...besideHead, 'first step ms', 'peak of fit', 'arena', 'rounds'], cells);
}

/** The training steps as Markdown. */
export function stepText(result: StepResult, peak: Peak | undefined): string {
  const versions = Object.entries(result.versions).map(([name, version]) => `${name} ${version}`);
  return [
    'Least work of a training step (docs/performance.md):',
    '',
    floorTable(result, peak),
    '',
    'Training step, median of interleaved rounds (forward, backward, Adam); first step and peak memory of `fit` in a process of its own' +
      (versions.length === 0 ? ':' : `; ${versions.join(', ')}:`),
    '',
    stageTable(result),
  ].join('\n');
}
