import { PcqatError } from '../../errors.js';
import type { Assembled, ImportOptions } from '../import/types.js';
import { assembleConfig } from '../keras/config.js';
import type { KerasLayer } from '../keras/flatten.js';
import { field, isObject, type JsonObject } from '../keras/json.js';
import type { StoredWeight, WeightStore } from '../keras/layer.js';
import { NamedWeights } from '../keras/named-weights.js';
import { byteLength, storedWeight, type WeightSpec } from './specs.js';

/** Arrays of a tfjs model, by their names. */
export class TfjsWeights implements WeightStore {
  readonly #named: NamedWeights<StoredWeight>;
  readonly #where: string;

  constructor(where: string) {
    this.#named = new NamedWeights(where);
    this.#where = where;
  }

  /**
   * Adds weights that lie one behind the other.
   *
   * @throws PcqatError `ERR_FORMAT` when there are more or fewer bytes than they need
   */
  add(specs: readonly WeightSpec[], bytes: Uint8Array): void {
    const total = specs.reduce((sum, spec) => sum + byteLength(spec, this.#where), 0);
    if (total !== bytes.length) throw sizeError(total, bytes.length, this.#where);
    let offset = 0;
    for (const spec of specs) {
      const end = offset + byteLength(spec, this.#where);
      this.#named.add(spec.name, storedWeight(spec, bytes.subarray(offset, end), this.#where));
      offset = end;
    }
  }

  find(layer: KerasLayer, names: readonly (readonly string[])[]): readonly (StoredWeight | undefined)[] {
    return names.map((aliases) => (aliases.length === 0 ? undefined : this.#named.find(layer, aliases)));
  }
}

export function sizeError(expected: number, found: number, where: string): PcqatError {
  return new PcqatError('ERR_FORMAT', `its weights need ${expected} bytes, but there are ${found}`, {
    where,
    remedy: 'A weight file is missing or damaged, or belongs to another model.',
  });
}

/**
 * The model config in the `modelTopology` of a LayersModel, of tfjs or of the converter.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` for a graph model, `ERR_FORMAT` for anything else
 */
export function layersConfig(topology: unknown, format: unknown, where: string): JsonObject {
  if (format === 'graph-model' || Array.isArray(field(topology, 'node'))) {
    throw new PcqatError('ERR_UNSUPPORTED', 'it is a tfjs graph model; only layers models can be read', {
      where,
      remedy:
        'Import the Keras, ONNX or frozen TensorFlow file that it was made from, or convert that with --output_format=tfjs_layers_model.',
    });
  }
  const config = field(topology, 'model_config') ?? topology;
  if (isObject(config) && field(config, 'class_name') !== undefined) return config;
  throw new PcqatError('ERR_FORMAT', 'it has no modelTopology of a layers model', { where });
}

/** Reads a LayersModel whose weights are at hand. */
export function assembleLayers(config: JsonObject, store: TfjsWeights, options: ImportOptions, where: string): Assembled {
  return assembleConfig(config, { format: 'tfjs', where, store }, options);
}
