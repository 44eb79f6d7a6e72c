import type { Model } from '../graph/model.js';
import { lower } from '../train/lower.js';
import { ModelSession } from '../train/model-session.js';
import { type Difference, DifferenceSum } from './difference.js';
import type { InferenceOptions } from './graph-runner.js';
import { pairBlocks } from './layer-pairs.js';

/** A layer in two models. Its value is taken behind its batch normalization and activation. */
export interface LayerComparison extends Difference {
  /** Names of the layer in the first and in the second model. */
  readonly a: string;
  readonly b: string;
}

/** What {@link compareModelLayers} found. */
export interface LayerComparisons {
  /** How layers were paired. */
  readonly by: 'name' | 'order';
  readonly layers: readonly LayerComparison[];
  /** Layers with weights of the first and second model that could not be compared: no partner, or another shape. */
  readonly unmatched: readonly (readonly string[])[];
}

/**
 * Compares two models layer by layer on the same rows.
 *
 * @param x - some rows; all values of the models are kept for them
 * @returns `undefined` where the models' layers cannot be paired
 */
export async function compareModelLayers(
  a: Model,
  b: Model,
  x: Float32Array,
  rows: number,
  { threads }: InferenceOptions = {},
): Promise<LayerComparisons | undefined> {
  const pairing = pairBlocks(a.graph, b.graph);
  if (pairing === undefined) return undefined;
  const settings = { keepValues: true, maxBatch: rows, ...(threads === undefined ? {} : { threads }) };
  const sessions: ModelSession[] = [];
  try {
    for (const model of [a, b]) {
      const session = new ModelSession(model, lower(model), settings);
      sessions.push(session);
      await session.forward(x);
    }
    const layers: LayerComparison[] = [];
    const unmatched = pairing.unmatched.map((names) => [...names]);
    for (const [one, other] of pairing.pairs) {
      const [value, partner] = [sessions[0]!.value(one.end), sessions[1]!.value(other.end)];
      if (value === undefined || value.length !== partner?.length) {
        unmatched[0]?.push(one.layer.name);
        unmatched[1]?.push(other.layer.name);
        continue;
      }
      layers.push({ a: one.layer.name, b: other.layer.name, ...new DifferenceSum().add(value, partner).result() });
    }
    return { by: pairing.by, layers, unmatched };
  } finally {
    for (const session of sessions) session.dispose();
  }
}
