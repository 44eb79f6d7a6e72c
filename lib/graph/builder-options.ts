import type { Padding, Padding1d, Pair } from './types.js';

/** One number for both axes, or `[height, width]`. */
export type PairLike = number | Pair;

export interface LayerOptions {
  /** Default: the operator and a number, e.g. `conv2d_1`. */
  readonly name?: string;
}

/** Activation functions that a layer can bring along. */
export type ActivationName = 'relu' | 'relu6' | 'sigmoid' | 'tanh' | 'hardSwish' | 'leakyRelu';

export interface ActivationOptions {
  /** Adds a layer `<name>_<activation>` after this one (`leakyRelu` with its default slope). */
  readonly activation?: ActivationName;
}

export interface WindowOptions {
  /** Default 1 for convolutions, the pool size for pools. */
  readonly strides?: PairLike;
  /** Default `valid`, as in Keras. */
  readonly padding?: Padding;
}

export interface ConvolutionOptions extends LayerOptions, ActivationOptions, WindowOptions {
  readonly kernelSize: PairLike;
  /** Default 1. */
  readonly dilation?: PairLike;
  /** Default `true`. */
  readonly useBias?: boolean;
}

export interface Conv2dOptions extends ConvolutionOptions {
  readonly filters: number;
}

export interface DepthwiseConv2dOptions extends ConvolutionOptions {
  /** Output channels per input channel. Default 1. */
  readonly depthMultiplier?: number;
}

export interface Conv1dOptions extends LayerOptions, ActivationOptions {
  readonly filters: number;
  readonly kernelSize: number;
  /** Default 1. */
  readonly strides?: number;
  /** Default `valid`, as in Keras. */
  readonly padding?: Padding1d;
  /** Default 1. */
  readonly dilation?: number;
  /** Default `true`. */
  readonly useBias?: boolean;
}

export interface DepthwiseConv1dOptions extends Omit<Conv1dOptions, 'filters'> {
  /** Output channels per input channel. Default 1. */
  readonly depthMultiplier?: number;
}

export interface Conv2dTransposeOptions extends LayerOptions, ActivationOptions {
  readonly filters: number;
  readonly kernelSize: PairLike;
  /** Default 1. */
  readonly strides?: PairLike;
  /** Default `valid`, as in Keras. */
  readonly padding?: Padding;
  /** Default `true`. */
  readonly useBias?: boolean;
}

export interface SeparableConv2dOptions extends Conv2dOptions {
  /** Channels that the depthwise layer makes of each input channel. Default 1. */
  readonly depthMultiplier?: number;
}

export interface SeparableConv1dOptions extends Conv1dOptions {
  /** Channels that the depthwise layer makes of each input channel. Default 1. */
  readonly depthMultiplier?: number;
}

export interface LeakyReluOptions extends LayerOptions {
  /** Slope for x < 0. Default 0.3, as in Keras 2. */
  readonly alpha?: number;
}

export interface DenseOptions extends LayerOptions, ActivationOptions {
  readonly units: number;
  /** Default `true`. */
  readonly useBias?: boolean;
}

export interface BatchNormOptions extends LayerOptions {
  /** Of the moving statistics. Default 0.99. */
  readonly momentum?: number;
  /** Added to the variance. Default 1e-3. */
  readonly epsilon?: number;
}

export interface Pool2dOptions extends LayerOptions, WindowOptions {
  /** Default 2. */
  readonly poolSize?: PairLike;
}

export interface Pool1dOptions extends LayerOptions {
  /** Default 2. */
  readonly poolSize?: number;
  /** Default the pool size. */
  readonly strides?: number;
  /** Default `valid`, as in Keras. */
  readonly padding?: Padding;
}

export interface UpSampling2dOptions extends LayerOptions {
  /** How many pixels each pixel becomes. Default 2. */
  readonly size?: PairLike;
  /** Default `nearest`. */
  readonly interpolation?: 'nearest' | 'bilinear';
}

export interface ZeroPad2dOptions extends LayerOptions {
  /** `[[top, bottom], [left, right]]`. */
  readonly padding: readonly [Pair, Pair];
}
