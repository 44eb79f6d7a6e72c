import { PcqatError } from '../../errors.js';
import { callsOf, type Objection, type TensorRef, tensorRefs } from './calls.js';
import { field, isObject, type JsonObject, listOf } from './json.js';
import { dependencyOrder } from './order.js';

/** A layer's place among the layers of its model: its class and how many of that class come before it. */
export interface Place {
  readonly name: string;
  readonly className: string;
  readonly ordinal: number;
}

/** A layer of a network whose nested models were dissolved. */
export interface KerasLayer {
  /** Unique: its name, after the names of the models that it is in. */
  readonly key: string;
  readonly name: string;
  readonly className: string;
  readonly config: JsonObject;
  /** Shape of its input by its own model, batch first, as far as the file says. */
  readonly builtFor: unknown;
  /** Keys of the layers that feed it. */
  readonly inputs: readonly string[];
  /** The models it is in, outermost first, and itself. */
  readonly trail: readonly Place[];
  /** Why the way it is called cannot be taken. */
  readonly objection?: Objection;
}

/** Layers in an order in which inputs come first. */
export interface Network {
  readonly name: string;
  readonly layers: readonly KerasLayer[];
  /** Keys of the layers that are the model's outputs. */
  readonly outputs: readonly string[];
  /** What a name of a layer or nested model stands for: the key of a layer. */
  readonly named: ReadonlyMap<string, string>;
}

const MAX_DEPTH = 32;

interface Scope {
  readonly trail: readonly Place[];
  /** What feeds a nested model; undefined for the model itself. */
  readonly inputs: readonly string[] | undefined;
}

/** Dissolves nested models, checks references and orders layers. */
class Flattener {
  readonly layers: KerasLayer[] = [];
  readonly named = new Map<string, string>();
  readonly #keys = new Set<string>();
  readonly #where: string;

  constructor(where: string) {
    this.#where = where;
  }

  /** @returns keys of its outputs */
  model(model: JsonObject, scope: Scope): readonly string[] {
    if (scope.trail.length > MAX_DEPTH) this.fail(`models are nested more than ${MAX_DEPTH} deep`);
    const config = field(model, 'config');
    // Before Keras 2.3 the config of a Sequential model was the list of its layers.
    const layers = (Array.isArray(config) ? (config as unknown[]) : listOf(field(config, 'layers'))).filter(isObject);
    if (layers.length === 0) this.fail(`the model '${nameOf(model)}' has no layers`);
    const places = this.#places(layers);
    return isFunctional(model) ? this.#functional(config, layers, places, scope) : this.#sequential(model, layers, places, scope);
  }

