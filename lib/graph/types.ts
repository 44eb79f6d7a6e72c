/** Static shape without the batch dimension, e.g. `[49, 10, 1]` (NHWC) or `[64]`. */
export type Shape = readonly number[];

/** `[height, width]`. */
export type Pair = readonly [number, number];

/** TensorFlow's padding schemes. */
export type Padding = 'same' | 'valid';

/** Padding of one-dimensional convolutions; `causal` puts all of it before the start, so that no output sees a later input. */
export type Padding1d = Padding | 'causal';

interface NodeBase {
  /** Unique in the graph; also the layer name in messages, reports and exported files. */
  readonly name: string;
  /** Names of the nodes that feed this one, in order. */
  readonly inputs: readonly string[];
}

/** Start of the graph. Exactly one per graph. */
export interface InputNode extends NodeBase {
  readonly op: 'input';
  readonly shape: Shape;
}

/** 2-D convolution. Parameters: `<name>/kernel` `[kh, kw, in, filters]`, `<name>/bias` `[filters]`. */
export interface Conv2dNode extends NodeBase {
  readonly op: 'conv2d';
  readonly filters: number;
  readonly kernelSize: Pair;
  readonly strides: Pair;
  readonly padding: Padding;
  readonly dilation: Pair;
  readonly useBias: boolean;
}

/** Depthwise convolution. Parameters: `<name>/kernel` `[kh, kw, in, multiplier]`, `<name>/bias` `[in·multiplier]`. */
export interface DepthwiseConv2dNode extends NodeBase {
  readonly op: 'depthwiseConv2d';
  readonly kernelSize: Pair;
  readonly strides: Pair;
  readonly padding: Padding;
  readonly dilation: Pair;
  readonly depthMultiplier: number;
  readonly useBias: boolean;
}

/** 1-D convolution. Parameters: `<name>/kernel` `[k, in, filters]`, `<name>/bias` `[filters]`. */
export interface Conv1dNode extends NodeBase {
  readonly op: 'conv1d';
  readonly filters: number;
  readonly kernelSize: number;
  readonly strides: number;
  readonly padding: Padding1d;
  readonly dilation: number;
  readonly useBias: boolean;
}

/** 1-D depthwise convolution. Parameters: `<name>/kernel` `[k, in, multiplier]`, `<name>/bias` `[in·multiplier]`. */
export interface DepthwiseConv1dNode extends NodeBase {
  readonly op: 'depthwiseConv1d';
  readonly kernelSize: number;
  readonly strides: number;
  readonly padding: Padding1d;
  readonly dilation: number;
  readonly depthMultiplier: number;
  readonly useBias: boolean;
}

/**
 * Transposed 2-D convolution: the gradient of a convolution by its input, as Keras has it.
 * Parameters: `<name>/kernel` `[kh, kw, filters, in]` (output channels before input channels), `<name>/bias` `[filters]`.
 */
export interface Conv2dTransposeNode extends NodeBase {
  readonly op: 'conv2dTranspose';
  readonly filters: number;
  readonly kernelSize: Pair;
  readonly strides: Pair;
  readonly padding: Padding;
  readonly useBias: boolean;
}

/** Fully connected layer on the last (only) axis. Parameters: `<name>/kernel` `[in, units]`, `<name>/bias` `[units]`. */
export interface DenseNode extends NodeBase {
  readonly op: 'dense';
  readonly units: number;
  readonly useBias: boolean;
}

/**
 * Batch normalization over the last axis (Ioffe & Szegedy 2015).
 * Parameters: `<name>/gamma`, `/beta`, `/moving_mean`, `/moving_variance`, each `[channels]`.
 */
export interface BatchNormNode extends NodeBase {
  readonly op: 'batchNorm';
  readonly momentum: number;
  readonly epsilon: number;
}

/** Activation functions without attributes: max(x, 0), min(max(x, 0), 6), 1 / (1 + e⁻ˣ), tanh x, x · relu6(x + 3) / 6. */
export interface ActivationNode extends NodeBase {
  readonly op: 'relu' | 'relu6' | 'sigmoid' | 'tanh' | 'hardSwish';
}

/** x, or `alpha · x` where x is negative. */
export interface LeakyReluNode extends NodeBase {
  readonly op: 'leakyRelu';
  readonly alpha: number;
}

/** Element-wise sum of two values of the same shape. */
export interface AddNode extends NodeBase {
  readonly op: 'add';
}

/**
 * Element-wise product of two values of the same shape, or of a value and one factor per channel
 * (`[c]`, `[1, c]` or `[1, 1, c]`), as squeeze-and-excitation gates are.
 */
export interface MultiplyNode extends NodeBase {
  readonly op: 'multiply';
}

/** Two or more values side by side on the last axis; their other dimensions are equal. */
export interface ConcatNode extends NodeBase {
  readonly op: 'concat';
}

export interface Pool1dNode extends NodeBase {
  readonly op: 'averagePool1d' | 'maxPool1d';
  readonly poolSize: number;
  readonly strides: number;
  readonly padding: Padding;
}

export interface Pool2dNode extends NodeBase {
  readonly op: 'averagePool2d' | 'maxPool2d';
  readonly poolSize: Pair;
  readonly strides: Pair;
  readonly padding: Padding;
}

/** Mean over height and width: `[h, w, c]` → `[c]`. */
export interface GlobalAveragePool2dNode extends NodeBase {
  readonly op: 'globalAveragePool2d';
}

/** Mean over the length: `[length, c]` → `[c]`. */
export interface GlobalAveragePool1dNode extends NodeBase {
  readonly op: 'globalAveragePool1d';
}

/** Each pixel becomes `size` pixels: copies of it (`nearest`), or interpolated between pixel centres (`bilinear`, as TF2's `tf.image.resize`). */
export interface UpSampling2dNode extends NodeBase {
  readonly op: 'upSampling2d';
  readonly size: Pair;
  readonly interpolation: 'nearest' | 'bilinear';
}

/** Zero padding of height and width. */
export interface ZeroPad2dNode extends NodeBase {
  readonly op: 'zeroPad2d';
  /** `[[top, bottom], [left, right]]`. */
  readonly padding: readonly [Pair, Pair];
}

export interface FlattenNode extends NodeBase {
  readonly op: 'flatten';
}

export interface ReshapeNode extends NodeBase {
  readonly op: 'reshape';
  readonly shape: Shape;
}

export interface DropoutNode extends NodeBase {
  readonly op: 'dropout';
  /** Fraction of elements dropped, in [0, 1). */
  readonly rate: number;
}

/** Softmax over the last axis. As the last node it is left out of the training program (the loss works on logits). */
export interface SoftmaxNode extends NodeBase {
  readonly op: 'softmax';
}

export type GraphNode =
  | InputNode
  | Conv2dNode
  | DepthwiseConv2dNode
  | Conv1dNode
  | DepthwiseConv1dNode
  | Conv2dTransposeNode
  | DenseNode
  | BatchNormNode
  | ActivationNode
  | LeakyReluNode
  | AddNode
  | MultiplyNode
  | ConcatNode
  | Pool1dNode
  | Pool2dNode
  | GlobalAveragePool1dNode
  | GlobalAveragePool2dNode
  | UpSampling2dNode
  | ZeroPad2dNode
  | FlattenNode
  | ReshapeNode
  | DropoutNode
  | SoftmaxNode;

/** A model's structure as plain immutable data. Nodes are in topological order; the last one is the output. */
export interface Graph {
  readonly name: string;
  readonly nodes: readonly GraphNode[];
}
