export { materializeWeight, weightRange, type WeightRange } from './compress/materialize.js';
export { inspectTflite, type TensorSummary, type TfliteLayerSummary, type TfliteSummary } from './formats/tflite/inspect.js';
export { readTflite, readTfliteFile } from './formats/tflite/read.js';
export type { TfliteModel, TfliteOperator, TfliteTensor } from './formats/tflite/types.js';
export { encodeTflite, writeTflite } from './formats/tflite/write.js';
export {
  GraphBuilder,
  type ActivationOptions,
  type BatchNormOptions,
  type Conv2dOptions,
  type ConvolutionOptions,
  type DenseOptions,
  type DepthwiseConv2dOptions,
  type LayerOptions,
  type PairLike,
  type Pool2dOptions,
  type Value,
  type WindowOptions,
  type ZeroPad2dOptions,
} from './graph/builder.js';
export { createModel, type CreateModelOptions } from './graph/initialize.js';
export { cloneModel, countParameters, parameterNames, type Model, type OptimizerState, type Tensor } from './graph/model.js';
export { inferShapes } from './graph/shapes.js';
export type { Graph, GraphNode, Padding, Pair, Shape } from './graph/types.js';
export { validateGraph } from './graph/validate.js';
export * as zoo from './graph/zoo/index.js';
export { PcqatError, type PcqatErrorCode, type PcqatErrorDetails } from './errors.js';
