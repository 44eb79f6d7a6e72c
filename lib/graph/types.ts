/** Static shape without the batch dimension, e.g. `[49, 10, 1]` (NHWC) or `[64]`. */
export type Shape = readonly number[];

/** `[height, width]`. */
export type Pair = readonly [number, number];

/** TensorFlow's padding schemes. */
export type Padding = 'same' | 'valid';

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

export interface ReluNode extends NodeBase {
  readonly op: 'relu' | 'relu6';
}

/** Element-wise sum of two values of the same shape. */
export interface AddNode extends NodeBase {
  readonly op: 'add';
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
  | DenseNode
  | BatchNormNode
  | ReluNode
  | AddNode
  | Pool2dNode
  | GlobalAveragePool2dNode
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
