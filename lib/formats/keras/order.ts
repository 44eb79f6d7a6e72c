/**
 * Indices in an order in which what feeds an entry comes before it, as close to the given order as that allows.
 *
 * @param feeders - for every entry, the indices of the entries that feed it
 * @returns `undefined` when they feed each other in a circle
 */
export function dependencyOrder(feeders: readonly (readonly number[])[]): number[] | undefined {
  const order: number[] = [];
  const state = new Uint8Array(feeders.length); // 1: begun, 2: done
  for (let start = 0; start < feeders.length; start++) {
    const stack: { index: number; next: number }[] = state[start] === 0 ? [{ index: start, next: 0 }] : [];
    state[start] ||= 1;
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const feeder = feeders[top.index]?.[top.next++];
      if (feeder === undefined) {
        state[top.index] = 2;
        order.push(top.index);
        stack.pop();
      } else if (state[feeder] === 1) {
        return undefined;
      } else if (state[feeder] === 0) {
        state[feeder] = 1;
        stack.push({ index: feeder, next: 0 });
      }
    }
  }
  return order;
}
