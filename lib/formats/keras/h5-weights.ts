import { PcqatError } from '../../errors.js';
import type { KerasLayer } from './flatten.js';
import type { H5Dataset, H5Tree } from './hdf5-reader.js';
import type { StoredWeight, WeightStore } from './layer.js';
import { NamedWeights } from './named-weights.js';
import { PendingArrays } from './pending.js';

/** The group of a whole-model `.h5` file in which layers have their weights. */
export const H5_ROOT = 'model_weights';

/**
 * Weights of a whole-model `.h5` file: each layer of the outer model has a group with its weights in Keras' order; layers of a nested model
 * are in its group, by name.
 */
export class H5Weights extends PendingArrays implements WeightStore {
  readonly #layers = new Map<string, readonly H5Dataset[]>();
  readonly #nested = new Map<string, NamedWeights<H5Dataset>>();
  readonly #where: string;

  constructor(tree: H5Tree, where: string) {
    super(where);
    this.#where = where;
    const datasets = new Map(tree.datasets.map((dataset) => [dataset.path, dataset]));
    for (const { path, weightNames } of tree.groups) {
      const layer = path.slice(H5_ROOT.length + 2);
      if (weightNames === undefined || layer === '') continue;
      const found = weightNames.map((name) => datasets.get(`${path}/${name}`));
      this.#layers.set(
        layer,
        found.filter((dataset) => dataset !== undefined),
      );
      const named = new NamedWeights<H5Dataset>(where);
      found.forEach((dataset, i) => dataset !== undefined && named.add(weightNames[i] ?? '', dataset));
      this.#nested.set(layer, named);
    }
  }

  find(layer: KerasLayer, names: readonly (readonly string[])[]): readonly (StoredWeight | undefined)[] {
    const [outer] = layer.trail;
    if (layer.trail.length > 1) {
      const nested = this.#nested.get(outer?.name ?? '');
      if (nested === undefined) throw this.#missing(layer, 'the file has no weights for the model that it is in');
      return names.map((aliases) => (aliases.length === 0 ? undefined : this.want(nested.find(layer, aliases))));
    }
    const datasets = this.#layers.get(layer.name);
    if (datasets?.length !== names.length) {
      throw this.#missing(layer, `the file has ${datasets?.length ?? 'no'} weights for it and not ${names.length}`);
    }
    return datasets.map((dataset, i) => (names[i]?.length === 0 ? undefined : this.want(dataset)));
  }

  #missing(layer: KerasLayer, message: string): PcqatError {
    return new PcqatError('ERR_FORMAT', message, {
      where: `${this.#where}, layer '${layer.key}'`,
      remedy: 'Weights and layers of the file do not belong together; save the model again.',
    });
  }
}
