import { setTimeout as pause } from 'node:timers/promises';

/** Something to time: `run` is timed from its call until what it returns has settled; `measure` gives the milliseconds itself. */
export type Candidate = { readonly name: string } & ({ run(): unknown } | { measure(): Promise<number> });

/** Times of one candidate in milliseconds. */
export interface Timing {
  readonly median: number;
  readonly best: number;
  readonly rounds: number;
}

/** Options of {@link interleave}. */
export interface InterleaveOptions {
  /** Pause after every turn in milliseconds, so that threads of one candidate that spin for work do not slow the next down. Default 0. */
  readonly restMs?: number;
  /**
   * Runs of a turn before the one that counts. Training is one step after another: after a rest, cores are slow and caches belong to others.
   * Default 0.
   */
  readonly leadIn?: number;
}

/** A candidate whose time is the mean of `repeat` runs in a row, after one more; for what is short beside waking a thread. */
export function repeated(name: string, repeat: number, run: () => unknown): Candidate {
  const measure = async (): Promise<number> => {
    await run();
    const start = performance.now();
    for (let i = 0; i < repeat; i++) await run();
    return (performance.now() - start) / repeat;
  };
  return { name, measure };
}

async function turn(candidate: Candidate): Promise<number> {
  if ('measure' in candidate) return candidate.measure();
  const start = performance.now();
  await candidate.run();
  return performance.now() - start;
}

/**
 * Times candidates in turn, one run each a round, so that a slow phase of the machine hits all alike; compare medians. At least 5 rounds.
 *
 * @param seconds - for all candidates together
 */
export async function interleave(
  candidates: readonly Candidate[],
  seconds: number,
  { restMs = 0, leadIn = 0 }: InterleaveOptions = {},
): Promise<Map<string, Timing>> {
  const times = new Map(candidates.map(({ name }) => [name, [] as number[]]));
  for (const candidate of candidates) {
    await turn(candidate);
    await turn(candidate);
  }
  const end = performance.now() + seconds * 1000;
  let rounds = 0;
  while (rounds < 5 || performance.now() < end) {
    for (const candidate of candidates) {
      for (let i = 0; i < leadIn; i++) await turn(candidate);
      times.get(candidate.name)!.push(await turn(candidate));
      if (restMs > 0) await pause(restMs);
    }
    rounds++;
  }
  return new Map(
    [...times].map(([name, list]) => {
      list.sort((a, b) => a - b);
      return [name, { median: list[Math.floor(list.length / 2)]!, best: list[0]!, rounds }];
    }),
  );
}
