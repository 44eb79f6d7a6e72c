import { PcqatError } from '../../errors.js';
import { Refusal } from '../import/attempt.js';
import { ModelAssembler } from '../import/assemble.js';
import type { Assembled, ImportFormat, ImportOptions } from '../import/types.js';
import { flattenModel, type KerasLayer, type Network } from './flatten.js';
import { inputShape } from './input-shape.js';
import { field, type JsonObject } from './json.js';
import { LayerReader, type LayerValue, type WeightStore } from './layer.js';
import { readLayer } from './layers.js';

/** What a model config is read with. */
export interface ConfigSource {
  readonly format: ImportFormat;
  /** The file, for errors. */
  readonly where: string;
  readonly store: WeightStore;
}

/**
 * Turns the config of a Keras model (Sequential or Functional; Keras 2, Keras 3 or tfjs) into a graph.
 *
 * @param model - `{ class_name, config }`
 * @throws PcqatError `ERR_FORMAT` for a config that is damaged; `ERR_UNSUPPORTED` for a subclassed model; `ERR_OPTION` for options that do
 *   not fit the model
 */
export function assembleConfig(model: JsonObject, source: ConfigSource, options: ImportOptions): Assembled {
  const { format, where, store } = source;
  const network = flattenModel(model, where);
  const assembler = new ModelAssembler(network.name, format, where);
  const output = outputOf(network, options, assembler, where);
  const layers = neededLayers(network, output, options, where);
  const values = new Map<string, LayerValue>();
  const start = startOf(layers, network.named.get(options.input ?? ''), assembler, where);
  const startNode = assembler.add({ op: 'input', name: start.name, inputs: [], shape: inputShape(start, network.layers, options, where) });
  values.set(start.key, { node: startNode });
  for (const layer of layers) {
    if (layer === start) continue;
    // Other inputs were noted; what they feed is looked at with the first in their place.
    if (layer.className === 'InputLayer') {
      values.set(layer.key, { node: startNode });
      continue;
    }
    const inputs = layer.inputs.map((key) => values.get(key)).filter((value) => value !== undefined);
    values.set(layer.key, take(layer, inputs, { assembler, store, where, isTfjs: format === 'tfjs', start: { node: startNode } }));
  }
  const last = values.get(output) ?? { node: startNode };
  if (last.affine !== undefined) {
    const { layer, className } = last.affine;
    const remedy = 'Leave it out and apply it to the outputs.';
    assembler.unsupported({ name: layer, op: className, reason: 'no layer follows into which it could be folded', remedy });
  }
  return { assembler, output: last.node };
}

interface Surroundings {
  readonly assembler: ModelAssembler;
  readonly store: WeightStore;
  readonly where: string;
  readonly isTfjs: boolean;
  readonly start: LayerValue;
}

/** The value of a layer; of one that cannot be taken, that of its first input, so that what follows is looked at too. */
function take(layer: KerasLayer, inputs: readonly LayerValue[], { assembler, store, where, isTfjs, start }: Surroundings): LayerValue {
  const instead = { node: (inputs[0] ?? start).node };
  const note = (reason: string, remedy: string): LayerValue => {
    assembler.unsupported({ name: layer.key, op: layer.className, reason, remedy });
    return instead;
  };
  if (layer.objection !== undefined) return note(layer.objection.reason, layer.objection.remedy);
  if (isQuantized(layer)) return note('its weights are quantized', 'Save the model from before model.quantize.');
  try {
    return readLayer(new LayerReader(layer, inputs, assembler, store, where, isTfjs));
  } catch (error) {
    if (error instanceof Refusal) return note(error.reason, error.remedy);
    // After a layer that was left out, shapes need not fit.
    if (error instanceof PcqatError && !assembler.complete) return instead;
    throw error;
  }
}

/** Keras 3 marks layers that `model.quantize` changed in their dtype policy. */
function isQuantized({ config }: KerasLayer): boolean {
  const policy = field(config, 'dtype');
  const name = typeof policy === 'string' ? policy : field(policy, 'class_name');
  return typeof name === 'string' && /int|float8|Quantized|gptq|awq/i.test(name);
}

/** The layer where the model ends. */
function outputOf(network: Network, options: ImportOptions, assembler: ModelAssembler, where: string): string {
  if (options.output !== undefined) return named(network, options.output, 'output', where);
  const [first = '', ...others] = network.outputs;
  for (const name of others) {
    const remedy = `Choose one with the option output: '${first}', for one.`;
    assembler.unsupported({ name, op: 'output', reason: 'the model has several outputs', remedy });
  }
  return first;
}

function named(network: Network, name: string, option: string, where: string): string {
  const key = network.named.get(name);
  if (key !== undefined) return key;
  const some = network.layers.slice(-5).map((layer) => layer.key);
  throw new PcqatError('ERR_OPTION', `the model has no layer '${name}'`, {
    where: `${where}, ${option}`,
    remedy: `Its last layers are ${some.join(', ')}.`,
  });
}

/** The layers that lead to the output, from where the model starts. */
function neededLayers(network: Network, output: string, options: ImportOptions, where: string): readonly KerasLayer[] {
  const cut = options.input === undefined ? undefined : named(network, options.input, 'input', where);
  const needed = new Set([output]);
  const layers = network.layers.toReversed().filter((layer) => {
    if (!needed.has(layer.key)) return false;
    if (layer.key !== cut) layer.inputs.forEach((input) => needed.add(input));
    return true;
  });
  if (cut !== undefined && !needed.has(cut)) {
    throw new PcqatError('ERR_OPTION', `the model's output does not depend on '${options.input}'`, { where: `${where}, input` });
  }
  return layers.toReversed();
}

/** The layer whose output is the graph's input. */
function startOf(layers: readonly KerasLayer[], cut: string | undefined, assembler: ModelAssembler, where: string): KerasLayer {
  const starts = layers.filter(({ className, key }) => className === 'InputLayer' && key !== cut);
  const start = layers.find(({ key }) => key === cut) ?? starts[0];
  if (start === undefined) throw new PcqatError('ERR_FORMAT', 'the model has no input', { where });
  for (const { key } of starts.filter((layer) => layer !== start)) {
    const remedy = 'Cut the model with the options input and output so that one is left.';
    assembler.unsupported({ name: key, op: 'InputLayer', reason: 'the model has several inputs', remedy });
  }
  return start;
}
