import type { Model } from '../../graph/model.js';
import { materializeWeight } from '../materialize.js';
import { affine, fakeQuantized, finite, type FoldOptions } from './fold.js';

/** What a float operator with weights stores. */
export interface FloatWeights {
  /** In the model's layout. */
  readonly kernel: Float32Array;
  readonly bias: Float32Array;
}

/** Folds a batch norm into the kernel and bias of an operator. A kernel with fake quantization comes out on its grid, as it is used. */
export function foldFloatWeights(model: Model, options: Omit<FoldOptions, 'perChannel' | 'inputScale'>): FloatWeights {
  const { channels, layer, channelOf = (i: number) => i % channels } = options;
  const { factors, offsets } = affine(model, options);
  const kernel = layer === undefined ? new Float32Array(channels).fill(1) : usedWeight(model, `${layer}/kernel`);
  return { kernel: kernel.map((w, i) => w * (factors[channelOf(i)] ?? 0)), bias: offsets };
}

/** A weight as its layer uses it, fake quantization included. */
export function usedWeight(model: Model, parameter: string): Float32Array {
  const kernel = finite(materializeWeight(model, parameter), parameter);
  const fakeQuant = model.chains.get(parameter)?.fakeQuant;
  return fakeQuant === undefined ? kernel : fakeQuantized(model, parameter, kernel, fakeQuant);
}
