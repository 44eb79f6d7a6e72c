import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { PcqatError } from '#lib/errors.js';
import { importModel } from '#lib/formats/import/index.js';
import type { ImportOptions } from '#lib/formats/import/types.js';
import { expect } from 'chai';
import { it } from 'mocha';
import { inTemporaryFolder } from '../support/temporary.js';
import { mutationCount, mutations } from './mutate.js';

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

/** Memory that files of a few KB may take on top of what was there. */
const MEMORY_LIMIT = 300 * 2 ** 20;

/** The test that damaged files are imported or refused, in bounded time and memory. */
export function itTakesDamagedFiles(fuzz: (count: number) => Promise<FuzzResult>): void {
  const count = mutationCount();
  it(`gives a model or a typed error for ${count} of them, in bounded time and memory`, async function () {
    this.timeout(60_000 + 20 * count);
    const before = process.memoryUsage().rss;
    const { imported, refused, slowestMs } = await fuzz(count);
    if (count > 500)
      console.log(`      ${imported} imported, ${JSON.stringify(Object.fromEntries(refused))}, at most ${Math.round(slowestMs)} ms`);
    // The mutations must reach every stage, or they test nothing.
    expect(imported).to.be.above(count / 20);
    expect(refused.get('ERR_FORMAT')).to.be.above(count / 10);
    expect(refused.get('ERR_UNSUPPORTED')).to.be.above(count / 100);
    expect(process.memoryUsage().rss - before).to.be.below(MEMORY_LIMIT);
  });
}
