import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { constantSparsity } from '#lib/compress/sparsity/schedules.js';
import { updateMask } from '#lib/compress/sparsity/mask.js';
import { loadBinding } from '#lib/native.js';
import { interleave } from './interleave.js';
import { noise } from './nets.js';

/** Rate of one compression kernel on one tensor, one thread. */
export interface CompressionResult {
  readonly name: string;
  readonly weights: number;
  /** Bytes read and written per second, in GB/s. */
  readonly gbs: number;
  /** Share of the rate of a memory copy of the same tensor in the same run. */
  readonly ofCopy: number;
}

const CLUSTERS = 16;

async function measureSize(weights: number, seconds: number): Promise<CompressionResult[]> {
  const native = loadBinding();
  const w = noise(weights);
  const masked = noise(weights);
  const mask = Uint8Array.from({ length: weights }, (_, i) => i % 2);
  const centroids = Float32Array.from({ length: CLUSTERS }, (_, i) => -1.5 + (3 * i) / (CLUSTERS - 1));
  const indices = new Int32Array(weights);
  const out = new Float32Array(weights);
  const gradient = new Float32Array(CLUSTERS);
  const [min, max] = [Float32Array.of(-2), Float32Array.of(2)];
  // bytes read and written per weight
  const kernels: { name: string; bytes: number; run: () => unknown }[] = [
    { name: 'memory copy', bytes: 8, run: () => out.set(w) },
    { name: 'mask', bytes: 9, run: () => native.applyMask(masked, mask) },
    { name: `assignment to ${CLUSTERS} centroids`, bytes: 8, run: () => native.assignCentroids(w, centroids, 0, indices) },
    { name: 'gather', bytes: 8, run: () => native.gatherCentroids(indices, centroids, 0, out) },
    { name: 'centroid gradient', bytes: 8, run: () => native.centroidGradient(indices, w, 0, CLUSTERS, 'sum', gradient) },
    { name: 'range', bytes: 4, run: () => native.symmetricRange(w, 0, min, max) },
    { name: 'fake quantization', bytes: 8, run: () => native.fakeQuantize(w, min, max, 8, true, out) },
    { name: 'fake quantization gradient', bytes: 12, run: () => native.fakeQuantizeGradient(masked, w, min, max, 8, true, out) },
  ];
  const times = await interleave(kernels, seconds);
  const rate = ({ name, bytes }: { name: string; bytes: number }): number => (bytes * weights) / times.get(name)!.median / 1e6;
  const copy = rate(kernels[0]!);
  return kernels.map((kernel) => ({ name: kernel.name, weights, gbs: rate(kernel), ofCopy: rate(kernel) / copy }));
}

/** Rates on a tensor that fits the cache and on one that does not. */
export async function measureCompression(seconds: number): Promise<CompressionResult[]> {
  return [...(await measureSize(1 << 16, seconds)), ...(await measureSize(1 << 23, seconds))];
}

/** A part of the weight chain on one large weight, beside a memory copy of the weight in the same run and on as many threads. */
export interface ChainResult {
  readonly name: string;
  readonly threads: number;
  /** Absent where there is no codebook. */
  readonly clusters?: number;
  readonly ms: number;
  readonly copyMs: number;
  /** Bytes that have to be read and written over the time, against the rate of the copy; absent for the mask. */
  readonly ofCopy?: number;
  /** For the mask: time over that of the copy. */
  readonly copies?: number;
  readonly goal?: string;
}

const LARGE_WEIGHT = 1 << 22;

/** `magnitudeMask` and what `updateMask` adds, which runs on one thread. */
async function measureMaskRefresh(seconds: number): Promise<ChainResult> {
  const data = noise(LARGE_WEIGHT);
  const out = new Float32Array(LARGE_WEIGHT);
  const policy = { schedule: constantSparsity({ targetSparsity: 0.5 }), blockSize: [1, 1], blockPooling: 'AVG' } as const;
  const times = await interleave(
    [
      { name: 'copy', run: () => out.set(data) },
      { name: 'mask', run: () => updateMask({ shape: [LARGE_WEIGHT], data }, policy, 0.5) },
    ],
    seconds,
  );
  const [ms, copyMs] = [times.get('mask')!.median, times.get('copy')!.median];
  return { name: 'updateMask', threads: 1, ms, copyMs, copies: ms / copyMs, goal: '≤ 3 copies' };
}

/**
 * Forward chain (mask, nearest centroid, gather, range, fake quantization), backward chain with Adam, and mask refresh on
 * 4,194,304 weights. The first two need the target `pcqat_chain_bench` of CMake; without it only the last one is measured.
 */
export async function measureChain(threads: number, seconds: number): Promise<ChainResult[]> {
  const program = fileURLToPath(new URL('../pcqat_chain_bench', import.meta.url));
  const results = [await measureMaskRefresh(seconds / 3)];
  if (!existsSync(program)) return results;
  for (const count of threads === 1 ? [1] : [1, threads]) {
    const output = execFileSync(program, [String(count), String(seconds)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const rows = JSON.parse(output) as { name: string; k: number; ms: number; copyMs: number; bytesPerWeight: number }[];
    for (const { name, k, ms, copyMs, bytesPerWeight } of rows) {
      if (k === 0) continue;
      const ofCopy = ((bytesPerWeight / 8) * copyMs) / ms;
      const goal = name === 'forward' ? (k === 16 ? '≥ 70 %' : undefined) : '≥ 60 %';
      results.push({ name, threads: count, clusters: k, ms, copyMs, ofCopy, ...(goal === undefined ? {} : { goal }) });
    }
  }
  return results;
}
