export { assertCertificate, certifyWeights, type WeightCertificate } from './compress/certificate.js';
export type {
  ActivationQuantizer,
  ChainCodebook,
  ChainFakeQuant,
  ChainMask,
  RangeUpdate,
  Technique,
  WeightChain,
} from './compress/chains.js';
export type { CentroidInit } from './compress/clustering/centroids.js';
export { clusterWeights, type ClusterOptions } from './compress/clustering/cluster.js';
export { chooseGranularity, type Granularity, type GranularityChoice, type GranularityOptions } from './compress/clustering/granularity.js';
export { stripClustering } from './compress/clustering/strip.js';
export { materializeWeight, weightRange, type WeightRange } from './compress/materialize.js';
export type { CompressionNotice, NoticeCode, OnNotice } from './compress/notice.js';
export { quantizeAnnotateLayer, quantizeAnnotateModel, type AnnotatedModel } from './compress/quantization/annotate.js';
export type { QuantizeConfig } from './compress/quantization/config.js';
export { quantizeApply, quantizeModel, type QuantizeOptions } from './compress/quantization/apply.js';
export { convertToFloat, type ConvertFloatOptions } from './compress/quantization/convert-float.js';
export { convertToInt8, type ConvertOptions } from './compress/quantization/convert.js';
export { stripClusteringCqat } from './compress/quantization/cqat.js';
export { fixInputOutputRange, removeInputRange, type FixRangeOptions } from './compress/quantization/input-range.js';
export { normalizeBatchNormSigns } from './compress/quantization/normalize-signs.js';
export { projectCodebooks, type ProjectOptions } from './compress/quantization/project.js';
export {
  allValuesQuantizer,
  fixedQuantizer,
  lastValueQuantizer,
  movingAverageQuantizer,
  type AllValuesQuantizer,
  type FixedOptions,
  type FixedQuantizer,
  type LastValueQuantizer,
  type MovingAverageOptions,
  type MovingAverageQuantizer,
  type Quantizer,
  type QuantizerOptions,
} from './compress/quantization/quantizers.js';
export { stripQuantization } from './compress/quantization/strip.js';
export {
  Default8BitClusterPreserveQuantizeScheme,
  Default8BitPrunePreserveQuantizeScheme,
  Default8BitQuantizeScheme,
  type ClusterPreserveOptions,
  type ClusterRecord,
  type QuantizeScheme,
  type SchemeOptions,
  type WeightPlan,
} from './compress/quantization/schemes.js';
export type { LayerSelection, WeightedNode } from './compress/registry.js';
export { updateMask } from './compress/sparsity/mask.js';
export { isPrunedMByN, sparsityOf, type PrunedMByNOptions } from './compress/sparsity/metrics.js';
export type { LayerPolicy } from './compress/sparsity/layer-policy.js';
export { pruneOnce, type PruneOnceOptions } from './compress/sparsity/once.js';
export { pruneLowMagnitude, type PruneOptions } from './compress/sparsity/prune.js';
export {
  constantSparsity,
  polynomialDecay,
  pruningDecision,
  type ConstantSparsityOptions,
  type PolynomialDecayOptions,
  type ScheduleWindow,
} from './compress/sparsity/schedules.js';
export { stripPruning } from './compress/sparsity/strip.js';
export type { PruningDecision, PruningPolicy, PruningSchedule } from './compress/sparsity/types.js';
export { pruneForLatencyOnXnnpack } from './compress/sparsity/xnnpack.js';
export type { WeightView } from './compress/state.js';
export { arrayDataset, oneHot, type ArrayDatasetOptions } from './data/arrays.js';
export * as augment from './data/augment.js';
export type { Augmentation, AugmentedExample } from './data/augment.js';
export { batches, type BatchOptions } from './data/batches.js';
export { loadCifar, readCifar, type CifarOptions } from './data/cifar.js';
export { fsddMfcc, loadFsdd, type FsddOptions } from './data/fsdd.js';
export { loadIdx, readIdx, type IdxArray, type IdxOptions } from './data/idx.js';
export { armMfcc, mfcc, mlperfMfcc, type MfccFunction, type MfccOptions } from './data/mfcc.js';
export { datasetNames, loadDataset } from './data/registry.js';
export { split, type SplitOptions } from './data/split.js';
export { streamBatches, type StreamExample, type StreamOptions } from './data/streams.js';
export type { Batch, Dataset, DatasetSplits, DataSource } from './data/types.js';
export { loadWavFolder, type WavFolderOptions } from './data/wav-folder.js';
export { readWav, toMono, type Wav } from './data/wav.js';
export { classify, type Classification, type ClassifyOptions, type ClassResult } from './evaluate/classification.js';
export type { LayerComparison, LayerComparisons } from './evaluate/compare-layers.js';
export { compareModels, type CompareOptions, type ModelComparison } from './evaluate/compare.js';
export type { Difference } from './evaluate/difference.js';
export { evaluate, predict, type EvaluateOptions, type PredictOptions } from './evaluate/evaluate.js';
export { exportInt8, type ExportOptions } from './evaluate/export.js';
export { certifyExport, type CertifyOptions } from './evaluate/certify.js';
export { assertFidelity, type DeployedAgreement, type Fidelity, measureFidelity } from './evaluate/fidelity.js';
export {
  findForeignRuntime,
  loadForeignRuntime,
  type ForeignRuntime,
  type ForeignRuntimeName,
  type FoundRuntime,
} from './evaluate/foreign.js';
export { evaluateInt8, Int8Runner, runInt8, type Int8Options } from './evaluate/int8.js';
export { runOnnx, type OnnxData, type RunOnnxOptions } from './evaluate/onnxruntime.js';
export { measureLatency, type Latency, type LatencyOptions } from './evaluate/latency.js';
export type { OpenRunnerOptions, Runner, RunnerName } from './evaluate/runner.js';
export { openRunner } from './evaluate/runners.js';
export type { LayerDifference } from './evaluate/simulation.js';
export { verifyExport, type ExportVerification, type VerifiedLayer } from './evaluate/verify.js';
export type { CertificateMismatch } from './formats/certificate/compare.js';
export { encodeCHeader, writeCHeader, type CHeaderOptions } from './formats/c-header/write.js';
export { certificatePath, parseCertificate, readCertificate, writeCertificate } from './formats/certificate/file.js';
export {
  certificateSchema,
  type Agreement,
  type CertifiedLayer,
  type CertifiedOperator,
  type CertifiedTensor,
  type ExportCertificate,
} from './formats/certificate/schema.js';
export { checkImport, importModel } from './formats/import/index.js';
export type { ImportCheck, ImportedModel, ImportFormat, ImportOptions, UnsupportedNode } from './formats/import/types.js';
export { UnsupportedNodesError } from './formats/import/unsupported.js';
export type { OnnxLayout } from './formats/onnx/graph-writer.js';
export { encodeOnnx, writeOnnx, type OnnxOptions } from './formats/onnx/write.js';
export { loadModel } from './formats/pcqat/load.js';
export { saveModel } from './formats/pcqat/save.js';
export { encodeTfjs, type TfjsArtifacts, writeTfjs } from './formats/tfjs/write.js';
export { inspectTflite, type TensorSummary, type TfliteLayerSummary, type TfliteSummary } from './formats/tflite/inspect.js';
export { readTflite, readTfliteFile } from './formats/tflite/read.js';
export type { TfliteModel, TfliteOperator, TfliteTensor } from './formats/tflite/types.js';
export { encodeTflite, writeTflite } from './formats/tflite/write.js';
export type {
  ActivationName,
  ActivationOptions,
  BatchNormOptions,
  Conv1dOptions,
  Conv2dOptions,
  Conv2dTransposeOptions,
  ConvolutionOptions,
  DenseOptions,
  DepthwiseConv1dOptions,
  DepthwiseConv2dOptions,
  LayerOptions,
  LeakyReluOptions,
  PairLike,
  Pool1dOptions,
  Pool2dOptions,
  SeparableConv1dOptions,
  SeparableConv2dOptions,
  UpSampling2dOptions,
  WindowOptions,
  ZeroPad2dOptions,
} from './graph/builder-options.js';
export { GraphBuilder, type Value } from './graph/builder.js';
export { createModel, type CreateModelOptions } from './graph/initialize.js';
export { cloneModel, countParameters, parameterNames, type Model, type OptimizerState, type Tensor } from './graph/model.js';
export { inferShapes } from './graph/shapes.js';
export type { Graph, GraphNode, Padding, Padding1d, Pair, Shape } from './graph/types.js';
export { validateGraph } from './graph/validate.js';
export * as zoo from './graph/zoo/index.js';
export { demoRecipe, type DemoOptions } from './pipeline/demo.js';
export { parseRecipe, readRecipe } from './pipeline/parse.js';
export type { ProgressEvent, Remaining } from './pipeline/progress.js';
export type { ColumnName, Recipe, RecipeInput } from './pipeline/recipe.js';
export { runRecipe, type RunOptions } from './pipeline/run.js';
export { reportHtml } from './report/html.js';
export { markdownTable, textTable } from './report/table.js';
export type {
  ColumnReport,
  DataReport,
  EpochReport,
  ExportReport,
  AgreementReport,
  FidelityReport,
  Histogram,
  LayerReport,
  MachineReport,
  Report,
  StageReport,
} from './report/types.js';
export { calibrate, type CalibrateOptions } from './train/calibrate.js';
export type { Callbacks, StepInfo, Summary } from './train/callbacks.js';
export type { FitOptions } from './train/fit-options.js';
export { fit } from './train/fit.js';
export type { EpochRecord, EpochTotals, History, LayerSummary, TrainingState } from './train/history.js';
export { meanSquaredError, softmaxCrossEntropy, type Loss } from './train/losses.js';
export type { CodebookSummary, ValueHistogram, WeightSummary } from './train/summarize.js';
export type { Evaluation } from './train/metrics.js';
export { adam, adamw, sgd, type AdamOptions, type AdamWOptions, type Optimizer, type SgdOptions } from './train/optimizers.js';
export {
  constant,
  cosineDecay,
  exponentialDecay,
  learningRateAt,
  piecewiseConstant,
  warmUp,
  type LearningRate,
  type LearningRateSchedule,
} from './train/schedules.js';
export { PcqatError, type PcqatErrorCode, type PcqatErrorDetails } from './errors.js';
export { loadCuda, nativeInfo, type NativeInfo } from './native.js';
