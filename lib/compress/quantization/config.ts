import { PcqatError } from '../../errors.js';
import type { Graph, GraphNode } from '../../graph/types.js';
import type { ActivationQuantizer, ChainFakeQuant, RangeUpdate, WeightChain } from '../chains.js';
import { rangeOf, type WeightRange } from '../materialize.js';
import { isWeighted } from '../registry.js';
import type { ModelDraft, WeightView } from '../state.js';
import { checkQuantizer, type Quantizer } from './quantizers.js';

/** What of a layer is quantized, and how. What is absent is quantized as the scheme does it. Plain data. */
export interface QuantizeConfig {
  /** The kernel; `false`: not at all. The scheme's mask and codebook stay. */
  readonly weights?: Quantizer | false;
  /**
   * The output, per tensor; `false`: not at all. Where a batch norm or ReLU behind the layer belongs to the same int8 operator, this is
   * the operator's output.
   */
  readonly output?: Quantizer | false;
}

/** @returns a frozen copy of a config for `node`. @throws PcqatError `ERR_OPTION` naming layer and field */
export function checkConfig(config: unknown, node: GraphNode): QuantizeConfig {
  const where = `layer '${node.name}', config`;
  const reject = (field: string, problem: string): PcqatError => new PcqatError('ERR_OPTION', problem, { where: `${where}${field}` });
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw reject('', `a quantize config is ${String(config)} but must be an object with weights, output or both`);
  }
  const checked: { weights?: Quantizer | false; output?: Quantizer | false } = {};
  for (const [field, value] of Object.entries(config)) {
    if (field !== 'weights' && field !== 'output') throw reject(`.${field}`, `there is no field '${field}'; there are weights and output`);
    if (value !== undefined) checked[field] = value === false ? false : checkQuantizer(value, `${where}.${field}`);
  }
  if (checked.weights !== undefined && !isWeighted(node)) throw reject('.weights', `the layer (${node.op}) has no kernel to quantize`);
  const { output } = checked;
  if (output !== undefined && output !== false && output.kind !== 'fixed' && output.perAxis) {
    throw reject('.output.perAxis', 'an output has one range; perAxis is for weights');
  }
  return Object.freeze(checked);
}

const UPDATES: Readonly<Record<Quantizer['kind'], RangeUpdate>> = {
  lastValue: 'lastValue',
  movingAverage: 'movingAverage',
  allValues: 'runningMinMax',
  fixed: 'none',
};

/** Only what differs from the default, so that a model that needs nothing new is saved as it always was. */
function deviations(quantizer: Quantizer, symmetric: boolean, narrowRange: boolean): { symmetric?: boolean; narrowRange?: boolean } {
  const isSymmetric = quantizer.kind === 'fixed' ? quantizer.min === -quantizer.max : quantizer.symmetric;
  return {
    ...(isSymmetric === symmetric ? {} : { symmetric: isSymmetric }),
    ...(quantizer.narrowRange === narrowRange ? {} : { narrowRange: quantizer.narrowRange }),
  };
}

/** The chain of a scheme with the weight's quantizer exchanged; undefined when nothing is left of it. */
export function withWeightQuantizer({ fakeQuant: _, ...chain }: WeightChain, quantizer: Quantizer | false): WeightChain | undefined {
  if (quantizer === false) return chain.mask === undefined && chain.codebook === undefined ? undefined : chain;
  const { kind, bits } = quantizer;
  const fakeQuant: ChainFakeQuant = {
    bits,
    perChannel: kind !== 'fixed' && quantizer.perAxis,
    ...deviations(quantizer, true, true),
    ...(kind === 'lastValue' ? {} : { update: UPDATES[kind] }),
    ...(kind === 'movingAverage' && quantizer.decay !== undefined ? { decay: quantizer.decay } : {}),
  };
  return { ...chain, fakeQuant };
}

/** Where the range of a weight starts: as its values say, or with `reference` as the reference does (spec 3.4). */
export function startOfWeight(
  weight: WeightView,
  fakeQuant: ChainFakeQuant,
  quantizer: Quantizer | false | undefined,
  rangeInit: ActivationQuantizer['rangeInit'],
): WeightRange {
  const { perChannel, update = 'lastValue' } = fakeQuant;
  const range = rangeOf(weight.data, perChannel ? weight.channels : 0, fakeQuant);
  if (quantizer !== undefined && quantizer !== false && quantizer.kind === 'fixed') {
    return { min: range.min.fill(quantizer.min), max: range.max.fill(quantizer.max) };
  }
  if (update === 'lastValue' || rangeInit === 'data') return range;
  const start = update === 'movingAverage' ? 6 : 0;
  return { min: range.min.fill(0 - start), max: range.max.fill(start) };
}

/** Puts a quantizer and its first range on the output of a node. `decay` is for moving averages that name none. */
export function setOutputQuantizer(
  draft: ModelDraft,
  node: string,
  quantizer: Quantizer,
  { decay, rangeInit }: Pick<ActivationQuantizer, 'decay' | 'rangeInit'>,
): void {
  const start = rangeInit === 'data' || quantizer.kind === 'allValues' ? 0 : 6;
  const [min, max] = quantizer.kind === 'fixed' ? [quantizer.min, quantizer.max] : [0 - start, start];
  draft.quantizers.set(node, {
    bits: quantizer.bits,
    ...deviations(quantizer, false, false),
    update: UPDATES[quantizer.kind],
    decay: quantizer.kind === 'movingAverage' ? (quantizer.decay ?? decay) : decay,
    rangeInit,
  });
  draft.tensors.set(`${node}:min`, { shape: [1], data: Float32Array.of(min) });
  draft.tensors.set(`${node}:max`, { shape: [1], data: Float32Array.of(max) });
}

/**
 * Which quantized node each configured output is: the layer itself, or the batch norm or ReLU that takes its quantization over.
 *
 * @throws PcqatError `ERR_OPTION` for the output of a layer that has no range of its own, and for two configs of one output
 */
export function configuredOutputs(
  graph: Graph,
  configs: ReadonlyMap<string, QuantizeConfig>,
  outputs: ReadonlySet<string>,
): ReadonlyMap<string, Quantizer | false> {
  const found = new Map<string, Quantizer | false>();
  for (const [layer, { output }] of configs) {
    if (output === undefined) continue;
    const where = `layer '${layer}', config.output`;
    const node = quantizedNode(graph, layer, outputs);
    if (node === undefined && output === false) continue;
    if (node === undefined) {
      throw new PcqatError('ERR_OPTION', 'the layer keeps the range of its input, so its output cannot have a quantizer', {
        where,
        remedy: 'Give the config to the layer before it.',
      });
    }
    if (found.has(node)) throw new PcqatError('ERR_OPTION', `another config quantizes the same output, of '${node}'`, { where });
    found.set(node, output);
  }
  return found;
}

function quantizedNode(graph: Graph, layer: string, outputs: ReadonlySet<string>): string | undefined {
  let name = layer;
  while (!outputs.has(name)) {
    const readers = graph.nodes.filter((node) => node.inputs.includes(name));
    const [next] = readers;
    if (readers.length !== 1 || next === undefined || !['batchNorm', 'relu', 'relu6'].includes(next.op)) return undefined;
    name = next.name;
  }
  return name;
}
