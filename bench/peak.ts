import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What the machine can do at most, measured now. */
export interface Peak {
  readonly how: string;
  /** Multiply-adds from registers, f32: one thread, all threads. */
  readonly gflops1: number;
  readonly gflops: number;
  /** memcpy of 64 MiB, read plus written. */
  readonly copyGBs1: number;
  readonly copyGBs: number;
}

/**
 * Compiles and runs bench/peak.cpp for this CPU. Not a part of the addon: its kernels must not depend on `-march=native`.
 * `undefined` where there is no C++ compiler.
 */
export function measurePeak(threads: number): Peak | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'pcqat-peak-'));
  // build/bench/peak.js → bench/peak.cpp
  const source = fileURLToPath(new URL('../../bench/peak.cpp', import.meta.url));
  try {
    const program = join(folder, 'peak');
    execFileSync('c++', ['-O2', '-march=native', '-ffp-contract=fast', '-pthread', source, '-o', program], { stdio: 'ignore' });
    const result = JSON.parse(execFileSync(program, [String(threads)], { encoding: 'utf8' })) as Omit<Peak, 'how'> & { lanes: number };
    const how = `12 independent chains of fused multiply-adds on ${result.lanes} f32 lanes, compiled for this CPU, best of 1 s`;
    return { how, gflops1: result.gflops1, gflops: result.gflops, copyGBs1: result.copyGBs1, copyGBs: result.copyGBs };
  } catch {
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
