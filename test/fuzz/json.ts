import { randomNumbers } from '../support/random.js';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const HOSTILE: readonly Json[] = [
  null, true, false, 0, 1, -1, 2, 0.5, 1e9, 2 ** 31, 2 ** 53, -1e300, 1e308,
  '', 'same', '../x', '__proto__', 'constructor', 'relu', 'Conv2D', 'Dense', 'Functional', 'InputLayer', 'x'.repeat(300),
  [], [0], [1, 1], [null, 0], [1e6, 1e6, 1e6], [[[]]], {}, { class_name: 'ReLU' }, { class_name: 'Sequential', config: { layers: [] } },
]; // prettier-ignore

interface Slot {
  readonly parent: Json[] | { [key: string]: Json };
  readonly key: string | number;
}

/** Every place of a value in a JSON tree. */
function slotsOf(root: Json): Slot[] {
  const slots: Slot[] = [];
  const queue = [root];
  for (let value = queue.pop(); value !== undefined; value = queue.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
      slots.push({ parent: value, key });
      queue.push((value as Record<string, Json>)[key]!);
    }
  }
  return slots;
}

/**
 * Copies of a JSON value with one to four places changed: a hostile value, a value from another place, or nothing there any more.
 *
 * The same arguments give the same mutations.
 */
export function* jsonMutations(seedValue: unknown, count: number, seed: number): Iterable<unknown> {
  const random = randomNumbers(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  for (let i = 0; i < count; i++) {
    const root = structuredClone(seedValue) as Json;
    for (let changes = 1 + Math.floor(random() * 4); changes > 0; changes--) {
      const slots = slotsOf(root);
      if (slots.length === 0) break;
      const { parent, key } = pick(slots);
      const kind = random();
      if (kind < 0.15) {
        if (Array.isArray(parent)) parent.splice(key as number, 1);
        else delete parent[key];
        continue;
      }
      const other = pick(slots);
      const value = kind < 0.6 ? pick(HOSTILE) : (other.parent as Record<string, Json>)[other.key]!;
      (parent as Record<string, Json>)[key] = structuredClone(value);
    }
    yield root;
  }
}
