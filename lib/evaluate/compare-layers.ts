import type { TfliteModel, TfliteTensor } from '../formats/tflite/types.js';
import type { Model } from '../graph/model.js';
import { lower } from '../train/lower.js';
import { ModelSession } from '../train/model-session.js';
import { type Difference, DifferenceSum } from './difference.js';
import { dequantize, type Int8Options, quantize } from './int8.js';
import { type Block, blocksOf, blocksOfFile, pairBlocks } from './layer-pairs.js';
import type { Runner } from './runner.js';
import { keptValues } from './simulation.js';

/** A layer in two models. Its value is taken behind its batch normalization and activation. */
export interface LayerComparison extends Difference {
  /** Names of the layer in the first and in the second model. */
  readonly a: string;
  readonly b: string;
}

/** Two models layer by layer. */
export interface LayerComparisons {
  /** How layers were paired. */
  readonly by: 'name' | 'order';
  /** Rows that they were compared on. */
  readonly rows: number;
  readonly layers: readonly LayerComparison[];
  /** Layers with weights of the first and second model that could not be compared: no partner, or another shape. */
  readonly unmatched: readonly (readonly string[])[];
}

/** A model whose values inside can be seen. */
interface Open {
  readonly blocks: readonly Block[];
  /** Values of blocks for all rows; those that cannot be seen are absent. */
  values(x: Float32Array, rows: number, blocks: readonly Block[]): Promise<ReadonlyMap<Block, Float32Array>>;
}

function openGraph(model: Model, { threads }: Int8Options): Open {
  return {
    blocks: blocksOf(model.graph),
    values: async (x, rows, blocks) => {
      const settings = { keepValues: true, maxBatch: rows, ...(threads === undefined ? {} : { threads }) };
      const session = new ModelSession(model, lower(model), settings);
      try {
        await session.forward(x);
        return new Map(
          blocks.flatMap((block) => {
            const value = session.value(block.end);
            return value === undefined ? [] : [[block, value]];
          }),
        );
      } finally {
        session.dispose();
      }
    },
  };
}

function openFile(tflite: TfliteModel, options: Int8Options): Open {
  return {
    blocks: blocksOfFile(tflite),
    values: async (x, _rows, blocks) => {
      const indices = blocks.map(({ tensor }) => tensor ?? -1);
      const input = tflite.tensors[tflite.inputs[0] ?? -1] as TfliteTensor;
      const kept = await keptValues(tflite, quantize(x, input), indices, options);
      return new Map(blocks.map((block, i) => [block, dequantize(kept[i]!, tflite.tensors[indices[i]!] as TfliteTensor)]));
    },
  };
}

const opened = ({ model, tflite }: Runner, options: Int8Options): Open | undefined =>
  model !== undefined ? openGraph(model, options) : tflite !== undefined ? openFile(tflite, options) : undefined;

/**
 * Compares two native models layer by layer on the same rows.
 *
 * @param x - some rows; all values of the models are kept for them
 * @returns `undefined` where one cannot be looked into or the layers cannot be paired
 */
export async function compareModelLayers(
  a: Runner,
  b: Runner,
  x: Float32Array,
  rows: number,
  options: Int8Options = {},
): Promise<LayerComparisons | undefined> {
  const [first, second] = [opened(a, options), opened(b, options)];
  if (first === undefined || second === undefined) return undefined;
  const pairing = pairBlocks(first.blocks, second.blocks);
  if (pairing === undefined) return undefined;
  const [values, others] = await Promise.all(
    [first, second].map((one, side) =>
      one.values(
        x,
        rows,
        pairing.pairs.map((pair) => pair[side]!),
      ),
    ),
  );
  const layers: LayerComparison[] = [];
  const unmatched = pairing.unmatched.map((names) => [...names]);
  for (const [one, other] of pairing.pairs) {
    const [value, partner] = [values?.get(one), others?.get(other)];
    if (value === undefined || value.length !== partner?.length) {
      unmatched[0]?.push(one.layer);
      unmatched[1]?.push(other.layer);
      continue;
    }
    layers.push({ a: one.layer, b: other.layer, ...new DifferenceSum().add(value, partner).result() });
  }
  return { by: pairing.by, rows, layers, unmatched };
}
