import type { Dataset } from '../../data/types.js';
import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import { elementCount } from '../../graph/shapes.js';
import { calibrate } from '../../train/calibrate.js';
import type { ActivationQuantizer } from '../chains.js';
import { concatOf, needsRange, type Int8Layer } from './int8-layers.js';
import { activationParameters, type ActivationParameters } from './parameters.js';

export interface RangeOptions {
  readonly representativeData?: Dataset;
  readonly samples: number;
  readonly signal?: AbortSignal;
}

/**
 * Scale and zero point of every layer output that has its own: from the trained range of its fake quantization; where there is none,
 * from the smallest and largest value that the float model shows on the representative data. Values that only a concat reads take its.
 */
export async function activationRanges(
  model: Model,
  layers: readonly Int8Layer[],
  options: RangeOptions,
): Promise<ReadonlyMap<string, ActivationParameters>> {
  const concats = concatOf(layers, model.quantizers);
  const outputs = layers.filter((layer) => needsRange(layer) && !concats.has(layer.output)).map(({ output }) => output);
  const missing = outputs.filter((output) => !model.quantizers.has(output));
  const observed = missing.length === 0 ? model : await observe(model, missing, options);
  const input = layers.find(({ node }) => node.op === 'input')?.output;
  const parameters = new Map(
    outputs.map((output) => {
      const [min, max] = [bound(observed, output, 'min'), bound(observed, output, 'max')];
      if (output === input && min === 0 && max === 0) {
        throw new PcqatError('ERR_OPTION', 'the range of the input is 0 to 0: it was never calibrated', {
          where: `layer '${output}'`,
          remedy: 'Train the model with fit, or call calibrate, before converting it.',
        });
      }
      return [output, activationParameters(min, max)];
    }),
  );
  for (const [output, concat] of concats) {
    const shared = parameters.get(concat);
    if (shared !== undefined) parameters.set(output, shared);
  }
  return parameters;
}

function bound(model: Model, node: string, which: 'min' | 'max'): number {
  const value = model.tensors.get(`${node}:${which}`)?.data[0];
  if (value === undefined) {
    throw new PcqatError('ERR_INVARIANT', `the model lacks the state '${node}:${which}'`, { where: `layer '${node}'` });
  }
  if (!Number.isFinite(value))
    throw new PcqatError('ERR_NON_FINITE', `the ${which} of its range is ${value}`, { where: `layer '${node}'` });
  return value;
}

/** The model with the ranges of `nodes` taken from data. Shares its parameters with the source and changes none of them. */
async function observe(model: Model, nodes: readonly string[], { representativeData, samples, signal }: RangeOptions): Promise<Model> {
  if (representativeData === undefined) {
    throw new PcqatError(
      'ERR_OPTION',
      `${nodes.length === 1 ? 'the layer' : 'the layers'} ${nodes.join(', ')} have no trained activation range`,
      {
        where: 'representativeData',
        remedy: 'Pass representativeData (a few hundred typical inputs) so that ranges can be observed, or train with quantizeApply first.',
      },
    );
  }
  const quantizer: ActivationQuantizer = { bits: 8, update: 'runningMinMax', decay: 0.99, rangeInit: 'data' };
  const tensors = new Map(model.tensors);
  for (const node of nodes) for (const which of ['min', 'max']) tensors.set(`${node}:${which}`, { shape: [1], data: new Float32Array(1) });
  const observer: Model = {
    graph: model.graph,
    chains: model.chains,
    tensors,
    quantizers: new Map(nodes.map((node) => [node, quantizer])),
  };
  await calibrate(observer, firstRows(representativeData, samples), signal === undefined ? {} : { signal });
  return observer;
}

function firstRows(data: Dataset, rows: number): Dataset {
  const size = Math.min(rows, data.size);
  const labels = data.size === 0 ? 0 : data.y.length / data.size;
  return { ...data, size, x: data.x.subarray(0, size * elementCount(data.inputShape)), y: data.y.subarray(0, size * labels) };
}
