import type { ChainResult, CompressionResult } from './compression.js';
import type { KernelResult } from './kernels.js';
import type { Peak } from './peak.js';
import type { StepResult } from './steps.js';

/** Everything `npm run bench -- --json` prints. */
export interface BenchResult {
  readonly machine: { readonly cpu: string; readonly threads: number; readonly isa: string; readonly node: string; readonly pcqat: string };
  /** Absent where there is no C++ compiler. */
  readonly peak?: Peak;
  readonly steps: readonly StepResult[];
  readonly matmul: { readonly size: number; readonly gflops1: number; readonly gflops: number };
  readonly kernels: readonly KernelResult[];
  readonly compression: readonly CompressionResult[];
  readonly chain: readonly ChainResult[];
  /** Most memory the process had resident. */
  readonly peakRssBytes: number;
  /** With `--rival`. */
  readonly keras?: { readonly tensorflow: string; readonly msPerStep: Readonly<Record<string, number>> };
}

const number = (value: number, digits = 2): string => value.toFixed(digits);
const mib = (bytes: number): string => `${number(bytes / 2 ** 20, 1)} MiB`;
const share = (part: number, whole: number | undefined): string => (whole === undefined ? '–' : `${number((part / whole) * 100, 0)} %`);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

/** Operations over the peak and bytes over the bandwidth of a copy, which reads and writes each byte it counts. */
function floorTable({ steps, peak }: BenchResult): string {
  const rows = steps.map(({ net, batch, floor }) => [
    net,
    String(batch),
    number(floor.gflop),
    number(floor.trafficBytes / 1e6, 0),
    peak === undefined ? '–' : number((floor.gflop / peak.gflops) * 1e3, 1),
    peak === undefined ? '–' : number(floor.trafficBytes / (2 * peak.copyGBs * 1e6), 1),
  ]);
  return table(['network', 'batch', 'GFLOP', 'activation MB', 'floor of arithmetic ms', 'floor of memory ms'], rows);
}

function stepTable({ steps, keras }: BenchResult): string {
  const rows = steps.map(({ net, batch, floatMs, pcqatMs, ratio, rounds, floatArenaBytes, pcqatArenaBytes }) => {
    const rival = keras?.msPerStep[net];
    return [
      net,
      String(batch),
      number(floatMs),
      number(pcqatMs),
      number(ratio),
      String(rounds),
      mib(floatArenaBytes),
      mib(pcqatArenaBytes),
      ...(keras === undefined ? [] : rival === undefined ? ['–', '–'] : [number(rival), number(rival / floatMs)]),
    ];
  });
  const head = ['network', 'batch', 'float ms', 'PCQAT ms', 'PCQAT / float', 'rounds', 'float arena', 'PCQAT arena'];
  return table(keras === undefined ? head : [...head, 'Keras float ms', 'Keras / pcqat'], rows);
}

/** The result as Markdown. */
export function resultText(result: BenchResult): string {
  const { machine, peak, matmul, kernels, compression, chain, peakRssBytes, keras } = result;
  return [
    `${machine.cpu.trim()}, ${machine.threads} threads, ${machine.isa}, Node ${machine.node}, pcqat ${machine.pcqat}` +
      (keras === undefined ? '' : `, TensorFlow ${keras.tensorflow}`),
    peak === undefined
      ? 'Peak: not measured, there is no C++ compiler.'
      : `Peak, measured in this run (${peak.how}): ${number(peak.gflops1, 0)} GFLOP/s on one thread, ${number(peak.gflops, 0)} on ${machine.threads}; ` +
        `memcpy of 64 MiB: ${number(peak.copyGBs1, 1)} and ${number(peak.copyGBs, 1)} GB/s.`,
    '',
    'Least work of a training step (docs/performance.md):',
    '',
    floorTable(result),
    '',
    'Training step, median of interleaved rounds (forward, backward, Adam):',
    '',
    stepTable(result),
    '',
    `Matrix product ${matmul.size}³: ${number(matmul.gflops1, 0)} GFLOP/s on one thread (${share(matmul.gflops1, peak?.gflops1)} of the peak), ` +
      `${number(matmul.gflops, 0)} on ${machine.threads} (${share(matmul.gflops, peak?.gflops)}).`,
    '',
    table(
      ['layer', 'GFLOP forward', 'forward GFLOP/s', 'of peak', 'step GFLOP/s', 'of peak'],
      kernels.map(({ name, gflop, forwardGflops, stepGflops }) => [
        name,
        number(gflop, 3),
        number(forwardGflops, 1),
        share(forwardGflops, peak?.gflops),
        number(stepGflops, 1),
        share(stepGflops, peak?.gflops),
      ]),
    ),
    '',
    'Compression kernels, one thread:',
    '',
    table(
      ['kernel', 'weights', 'GB/s', 'of a copy'],
      compression.map(({ name, weights, gbs, ofCopy }) => [name, String(weights), number(gbs, 1), `${number(ofCopy * 100, 0)} %`]),
    ),
    '',
    'Weight chain on 4,194,304 weights beside a memory copy of them (forward and backward: target pcqat_chain_bench of CMake):',
    '',
    table(
      ['part', 'threads', 'centroids', 'ms', 'copy ms', 'of the copy', 'goal'],
      chain.map(({ name, threads, clusters, ms, copyMs, ofCopy, copies, goal }) => [
        name,
        String(threads),
        String(clusters ?? '–'),
        number(ms, 3),
        number(copyMs, 3),
        ofCopy === undefined ? `${number(copies ?? 0)} copies` : share(ofCopy, 1),
        goal ?? '',
      ]),
    ),
    '',
    `Peak resident memory of the benchmark: ${mib(peakRssBytes)}.`,
  ].join('\n');
}
