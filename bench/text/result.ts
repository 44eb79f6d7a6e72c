import type { ChainResult, CompressionResult } from '../compression.js';
import type { GemmResult } from '../gemm.js';
import type { InferenceResult } from '../inference.js';
import type { KernelResult } from '../kernels.js';
import type { Peak } from '../peak.js';
import type { ScalingResult } from '../scaling.js';
import type { StepResult } from '../steps.js';
import { gemmText } from './gemm.js';
import { inferenceText } from './inference.js';
import { scalingText } from './scaling.js';
import { stepText } from './steps.js';
import { mib, number, share, table } from './table.js';

/** Everything `npm run bench -- --json` prints: the machine, and a member for each section that ran. */
export interface BenchResult {
  readonly machine: { readonly cpu: string; readonly threads: number; readonly isa: string; readonly node: string; readonly pcqat: string };
  /** Absent where there is no C++ compiler, too. */
  readonly peak?: Peak;
  readonly steps?: StepResult;
  readonly gemm?: GemmResult;
  readonly kernels?: readonly KernelResult[];
  readonly inference?: InferenceResult;
  readonly compression?: { readonly kernels: readonly CompressionResult[]; readonly chain: readonly ChainResult[] };
  readonly scaling?: ScalingResult;
  /** Most memory the process had resident. */
  readonly peakRssBytes: number;
}

function peakText({ how, gflops1, gflops, copyGBs1, copyGBs }: Peak, threads: number): string {
  return (
    `Peak, measured in this run (${how}): ${number(gflops1, 0)} GFLOP/s on one thread, ${number(gflops, 0)} on ${threads}; ` +
    `memcpy of 64 MiB: ${number(copyGBs1, 1)} and ${number(copyGBs, 1)} GB/s.`
  );
}

function kernelText(kernels: readonly KernelResult[], peak: Peak | undefined): string {
  const rows = kernels.map(({ name, gflop, forwardGflops, stepGflops }) => [
    name,
    number(gflop, 3),
    number(forwardGflops, 1),
    share(forwardGflops, peak?.gflops),
    number(stepGflops, 1),
    share(stepGflops, peak?.gflops),
  ]);
  return table(['layer', 'GFLOP forward', 'forward GFLOP/s', 'of peak', 'step GFLOP/s', 'of peak'], rows);
}

function compressionText({ kernels, chain }: NonNullable<BenchResult['compression']>): string {
  const rows = kernels.map(({ name, weights, gbs, ofCopy }) => [name, String(weights), number(gbs, 1), `${number(ofCopy * 100, 0)} %`]);
  const chainRows = chain.map(({ name, threads, clusters, ms, copyMs, ofCopy, copies, goal }) => [
    name,
    String(threads),
    String(clusters ?? '–'),
    number(ms, 3),
    number(copyMs, 3),
    ofCopy === undefined ? `${number(copies ?? 0)} copies` : share(ofCopy, 1),
    goal ?? '',
  ]);
  return [
    'Compression kernels, one thread:',
    table(['kernel', 'weights', 'GB/s', 'of a copy'], rows),
    'Weight chain on 4,194,304 weights beside a memory copy of them (forward and backward: target pcqat_chain_bench of CMake):',
    table(['part', 'threads', 'centroids', 'ms', 'copy ms', 'of the copy', 'goal'], chainRows),
  ].join('\n\n');
}

/** The result as Markdown. */
export function resultText({ machine, peak, steps, gemm, kernels, inference, compression, scaling, peakRssBytes }: BenchResult): string {
  return [
    `${machine.cpu.trim()}, ${machine.threads} threads, ${machine.isa}, Node ${machine.node}, pcqat ${machine.pcqat}`,
    peak && peakText(peak, machine.threads),
    steps && stepText(steps, peak),
    gemm && gemmText(gemm, peak),
    kernels && kernelText(kernels, peak),
    inference && inferenceText(inference),
    compression && compressionText(compression),
    scaling && scalingText(scaling),
    `Peak resident memory of the benchmark: ${mib(peakRssBytes)}.`,
  ]
    .filter((part) => part !== undefined)
    .join('\n\n');
}
