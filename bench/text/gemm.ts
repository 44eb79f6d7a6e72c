import type { GemmResult } from '../gemm.js';
import type { Peak } from '../peak.js';
import { number, share, table } from './table.js';

/** The products as Markdown. */
export function gemmText({ rows, openblas }: GemmResult, peak: Peak | undefined): string {
  const cells = rows.map(({ name, what, m, n, k, threads, gflops, openblasGflops, ofOpenblas }) => [
    name,
    what,
    `${m}×${n}×${k}`,
    String(threads),
    number(gflops, 0),
    share(gflops, threads === 1 ? peak?.gflops1 : peak?.gflops),
    ...(openblas === null ? [] : [number(openblasGflops!, 0), `${number(ofOpenblas! * 100, 0)} %`]),
  ]);
  const head = ['layer', 'kernel', 'm×n×k', 'threads', 'GFLOP/s', 'of peak', ...(openblas === null ? [] : ['OpenBLAS', 'of OpenBLAS'])];
  return `Matrix products and convolutions, f32${openblas === null ? '' : `, beside ${openblas}`}:\n\n${table(head, cells)}`;
}
