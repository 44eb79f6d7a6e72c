import type { ImportOptions } from '../formats/import/types.js';
import type { TfliteModel } from '../formats/tflite/types.js';
import type { Model } from '../graph/model.js';
import type { Shape } from '../graph/types.js';

/** Runtimes that {@link openRunner} knows. `native` is pcqat's own core, the others are optional packages. */
export const RUNNERS = ['native', 'onnxruntime', 'tfjs', 'tflite'] as const;

/** Name of a runtime. */
export type RunnerName = (typeof RUNNERS)[number];

/** A model that is open in a runtime; made by {@link openRunner}. */
export interface Runner {
  /** The runtime and its version, e.g. `onnxruntime-node 1.30.0`. */
  readonly name: string;
  /** Shape of one example without the batch, as data have it: channels last, whatever the file's layout is. */
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  /** Step of the outputs where the model computes them as integers: they are multiples of it. */
  readonly outputScale?: number;
  /** The graph that runs, where it is one: layers can be compared. */
  readonly model?: Model;
  /** The integer model that runs, where it is one of the native executor. */
  readonly tflite?: TfliteModel;
  /**
   * Real-valued outputs for rows of real-valued inputs; one call at a time.
   *
   * @param x - rows × product of `inputShape`
   * @returns rows × product of `outputShape`
   * @throws PcqatError `ERR_SHAPE` for what is not whole rows, `ERR_NON_FINITE` for NaN or infinity in `x`
   */
  run(x: Float32Array, options?: { readonly signal?: AbortSignal }): Promise<Float32Array>;
  /** Frees the runtime's memory. */
  dispose(): void;
}

/** Options of {@link openRunner}. */
export interface OpenRunnerOptions extends Omit<ImportOptions, 'inputShape'> {
  /** Default `native`. */
  readonly runner?: RunnerName;
  /** Default: the runtime's own, all cores in `native` and onnxruntime, one in TFLite. tfjs takes none. */
  readonly threads?: number;
  /** Rows at a time in `native`; does not change the result. Default 128. */
  readonly batchSize?: number;
  /**
   * Shape of one example of the data, channels last, e.g. `[49, 10, 1]`. Tells an ONNX file with channels first from one with channels
   * last, and fills dimensions that the file leaves open. Default: as the file says, channels first in ONNX.
   */
  readonly exampleShape?: Shape;
  /** Shape of the input in the file's own layout, where `native` imports a file that leaves dimensions open. */
  readonly inputShape?: Shape;
}
