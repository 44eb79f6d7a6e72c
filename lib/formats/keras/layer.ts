import type { Affine } from './affine.js';
import { PcqatError } from '../../errors.js';
import { isPerChannel, parameterShapes, sameShape } from '../../graph/shapes.js';
import type { GraphNode, Shape } from '../../graph/types.js';
import { Refusal } from '../import/attempt.js';
import type { ModelAssembler } from '../import/assemble.js';
import type { ParameterSources } from '../import/types.js';
import type { KerasLayer } from './flatten.js';
import { LayerConfig } from './json.js';

/** What a layer gives: a node, and scale and offset that are still to be folded into what reads it. */
export interface LayerValue {
  readonly node: string;
  readonly affine?: Affine;
}

/** An array in a file, not read yet. */
export interface StoredWeight {
  readonly shape: Shape;
  readonly read: () => Float32Array;
}

/** Finds the arrays of layers in one kind of file. */
export interface WeightStore {
  /**
   * @param names - of the layer's weights in Keras' order; each with the names that it has had, or none where it is not needed
   * @returns one for each; undefined where it is not needed
   * @throws PcqatError `ERR_FORMAT` when one is missing
   */
  find(layer: KerasLayer, names: readonly (readonly string[])[]): readonly (StoredWeight | undefined)[];
}

/** `Omit` that keeps the members of a union apart. */
type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
export type NodeAttributes = Without<GraphNode, 'name' | 'inputs'>;

/** One layer while it becomes nodes. */
export class LayerReader {
  readonly name: string;
  readonly className: string;
  readonly config: LayerConfig;
  readonly inputs: readonly LayerValue[];
  /** tfjs, whose layers differ from Keras' in a few points, computed this model. */
  readonly isTfjs: boolean;
  readonly #layer: KerasLayer;
  readonly #assembler: ModelAssembler;
  readonly #store: WeightStore;
  readonly #where: string;

  constructor(
    layer: KerasLayer,
    inputs: readonly LayerValue[],
    assembler: ModelAssembler,
    store: WeightStore,
    where: string,
    isTfjs: boolean,
  ) {
    this.name = layer.name;
    this.className = layer.className;
    this.inputs = inputs;
    this.isTfjs = isTfjs;
    this.#layer = layer;
    this.#assembler = assembler;
    this.#store = store;
    this.#where = `${where}, layer '${layer.key}'`;
    this.config = new LayerConfig(layer.config, this.#where);
  }

  /** The only input, also one that has an affine to be folded. */
  get value(): LayerValue {
    const [value] = this.inputs;
    if (value === undefined) throw new PcqatError('ERR_FORMAT', 'nothing feeds it', { where: this.#where });
    if (this.inputs.length > 1) throw new Refusal(`it has ${this.inputs.length} inputs`, 'Use a layer with one input.');
    return value;
  }

  /** The only input of a layer into which nothing can be folded. */
  get input(): string {
    return this.plain(this.value);
  }

  /** The node of an input into which nothing can be folded. */
  plain({ node, affine }: LayerValue): string {
    if (affine === undefined) return node;
    throw new Refusal(
      `it reads the output of '${affine.layer}', which can only be folded into a convolution or dense layer`,
      `If the model starts with '${affine.layer}', import with input: '${affine.layer}' and apply it to the data.`,
    );
  }

  shapeOf(node: string): Shape {
    return this.#assembler.shapeOf(node);
  }

  /** Arrays of the layer, by their first names. */
  weights(names: readonly (readonly string[])[]): ReadonlyMap<string, StoredWeight> {
    const found = this.#store.find(this.#layer, names);
    return new Map(names.map(([name = ''], i) => [name, found[i] as StoredWeight]));
  }

  /**
   * Adds a node. Its stored parameters must have the shapes that its attributes ask for.
   *
   * @param suffix - appended to the layer's name
   */
  add(
    inputs: readonly string[],
    attributes: NodeAttributes,
    options: { readonly suffix?: string; readonly weights?: NodeWeights } = {},
  ): string {
    const { suffix = '', weights = {} } = options;
    const node = { ...attributes, name: `${this.name}${suffix}`, inputs } as GraphNode;
    const sources: Record<string, () => Float32Array> = {};
    const shapes = parameterShapes(node, this.shapeOf(inputs[0] ?? ''));
    for (const [parameter, { shape, read }] of Object.entries(weights)) {
      const expected = shapes.get(parameter) ?? [];
      if (!sameShape(shape, expected)) {
        const message = `its ${parameter} has the shape [${shape.join(', ')}] and not [${expected.join(', ')}]`;
        throw new PcqatError('ERR_FORMAT', message, {
          where: this.#where,
          remedy: 'Weights and layers of the file do not belong together.',
        });
      }
      sources[parameter] = read;
    }
    return this.#assembler.add(node, sources satisfies ParameterSources);
  }

  /** Channels last is the only layout there is here. */
  requireChannelsLast(): void {
    const format = this.config.text('data_format', 'channels_last');
    if (format === 'channels_last') return;
    throw new Refusal(`its data_format is ${format}`, "Build the model with data_format 'channels_last'.");
  }
}

/** Parameters of a node by their names in pcqat. */
export type NodeWeights = Readonly<Record<string, StoredWeight>>;

/** Which of two values is one factor per channel of the other: `[value, factor]`, or undefined when none is. */
export function asValueAndFactor(reader: LayerReader, a: string, b: string): readonly [string, string] | undefined {
  const [left, right] = [reader.shapeOf(a), reader.shapeOf(b)];
  if (sameShape(left, right) || isPerChannel(right, left)) return [a, b];
  return isPerChannel(left, right) ? [b, a] : undefined;
}
