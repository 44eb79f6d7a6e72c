import type { Model } from '../graph/model.js';
import { fitWith } from '../train/fit.js';
import type { FitOptions } from '../train/fit-options.js';
import type { History } from '../train/history.js';
import { openTfjsSession } from './engine.js';
import type { Tfjs } from './tfjs.js';

/** Options of {@link fitTfjs}: those of `fit`, without what belongs to the native core. */
export type TfjsFitOptions = Omit<FitOptions, 'threads' | 'gradients' | 'isa'>;

/**
 * `fit` on the backend of the caller's tfjs: the same loop, options, callbacks, errors and results. Batches, dropout, masks, codebooks and
 * ranges are those of `fit` with the same seed, so both give the same model but for the rounding of sums.
 *
 * Mask updates and the summaries after each epoch are computed by the native core, as everywhere in pcqat.
 *
 * @param tf - `@tensorflow/tfjs-core`, `@tensorflow/tfjs` or `@tensorflow/tfjs-node`, with a backend registered that has gradients
 * @throws PcqatError as `fit`; `ERR_UNSUPPORTED` when the backend lacks a kernel, naming it and, in the forward pass, the layer.
 *
 * @example
 * ```ts
 * import '@tensorflow/tfjs-backend-cpu';
 * import '@tensorflow/tfjs-layers'; // registers the gradients, as `@tensorflow/tfjs` does
 * import * as tf from '@tensorflow/tfjs-core';
 * import { adam, createModel, GraphBuilder } from 'pcqat';
 * import { fitTfjs } from 'pcqat/tfjs';
 * const g = new GraphBuilder('xor');
 * const hidden = g.dense(g.input([2]), { units: 8, activation: 'relu' });
 * const model = createModel(g.build(g.dense(hidden, { units: 2 })));
 * const train = { name: 'xor', size: 4, inputShape: [2], x: Float32Array.of(0, 0, 0, 1, 1, 0, 1, 1), y: Int32Array.of(0, 1, 1, 0) };
 * const history = await fitTfjs(tf, model, { train, epochs: 50, optimizer: adam({ learningRate: 0.05 }) });
 * console.log(history.epochs.at(-1)?.accuracy);
 * ```
 */
export async function fitTfjs(tf: Tfjs, model: Model, options: TfjsFitOptions): Promise<History> {
  return fitWith(openTfjsSession(tf), model, options);
}
