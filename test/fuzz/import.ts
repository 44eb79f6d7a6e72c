import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { PcqatError } from '#lib/errors.js';
import { importModel } from '#lib/formats/import/index.js';
import type { ImportOptions } from '#lib/formats/import/types.js';
import { inTemporaryFolder } from '../support/temporary.js';
import { mutations } from './mutate.js';

/** Longest that reading a damaged file of a few KB may take. */
const MOST_MS = 2000;

/** What came of the mutations of some files. */
export interface FuzzResult {
  /** Read all the same: the damage was in weights, or harmless. */
  readonly imported: number;
  /** By error code. */
  readonly refused: ReadonlyMap<string, number>;
  readonly slowestMs: number;
}

/**
 * Imports mutations of files: each must give a model or a PcqatError, in time.
 *
 * @param count - mutations in all
 */
export function fuzzImport(
  files: readonly Uint8Array[],
  { extension, options = {}, count, seed }: { extension: string; options?: ImportOptions; count: number; seed: number },
): Promise<FuzzResult> {
  return inTemporaryFolder(async (folder) => {
    const damaged = path.join(folder, `damaged${extension}`);
    const refused = new Map<string, number>();
    let [imported, slowestMs] = [0, 0];
    for (const [f, file] of files.entries()) {
      let index = 0;
      for (const bytes of mutations(file, Math.ceil(count / files.length), seed + f)) {
        writeFileSync(damaged, bytes);
        const start = performance.now();
        try {
          await importModel(damaged, options);
          imported++;
        } catch (error) {
          if (!(error instanceof PcqatError)) throw new Error(`file ${f}, mutation ${index}: ${String(error)}`, { cause: error });
          refused.set(error.code, (refused.get(error.code) ?? 0) + 1);
        }
        const ms = performance.now() - start;
        if (ms > MOST_MS) throw new Error(`file ${f}, mutation ${index} took ${ms} ms`);
        slowestMs = Math.max(slowestMs, ms);
        index++;
      }
    }
    return { imported, refused, slowestMs };
  });
}
