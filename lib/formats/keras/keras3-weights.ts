import { PcqatError } from '../../errors.js';
import type { KerasLayer, Place } from './flatten.js';
import type { H5Dataset, H5Tree } from './hdf5-reader.js';
import type { StoredWeight, WeightStore } from './layer.js';
import { PendingArrays } from './pending.js';

/** Where a model has its layers: Keras 3, and Keras 2.12 to 2.15. */
export const KERAS3_ROOTS = ['layers', '_layer_checkpoint_dependencies'] as const;

interface Container {
  /** Groups with weights below them by layer, where the file names it. */
  readonly byName: ReadonlyMap<string, string>;
  /** The same by class, as it is in group names, in order. */
  readonly byClass: ReadonlyMap<string, readonly string[]>;
}

/**
 * Weights of a `.keras` file's `model.weights.h5`. Groups are named after the classes of layers, counted in each model
 * (`layers/conv2d_1/vars/0`), and newer versions write the layer's own name beside the variables.
 */
export class Keras3Weights extends PendingArrays implements WeightStore {
  readonly #variables = new Map<string, H5Dataset[]>();
  readonly #names = new Map<string, string>();
  readonly #children = new Map<string, string[]>();
  readonly #containers = new Map<string, Container>();
  readonly #filled = new Set<string>();
  readonly #where: string;

  constructor(tree: H5Tree, where: string) {
    super(where);
    this.#where = where;
    for (const { path, name } of tree.groups) {
      const parent = path.slice(0, path.lastIndexOf('/'));
      const siblings = this.#children.get(parent);
      if (siblings === undefined) this.#children.set(parent, [path]);
      else siblings.push(path);
      if (path.endsWith('/vars') && name !== undefined) this.#names.set(parent, name);
    }
    for (const dataset of tree.datasets) {
      const match = /^(.*)\/vars\/(\d+)$/.exec(dataset.path);
      if (match?.[1] === undefined) continue;
      const variables = this.#variables.get(match[1]) ?? [];
      variables[Number(match[2])] = dataset;
      this.#variables.set(match[1], variables);
      for (let path = match[1]; path !== ''; path = path.slice(0, path.lastIndexOf('/'))) this.#filled.add(path);
    }
  }

  find(layer: KerasLayer, names: readonly (readonly string[])[]): readonly (StoredWeight | undefined)[] {
    let group = '';
    for (const place of layer.trail) group = this.#group(group, place) ?? this.#fail(layer, 'the file has no weights for it');
    const variables = this.#variables.get(group) ?? [];
    if (variables.length !== names.length) this.#fail(layer, `the file has ${variables.length} weights for it and not ${names.length}`);
    return names.map((aliases, i) => {
      const variable = variables[i] ?? this.#fail(layer, `the file lacks weight ${i} of it`);
      return aliases.length === 0 ? undefined : this.want(variable);
    });
  }

  /** The group of a layer in the model whose group is `parent`. */
  #group(parent: string, { name, className, ordinal }: Place): string | undefined {
    const { byName, byClass } = this.#container(parent);
    const base = snakeCase(className);
    // Keras 2 counts layers with weights twice, so there only the order of groups says which is which.
    const counted = `${parent}/${KERAS3_ROOTS[0]}/${base}${ordinal === 0 ? '' : `_${ordinal}`}`;
    return byName.get(name) ?? (this.#filled.has(counted) ? counted : byClass.get(base)?.[ordinal]);
  }

  #container(parent: string): Container {
    const known = this.#containers.get(parent);
    if (known !== undefined) return known;
    const groups = KERAS3_ROOTS.flatMap((root) => this.#children.get(`${parent}/${root}`) ?? []);
    const byName = new Map<string, string>();
    const byClass = new Map<string, { readonly path: string; readonly number: number }[]>();
    for (const path of groups) {
      const name = this.#names.get(path);
      if (!this.#filled.has(path)) continue;
      if (name !== undefined) byName.set(name, path);
      const last = path.slice(path.lastIndexOf('/') + 1);
      const [, base = last, number = '0'] = /^(.*)_(\d+)$/.exec(last) ?? [];
      const list = byClass.get(base);
      if (list === undefined) byClass.set(base, [{ path, number: Number(number) }]);
      else list.push({ path, number: Number(number) });
    }
    const sorted = Array.from(byClass, ([base, list]): [string, string[]] => [
      base,
      list.sort((a, b) => a.number - b.number).map(({ path }) => path),
    ]);
    const container = { byName, byClass: new Map(sorted) };
    this.#containers.set(parent, container);
    return container;
  }

  #fail(layer: KerasLayer, message: string): never {
    throw new PcqatError('ERR_FORMAT', message, {
      where: `${this.#where}, layer '${layer.key}'`,
      remedy: 'Weights and layers of the file do not belong together; save the model again.',
    });
  }
}

/** Keras' name for groups of a class: `DepthwiseConv2D` → `depthwise_conv2d`. */
function snakeCase(className: string): string {
  return className
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}