  #places(layers: readonly JsonObject[]): readonly Place[] {
    const counts = new Map<string, number>();
    return layers.map((layer) => {
      const className = classOf(layer);
      const ordinal = counts.get(className) ?? 0;
      counts.set(className, ordinal + 1);
      return { name: nameOf(layer), className, ordinal };
    });
  }

  #sequential(model: JsonObject, layers: readonly JsonObject[], places: readonly Place[], scope: Scope): readonly string[] {
    let current = scope.inputs?.[0];
    for (const [i, layer] of layers.entries()) {
      const place = places[i] as Place;
      if (place.className === 'InputLayer') {
        current ??= this.#layer(layer, place, scope, []);
        continue;
      }
      current ??= this.#impliedInput(model, layer, scope);
      const [output] = this.#call(layer, place, scope, [{ inputs: [current] }]);
      current = output;
    }
    return current === undefined ? [] : [current];
  }

  /** A Sequential model may leave its input layer out; then its first layer, or the model, knows the shape. */
  #impliedInput(model: JsonObject, first: JsonObject, scope: Scope): string {
    const config = field(first, 'config');
    const shape =
      field(config, 'batch_input_shape') ??
      field(config, 'batch_shape') ??
      field(field(model, 'config'), 'build_input_shape') ??
      field(field(model, 'build_config'), 'input_shape');
    const place = { name: `${nameOf(first)}_input`, className: 'InputLayer', ordinal: 0 };
    return this.#layer({ class_name: 'InputLayer', config: { batch_input_shape: shape } }, place, scope, []);
  }

  #functional(config: unknown, layers: readonly JsonObject[], places: readonly Place[], scope: Scope): readonly string[] {
    const names = new Map<string, number>();
    for (const [i, { name }] of places.entries()) {
      if (names.has(name)) this.fail(`two layers are named '${name}'`);
      names.set(name, i);
    }
    const calls = layers.map((layer) => callsOf(layer, this.#where));
    const indexOf = (name: string): number => names.get(name) ?? this.fail(`it uses a layer '${name}' that it does not have`);
    const feeders = calls.map((list) => list.flatMap(({ tensors }) => tensors.map(({ layer }) => indexOf(layer))));
    const inputNames = tensorRefs(field(config, 'input_layers')).map(({ layer }) => layer);
    const values = new Map<string, readonly string[]>();
    const valueOf = ({ layer, tensor }: TensorRef): string => {
      const outputs = values.get(layer) ?? [];
      return outputs[tensor] ?? outputs[0] ?? this.fail(`it uses a layer '${layer}' that it does not have`);
    };
    const order = dependencyOrder(feeders) ?? this.fail('its layers feed each other in a circle');
    for (const index of order) {
      const [layer, place] = [layers[index] as JsonObject, places[index] as Place];
      const bound = place.className === 'InputLayer' ? scope.inputs?.[Math.max(inputNames.indexOf(place.name), 0)] : undefined;
      if (bound !== undefined) {
        values.set(place.name, [bound]);
        continue;
      }
      const list = (calls[index] ?? []).map(({ tensors, ...rest }) => ({ ...rest, inputs: tensors.map(valueOf) }));
      values.set(place.name, this.#call(layer, place, scope, list));
    }
    return tensorRefs(field(config, 'output_layers')).map((ref) => {
      indexOf(ref.layer);
      return valueOf(ref);
    });
  }

  #call(
    layer: JsonObject,
    place: Place,
    scope: Scope,
    calls: readonly { readonly inputs: readonly string[]; readonly objection?: Objection }[],
  ): readonly string[] {
    const inputs = calls.flatMap((call) => call.inputs);
    if (isModel(layer) && calls.length === 1 && inputs.length > 0) {
      const outputs = this.model(layer, { trail: [...scope.trail, place], inputs });
      if (outputs[0] !== undefined) this.#name(place.name, outputs[0]);
      return outputs;
    }
    const shared = {
      reason: `it is called ${calls.length} times`,
      remedy: 'Give every call a layer of its own, with a copy of the weights.',
    };
    return [this.#layer(layer, place, scope, inputs, calls.length > 1 ? shared : calls[0]?.objection)];
  }

  #layer(layer: JsonObject, place: Place, scope: Scope, inputs: readonly string[], objection?: Objection): string {
    const key = [...scope.trail, place].map(({ name }) => name).join('/');
    if (this.#keys.has(key)) this.fail(`two layers are named '${key}'`);
    this.#keys.add(key);
    this.#name(place.name, key);
    const config = field(layer, 'config');
    this.layers.push({
      key,
      name: place.name,
      className: place.className,
      config: isObject(config) ? config : {},
      builtFor: field(field(layer, 'build_config'), 'input_shape'),
      inputs,
      trail: [...scope.trail, place],
      ...(objection === undefined ? {} : { objection }),
    });
    return key;
  }

  /** Outer layers win over inner ones of the same name, which are known by their whole key. */
  #name(name: string, key: string): void {
    if (!this.named.has(name) || name === key) this.named.set(name, key);
    this.named.set(key, key);
  }

  fail(message: string): never {
    throw new PcqatError('ERR_FORMAT', message, { where: this.#where });
  }
}

function classOf(layer: JsonObject): string {
  const name = field(layer, 'class_name');
  return typeof name === 'string' ? name : '';
}

function nameOf(layer: JsonObject): string {
  const name = field(field(layer, 'config'), 'name') ?? field(layer, 'name');
  return typeof name === 'string' ? name : classOf(layer).toLowerCase();
}

/** Functional and Sequential models, and classes of one's own that are made like them. */
function isModel(layer: JsonObject): boolean {
  return classOf(layer) === 'Sequential' || isFunctional(layer);
}

function isFunctional(layer: JsonObject): boolean {
  const config = field(layer, 'config');
  return Array.isArray(field(config, 'layers')) && Array.isArray(field(config, 'output_layers'));
}

/**
 * The network of a Keras model config (`class_name` and `config`), of Keras 2, Keras 3 or tfjs.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` for a subclassed model, `ERR_FORMAT` for a config that is damaged
 */
export function flattenModel(model: JsonObject, where: string): Network {
  if (!isModel(model)) {
    throw new PcqatError('ERR_UNSUPPORTED', `a model of class '${classOf(model).slice(0, 100)}' cannot be read`, {
      where,
      remedy: 'Only Sequential and Functional models say in the file which layers they have.',
    });
  }
  const flattener = new Flattener(where);
  const outputs = flattener.model(model, { trail: [], inputs: undefined });
  if (outputs.length === 0) flattener.fail('the model has no output');
  return { name: nameOf(model) || 'model', layers: flattener.layers, outputs, named: flattener.named };
}
