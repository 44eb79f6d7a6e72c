import { PcqatError } from '../../errors.js';
import type { KerasLayer } from './flatten.js';

interface Named<T> {
  /** Parts of its name: models, layer, weight. */
  readonly path: readonly string[];
  readonly weight: T;
}

/** More models with layers of one name than anybody nests; keeps the search short. */
const MAX_ALIKE = 1000;

/**
 * Weights by names such as `model/conv1/kernel:0`. The models around a layer may be missing from its name, so a layer takes the one weight
 * whose name ends with its own and agrees furthest with the models that it is in.
 */
export class NamedWeights<T> {
  readonly #byName = new Map<string, Named<T>[]>();
  readonly #where: string;

  constructor(where: string) {
    this.#where = where;
  }

  add(name: string, weight: T): void {
    const path = name.replace(/:\d+$/, '').split('/');
    const last = path.slice(-2).join('/');
    const list = this.#byName.get(last);
    if (list === undefined) this.#byName.set(last, [{ path, weight }]);
    else if (list.length < MAX_ALIKE) list.push({ path, weight });
    else throw new PcqatError('ERR_FORMAT', `more than ${MAX_ALIKE} weights have the name '${last}'`, { where: this.#where });
  }

  /** @throws PcqatError `ERR_FORMAT` when there is none, or it is not clear which */
  find(layer: KerasLayer, aliases: readonly string[]): T {
    for (const alias of aliases) {
      const wanted = [...layer.trail.map(({ name }) => name), alias].join('/').split('/');
      const least = layer.name.split('/').length + 1;
      const scored = (this.#byName.get(wanted.slice(-2).join('/')) ?? [])
        .map(({ path, weight }) => ({ weight, score: commonEnd(path, wanted) }))
        .filter(({ score }) => score >= least)
        .sort((a, b) => b.score - a.score);
      const [best, second] = scored;
      if (best === undefined) continue;
      if (second?.score === best.score) this.#fail(layer, `the file has several arrays '${alias}' for it`);
      return best.weight;
    }
    return this.#fail(layer, `the file has no ${aliases[0] ?? 'weight'} for it`);
  }

  #fail(layer: KerasLayer, message: string): never {
    throw new PcqatError('ERR_FORMAT', message, {
      where: `${this.#where}, layer '${layer.key}'`,
      remedy: 'Weights and layers of the file do not belong together; save the model again.',
    });
  }
}

function commonEnd(a: readonly string[], b: readonly string[]): number {
  let count = 0;
  while (count < a.length && count < b.length && a[a.length - 1 - count] === b[b.length - 1 - count]) count++;
  return count;
}
