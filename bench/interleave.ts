/** Something to time. */
export interface Candidate {
  readonly name: string;
  run(): unknown;
}

/** Times of one candidate in milliseconds. */
export interface Timing {
  readonly median: number;
  readonly best: number;
  readonly rounds: number;
}

/**
 * Times candidates in turn, one run each a round, so that a slow phase of the machine hits all alike; compare medians.
 *
 * @param seconds - for all candidates together
 */
export async function interleave(candidates: readonly Candidate[], seconds: number): Promise<Map<string, Timing>> {
  const times = new Map(candidates.map(({ name }) => [name, [] as number[]]));
  for (const candidate of candidates) {
    await candidate.run();
    await candidate.run();
  }
  const end = performance.now() + seconds * 1000;
  let rounds = 0;
  while (rounds < 5 || performance.now() < end) {
    for (const candidate of candidates) {
      const start = performance.now();
      await candidate.run();
      times.get(candidate.name)!.push(performance.now() - start);
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
