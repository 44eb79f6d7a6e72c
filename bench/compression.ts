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
