import { PcqatError } from '#lib/errors.js';

/** What a fuzzing run came to. */
export interface FuzzReport {
  readonly mutations: number;
  readonly accepted: number;
  readonly refused: ReadonlyMap<string, number>;
  readonly slowestMilliseconds: number;
}

const TOO_LONG = 2000;

/**
 * Runs an action on every mutation. It may succeed or throw a PcqatError.
 *
 * @throws for any other error, and for a mutation that takes more than two seconds
 */
export async function runMutations<T>(mutations: Iterable<T>, action: (mutation: T) => Promise<unknown>): Promise<FuzzReport> {
  let [count, accepted, slowest] = [0, 0, 0];
  const refused = new Map<string, number>();
  for (const mutation of mutations) {
    const started = performance.now();
    try {
      await action(mutation);
      accepted++;
    } catch (error) {
      if (!(error instanceof PcqatError) || error.code === 'ERR_INTERNAL') throw new Error(`mutation ${count}`, { cause: error });
      refused.set(error.code, (refused.get(error.code) ?? 0) + 1);
    }
    const taken = performance.now() - started;
    if (taken > TOO_LONG) throw new Error(`mutation ${count} took ${taken} ms`);
    slowest = Math.max(slowest, taken);
    count++;
  }
  return { mutations: count, accepted, refused, slowestMilliseconds: Math.round(slowest) };
}
