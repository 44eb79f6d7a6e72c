/** Weights that share a value, as one cluster. */
interface Cluster {
  readonly count: number;
  readonly mean: number;
  /** The values that it took in. */
  readonly members: readonly number[];
}

/** Sum of squared errors that joining two clusters adds (Ward 1963). */
function cost(a: Cluster, b: Cluster): number {
  return ((a.count * b.count) / (a.count + b.count)) * (a.mean - b.mean) ** 2;
}

function join(a: Cluster, b: Cluster): Cluster {
  const count = a.count + b.count;
  return { count, mean: (a.count * a.mean + b.count * b.mean) / count, members: [...a.members, ...b.members] };
}

function clustersOf(values: Float32Array): Cluster[] {
  const counts = new Map<number, number>();
  for (const value of values) if (value !== 0) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a - b).map(([value, count]) => ({ count, mean: value, members: [value] }));
}

/**
 * Joins shared values that training has brought close together: neighbours first whose joining changes the weights least, as long as the
 * signal-to-noise ratio of the changed weights stays at `minimumSnr` dB or above. A joined value is the mean over its weights. Zero is never
 * joined: no weight becomes zero or stops being it.
 *
 * @returns the new value of every value that occurs, zero apart
 */
export function mergeValues(values: Float32Array, minimumSnr: number): Map<number, number> {
  const power = values.reduce((sum, value) => sum + value ** 2, 0);
  const allowed = power * 10 ** (-minimumSnr / 10);
  let clusters = clustersOf(values);
  let noise = 0;
  for (;;) {
    // On a line the cheapest pair is always a pair of neighbours. Signs differ only across zero, which separates them.
    let best = -1;
    let least = allowed - noise;
    for (let i = 0; i + 1 < clusters.length; i++) {
      const [a, b] = [clusters[i]!, clusters[i + 1]!];
      if (a.mean < 0 !== b.mean < 0 || cost(a, b) > least) continue;
      [best, least] = [i, cost(a, b)];
    }
    if (best < 0) break;
    noise += least;
    clusters = [...clusters.slice(0, best), join(clusters[best]!, clusters[best + 1]!), ...clusters.slice(best + 2)];
  }
  return new Map(clusters.flatMap(({ mean, members }) => members.map((value) => [value, mean] as const)));
}
