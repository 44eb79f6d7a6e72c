/**
 * The whole contract between TypeScript and the native core.
 *
 * The core knows no file format, no model name and no layer name beyond the labels given here for messages.
 * All f32 arrays are row-major; activations are NHWC (batch first), convolution kernels HWIO
 * (`[kh, kw, in, out]`), depthwise kernels `[kh, kw, in, multiplier]`, dense kernels `[in, out]`.
 *
 * Every function throws a `PcqatError` (the class handed to {@link Binding.setErrorClass}) with a stable `code`.
 * Asynchronous work runs off the JavaScript thread; typed arrays passed in are copied before the call returns.
 */

/** Instruction sets a build may contain. The best one the CPU has is used unless `PCQAT_ISA` names another. */
export type Isa = 'scalar' | 'avx2' | 'avx512' | 'avx512vnni' | 'avx512bf16' | 'neon';

/** Index into {@link ProgramSpec.tensors}. */
export type TensorId = number;
/** Index into {@link ProgramSpec.values}. */
export type ValueId = number;

/** A parameter or piece of state that outlives a step. */
export interface TensorSpec {
  /** Unique, e.g. `conv1/kernel`. Used in error messages. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: 'f32' | 'u8' | 'i32';
  /** Gets a gradient and optimizer slots. Only `f32`. */
  readonly trainable: boolean;
  /** Subject to the optimizer's weight decay. Default `false`. Masked weights never decay towards or away from zero. */
  readonly weightDecay?: boolean;
  /** No optimizer update takes an element below this. Default: none. Only trainable tensors. */
  readonly minimum?: number;
}

/** An activation. The leading batch dimension is implied. */
export interface ValueSpec {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Fused activation function. */
export type Activation = 'none' | 'relu' | 'relu6';

/**
 * How a training forward moves a range before it quantizes with it (spec 3.4). r = the range of the values, 0 included.
 * - `lastValue`: the range becomes r.
 * - `movingAverage`: `v -= (v - r) * f32(1 - decay)`.
 * - `runningMinMax`: the range widens to cover r (TF's AllValues).
 * - `none`: the range is fixed.
 */
export type RangeUpdate = 'lastValue' | 'movingAverage' | 'runningMinMax' | 'none';

/** Fake quantization of an activation, per tensor (spec 3.4, 3.5). */
export interface ActivationFakeQuant {
  /** `f32` scalar state tensors. */
  readonly min: TensorId;
  readonly max: TensorId;
  /** 2–8, default 8. */
  readonly bits?: number;
  /** r is widened until zero lies in its middle. Default `false`. */
  readonly symmetric?: boolean;
  /** The lowest code is not used. Default `false`. */
  readonly narrowRange?: boolean;
  readonly update: RangeUpdate;
  /** Default 0.999. `1 - decay` is taken in double and rounded to f32. */
  readonly decay?: number;
}

/** How the integer sums behind real values become codes. Arrays have 1 element, or one per channel (last axis). */
export interface RequantizedAccumulators {
  /** Real value of 1; positive. */
  readonly scale: Float64Array;
  /** Of the real bias in accumulators, what rounding it to an integer took away: subtracted again. Default 0. */
  readonly offset?: Float64Array;
  /** Real: accumulators to codes; positive, below 2^30. Becomes a fixed-point number as in the integer kernels. */
  readonly multiplier: Float64Array;
  /** The sum is divided by this (MEAN). Default 1. */
  readonly count?: number;
}

/** The rounding of an integer kernel, applied to the real values that it stands for. */
export type Requantization = {
  /** Of the codes; `f32`. The result is `(code - zeroPoint) * scale`. */
  readonly scale: number;
  readonly zeroPoint: number;
} & (
  | {
      /**
       * The nearest accumulator, times its multiplier, rounded after the multiplication and again after the shift (`twice`), or only once
       * (`once`, FULLY_CONNECTED).
       */
      readonly rounding: 'twice' | 'once';
      readonly accumulators: RequantizedAccumulators;
      /** For values below 0, where it differs (leaky ReLU). */
      readonly negative?: RequantizedAccumulators;
    }
  | {
      /** `nearest`: `value / scale` in f32, halves away from zero. `code`: the same with the zero point added first, as means of codes are. */
      readonly rounding: 'nearest' | 'code';
    }
  | {
      /** The kernel's own arithmetic, on the codes of the instruction's operands: its inputs are theirs, not its real output. */
      readonly rounding: 'add';
      readonly inputScale: number;
      readonly otherScale: number;
    }
  | { readonly rounding: 'hardSwish'; readonly inputScale: number }
);

type Pair = readonly [number, number];
/** Explicit padding `[top, bottom, left, right]` (SAME is resolved by the caller). */
type Padding4 = readonly [number, number, number, number];

interface Base {
  /** Layer name for messages. */
  readonly name: string;
  readonly input: ValueId;
  readonly output: ValueId;
}

/** One instruction. Instructions are executed in order; each value is written once. */
export type Instruction =
  | (Base & {
      readonly op: 'conv2d' | 'depthwiseConv2d';
      readonly kernel: TensorId;
      readonly bias?: TensorId;
      readonly strides: Pair;
      readonly padding: Padding4;
      readonly dilation: Pair;
      readonly activation?: Activation;
    })
  | (Base & {
      /**
       * The gradient of a convolution by its input: `padding` is that convolution's, which leads from the output to the input.
       * Kernel `[kh, kw, out, in]`.
       */
      readonly op: 'conv2dTranspose';
      readonly kernel: TensorId;
      readonly bias?: TensorId;
      readonly strides: Pair;
      readonly padding: Padding4;
      readonly activation?: Activation;
    })
  | (Base & { readonly op: 'dense'; readonly kernel: TensorId; readonly bias?: TensorId; readonly activation?: Activation })
  | (Base & {
      readonly op: 'batchNorm';
      readonly gamma: TensorId;
      readonly beta: TensorId;
      readonly movingMean: TensorId;
      readonly movingVariance: TensorId;
      readonly momentum: number;
      readonly epsilon: number;
      readonly activation?: Activation;
      readonly fakeQuant?: ActivationFakeQuant;
    })
  | (Base & { readonly op: 'activation'; readonly activation: Activation; readonly fakeQuant?: ActivationFakeQuant })
  | (Base & {
      readonly op: 'unary';
      /** hardSwish: x · relu6(x + 3) / 6; leakyRelu: x, or `alpha` x below 0. */
      readonly function: 'sigmoid' | 'tanh' | 'hardSwish' | 'leakyRelu';
      /** Given exactly for leakyRelu; at least 0. */
      readonly alpha?: number;
      readonly fakeQuant?: ActivationFakeQuant;
    })
  | (Base & {
      readonly op: 'multiply';
      /** Same shape, or one factor per channel (last axis): all other dimensions 1. */
      readonly other: ValueId;
    })
  | (Base & {
      readonly op: 'concat';
      /** What follows `input` on the last axis; at least one. */
      readonly others: readonly ValueId[];
    })
  | (Base & {
      readonly op: 'upSample';
      readonly size: Pair;
      /** `bilinear` between half-pixel centres. */
      readonly interpolation: 'nearest' | 'bilinear';
    })
  | (Base & {
      readonly op: 'add';
      /** second operand, same shape */ readonly other: ValueId;
      readonly activation?: Activation;
      readonly fakeQuant?: ActivationFakeQuant;
    })
  | (Base & { readonly op: 'averagePool' | 'maxPool'; readonly pool: Pair; readonly strides: Pair; readonly padding: Padding4 })
  | (Base & { readonly op: 'globalAveragePool' })
  | (Base & { readonly op: 'pad'; readonly padding: Padding4 })
  | (Base & { readonly op: 'reshape' })
  | (Base & { readonly op: 'dropout'; /** fraction dropped, [0,1) */ readonly rate: number })
  | (Base & { readonly op: 'fakeQuant'; readonly fakeQuant: ActivationFakeQuant })
  /** In every mode of a forward; a training session refuses it. */
  | (Base & {
      readonly op: 'requantize';
      readonly requantization: Requantization;
      /** Given exactly with `add`: the second operand, same shape. */
      readonly other?: ValueId;
      /** Bounds the codes as a fused activation does. */
      readonly activation?: Activation;
    })
  | (Base & { readonly op: 'softmax' });

/**
 * How a stored weight `w` becomes the used weight `ŵ` (design section 3):
 * mask → nearest centroid → gather → range → fake quantization. Every part is optional.
 * "Channel" is always the last axis of the weight.
 *
 * Every forward checks that masked weights of `ŵ` are exactly zero and that each weight of `ŵ` is the (fake-quantized) centroid of
 * its index, an index in `[0, K)`: see {@link StepResult.violation}.
 */
export interface WeightChainSpec {
  /** The stored weight. Instructions that name it as kernel get `ŵ`. */
  readonly weight: TensorId;
  readonly mask?: {
    /** `u8`, shape of the weight, 1 = keep. */
    readonly tensor: TensorId;
    /** Training writes `w ← w ⊙ M` into the stored weight (pruning, PCQAT). */
    readonly writeBack: boolean;
    /** The gradient of `w` is multiplied by M (PQAT, clustering); otherwise dense (pruning, PCQAT). */
    readonly maskGradient: boolean;
  };
  readonly codebook?: {
    /** `f32`, trainable, `[K]`, or `[channels, K]` when `perChannel`. Any order; ties go to the lowest index. */
    readonly centroids: TensorId;
    /** `i32`, shape of the weight; written by every forward. */
    readonly indices: TensorId;
    readonly perChannel: boolean;
    /** `i32`, `[1]` or `[channels]`; −1 = none. That centroid is set to 0 (in the state) at each training forward. */
    readonly zeroIndex?: TensorId;
    /** Given exactly when `zeroIndex` is. `index`: only that centroid (PCQAT); `equal`: every centroid equal to its current value (clustering, spec 2.6). */
    readonly zeroPin?: 'index' | 'equal';
    readonly aggregation: 'sum' | 'average';
  };
  readonly fakeQuant?: {
    /**
     * `f32`, `[1]` or `[channels]`. `lastValue` (default) follows from the rest of the state, so every forward writes it; the others
     * are moved by training forwards only.
     */
    readonly min: TensorId;
    readonly max: TensorId;
    readonly perChannel: boolean;
    /** 2–8, default 8. */
    readonly bits?: number;
    /** Default `true`. With a narrow range: `[-a, a]`, a = the largest magnitude before quantization. */
    readonly symmetric?: boolean;
    /** Default `true`. */
    readonly narrowRange?: boolean;
    readonly update?: RangeUpdate;
    /** Default 0.999. */
    readonly decay?: number;
  };
}

export type LossSpec =
  /** Mean over the batch of `-Σ q log softmax(logits)`, q = smoothed label. */
  | {
      readonly kind: 'softmaxCrossEntropy';
      readonly logits: ValueId;
      readonly labels: 'sparse' | 'dense';
      readonly labelSmoothing?: number;
    }
  /** Mean over batch and elements of `(prediction - target)²`. */
  | { readonly kind: 'meanSquaredError'; readonly prediction: ValueId };

/** A Graph lowered to a flat list of instructions. */
export interface ProgramSpec {
  readonly tensors: readonly TensorSpec[];
  readonly values: readonly ValueSpec[];
  readonly instructions: readonly Instruction[];
  readonly chains: readonly WeightChainSpec[];
  readonly input: ValueId;
  readonly output: ValueId;
  /** Needed for training. */
  readonly loss?: LossSpec;
}

export type OptimizerSpec =
  /** Spec 0.4; `adamw` adds decoupled decay `w -= lr * weightDecay * w`. */
  | {
      readonly kind: 'adam' | 'adamw';
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly weightDecay?: number;
    }
  /** Keras SGD: `v = momentum * v - lr * g; w += v` (Nesterov: `w += momentum * v - lr * g`). `weightDecay` is L2: `g += weightDecay * w`. */
  | { readonly kind: 'sgd'; readonly momentum: number; readonly nesterov: boolean; readonly weightDecay?: number };

export interface SessionOptions {
  /** Largest number of rows in one call; the arena is planned for it. */
  readonly maxBatch: number;
  /** `true` plans gradients and optimizer slots. */
  readonly training: boolean;
  readonly optimizer?: OptimizerSpec;
  /** Clip gradients to this global L2 norm, before the update. */
  readonly clipNorm?: number;
  /** Clip each gradient element to `[-clipValue, clipValue]`. */
  readonly clipValue?: number;
  /** Worker threads, default = available cores. Results do not depend on it. */
  readonly threads?: number;
  /** Dropout seed, default 0. */
  readonly seed?: number;
  /** Keep every activation readable after `forward` and `trainStep` (no arena reuse). Default `false`. */
  readonly keepValues?: boolean;
  /**
   * What the operands of a convolution's backward products are rounded to; sums stay f32. Default `f32`. `bf16` needs a CPU with AVX-512 BF16,
   * or it is `ERR_OPTION`.
   */
  readonly gradients?: 'f32' | 'bf16';
  /** For tests and benchmarks. */
  readonly isa?: Isa;
}

export interface StepOptions {
  readonly learningRate: number;
  /** 1-based count of optimizer steps; drives Adam's bias correction and the dropout stream. */
  readonly step: number;
  /** `false`: forward, backward, ranges and statistics, but no optimizer update (gradients stay readable). Default `true`. */
  readonly update?: boolean;
}

export interface StepResult {
  readonly loss: number;
  /** Rows whose argmax equals the label (softmaxCrossEntropy; 0 otherwise). */
  readonly correct: number;
  /** Global L2 norm of the gradients before clipping. */
  readonly gradientNorm: number;
  /**
   * Set when the loss, a gradient, a batch statistic or a range is NaN or infinite: the name of the first layer with such
   * an output, else of the tensor. The parameters, state tensors and slots are then exactly as before the call.
   */
  readonly nonFinite?: string;
  /**
   * Set when a weight chain would break its promise: `zeros`, masked weights that are not zero (a codebook without a zero, for one);
   * `clusters`, weights that are not a value of their codebook. The state is then as before the call, and `loss` is NaN.
   */
  readonly violation?: ChainViolation;
}

/** A promise of a weight chain that does not hold. */
export interface ChainViolation {
  /** Name of the chain's weight. */
  readonly tensor: string;
  readonly kind: 'zeros' | 'clusters';
  /** Weights concerned. */
  readonly count: number;
}

export interface ForwardOptions {
  /**
   * `inference` (default): moving BN statistics, fixed activation ranges, no dropout.
   * `training`: as the forward half of a step, state updated.
   * `observe`: like inference, but activation fake quantization passes values through unchanged and widens its range to
   * the data (calibration); `resetRanges` starts the ranges anew.
   */
  readonly mode?: 'inference' | 'training' | 'observe';
  readonly resetRanges?: boolean;
  /** Step number for dropout in `training` mode. */
  readonly step?: number;
}

/**
 * A Program loaded into the core. One call at a time: a second one while busy throws `ERR_SESSION_BUSY`.
 * The constructor checks the whole program: `ERR_GRAPH` (indices, order), `ERR_SHAPE`, `ERR_DTYPE`, `ERR_OPTION`, each
 * naming the layer, tensor or field; `ERR_OUT_OF_MEMORY` when it cannot fit.
 */
export declare class Session {
  constructor(program: ProgramSpec, options: SessionOptions);
  /** Bytes of the arena (activations, gradients, workspaces), planned once. */
  readonly arenaBytes: number;
  readonly threads: number;
  readonly isa: Isa;
  /**
   * Tensors start as zeros. `ERR_NON_FINITE` for NaN or infinity; `ERR_OPTION` for a mask other than 0 and 1, an index
   * outside `[0, K)` or a zero index outside `[-1, K)`.
   */
  setTensor(tensor: TensorId, data: Float32Array | Uint8Array | Int32Array): void;
  /** A copy. */
  getTensor(tensor: TensorId): Float32Array | Uint8Array | Int32Array;
  /** Gradient of the last step, before clipping. Only trainable tensors of a training session. */
  getGradient(tensor: TensorId): Float32Array;
  /** Optimizer slot: adam 0 = m, 1 = v; sgd 0 = velocity. */
  getSlot(tensor: TensorId, slot: number): Float32Array;
  setSlot(tensor: TensorId, slot: number, data: Float32Array): void;
  /** The used weight `ŵ` of a chain after the last forward. */
  getUsedWeight(chain: number): Float32Array;
  /** An activation of the last pass: the output, with `keepValues` any. */
  getValue(value: ValueId): Float32Array;
  /**
   * One training step on `rows = x.length / inputSize` rows. `y`: `Int32Array` labels, or `Float32Array` rows. Trainable
   * tensors that the loss does not depend on are left alone. Rejects, before anything is changed, with `ERR_EMPTY_DATA`,
   * `ERR_SHAPE`, `ERR_DTYPE`, `ERR_NON_FINITE` (in x or y) or `ERR_LABEL_RANGE`. Steps of less than a millisecond run before the call
   * returns, except for one every few milliseconds, so that other events have their turn, and while another call is under way.
   */
  trainStep(x: Float32Array, y: Int32Array | Float32Array, options: StepOptions): Promise<StepResult>;
  /**
   * Value `output` for each row. Rejects, the state as before, with `ERR_NON_FINITE` when it is not finite and with `ERR_INVARIANT`
   * when a chain breaks its promise ({@link StepResult.violation}).
   */
  forward(x: Float32Array, options?: ForwardOptions): Promise<Float32Array>;
  /** Frees native memory at once. Further calls throw `ERR_DISPOSED`. */
  dispose(): void;
}

// ---------------------------------------------------------------- compression functions (synchronous, one tensor)

export interface MaskResult {
  readonly mask: Uint8Array;
  readonly threshold: number;
}

export interface CompressionFunctions {
  /**
   * Spec 1.5, unstructured. `sparsity` in [0,1) (rounded to f32). With `pruneZeros` a weight that is exactly 0 is masked even where the
   * threshold is 0, unless all weights are 0.
   */
  magnitudeMask(w: Float32Array, sparsity: number, pruneZeros?: boolean, isa?: Isa): MaskResult;
  /** Spec 1.5, block; `w` is `[rows, cols]`. */
  blockMask(w: Float32Array, rows: number, cols: number, block: Pair, pooling: 'AVG' | 'MAX', sparsity: number, isa?: Isa): MaskResult;
  /** Spec 1.5, m-by-n. `shape` has rank 2 or 4. */
  mByNMask(w: Float32Array, shape: readonly number[], m: number, n: number): MaskResult;
  /** `w ← w ⊙ mask` in place. A masked weight becomes `+0` (the reference leaves −0, W27). */
  applyMask(w: Float32Array, mask: Uint8Array, isa?: Isa): void;
  /**
   * Spec 2.4. KMEANS_PLUS_PLUS, DENSITY_BASED and LINEAR are bit-exact with the reference. RANDOM is uniform in
   * [min, max) from `seed`. With `preserveSparsity` the result may have fewer than `k` entries (all-zero tensor: `[0]`).
   */
  initCentroids(
    w: Float32Array,
    method: 'linear' | 'random' | 'density-based' | 'kmeans++',
    k: number,
    preserveSparsity: boolean,
    seed?: number,
  ): Float32Array;
  /**
   * Nearest centroid of each weight by searching the sorted codebook; exact f32 distances, ties to the lowest index.
   * `channels = 0`: one codebook; otherwise `centroids` is `[channels, K]` and channel = last axis.
   */
  assignCentroids(w: Float32Array, centroids: Float32Array, channels: number, indices: Int32Array, isa?: Isa): void;
  /** `out[i] = centroids[indices[i]]`. */
  gatherCentroids(indices: Int32Array, centroids: Float32Array, channels: number, out: Float32Array, isa?: Isa): void;
  /** Gradient of the centroids (spec 2.5) from the gradient of the clustered weight, in f32 with a fixed order. */
  centroidGradient(
    indices: Int32Array,
    gradient: Float32Array,
    channels: number,
    k: number,
    aggregation: 'sum' | 'average',
    out: Float32Array,
    isa?: Isa,
  ): void;
  /**
   * Spec 3.5, bit-exact. `min`/`max` have length 1 (per tensor, divides by the scale) or the number of channels
   * (last axis, multiplies by the inverse). With `perChannel` length 1 means one channel.
   */
  fakeQuantize(
    x: Float32Array,
    min: Float32Array,
    max: Float32Array,
    bits: number,
    narrowRange: boolean,
    out: Float32Array,
    isa?: Isa,
    perChannel?: boolean,
  ): void;
  /** `dx = dy` where `x` lies in the nudged range, else 0 (spec 3.5). */
  fakeQuantizeGradient(
    dy: Float32Array,
    x: Float32Array,
    min: Float32Array,
    max: Float32Array,
    bits: number,
    narrowRange: boolean,
    dx: Float32Array,
    isa?: Isa,
  ): void;
  /** Symmetric LastValue range per tensor (`channels = 0`) or per channel: `[-a, a]` (spec 3.4). */
  symmetricRange(w: Float32Array, channels: number, min: Float32Array, max: Float32Array, isa?: Isa): void;
}

// ---------------------------------------------------------------- int8

/** A tensor of an integer program. Shapes include the batch dimension 1 for activations. */
export interface IntegerTensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
  /** `float16` may be in files; the integer executor does not take it. */
  readonly dtype: 'int8' | 'uint8' | 'int16' | 'int32' | 'float16' | 'float32';
  /** f32 values as stored in the file; length 1, or one per channel along `axis`. Empty when not quantized. */
  readonly scale: Float32Array;
  readonly zeroPoint: Int32Array;
  readonly axis: number;
  /** Constant data (little endian bytes), else an activation. */
  readonly data?: Uint8Array;
}

/** One TFLite builtin operator, options by their schema names (enums as strings, e.g. `padding: 'SAME'`). */
export interface IntegerOperatorSpec {
  readonly op: string;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly options: Readonly<Record<string, number | string | boolean | readonly number[]>>;
}

export interface IntegerProgramSpec {
  readonly tensors: readonly IntegerTensorSpec[];
  readonly operators: readonly IntegerOperatorSpec[];
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/** Runs an integer program with the arithmetic of TFLite's reference kernels (spec 5.2). */
export declare class IntegerSession {
  constructor(program: IntegerProgramSpec, options?: { readonly threads?: number; readonly keepValues?: boolean; readonly isa?: Isa });
  /**
   * `input` holds any number of rows of the (single) input tensor; returns as many rows of the (single) output. Calls of about 0.1 ms and
   * less, by the calls before, are done before `run` returns, as handing them to another thread would take longer.
   */
  run(input: Int8Array | Uint8Array | Float32Array): Promise<Int8Array | Uint8Array | Float32Array>;
  /** A tensor of the last row of the last run (needs `keepValues`). */
  getValue(tensor: number): Int8Array | Uint8Array | Int32Array | Float32Array;
  dispose(): void;
}

// ---------------------------------------------------------------- the addon

export interface BuildInfo {
  readonly version: string;
  /** In use by default. */
  readonly isa: Isa;
  /** Compiled in and supported by this CPU, worst to best. */
  readonly availableIsas: readonly Isa[];
  readonly threads: number;
  readonly compiler: string;
}

export interface CudaInfo {
  readonly available: boolean;
  /** Why not, in one sentence. */
  readonly reason?: string;
  readonly device?: string;
  readonly computeCapability?: string;
  readonly driverVersion?: string;
  readonly memoryBytes?: number;
}

export interface Binding extends CompressionFunctions {
  readonly Session: typeof Session;
  readonly IntegerSession: typeof IntegerSession;
  /** Class used for every error: `new ErrorClass(code, message)`. Per Node environment. */
  setErrorClass(errorClass: new (code: string, message: string) => Error): void;
  buildInfo(): BuildInfo;
  /** `c[m,n] = a[m,k] · b[k,n]`; for tests and benchmarks of the GEMM kernel. Single-threaded unless `threads` is given. */
  matmul(a: Float32Array, b: Float32Array, m: number, n: number, k: number, out: Float32Array, isa?: Isa, threads?: number): void;
  /** Loads the CUDA module at `path` (once per process) and says what it found. Never throws for a missing GPU. */
  loadCuda(path: string): CudaInfo;
  /** The compression kernels on the GPU: same semantics, `ERR_CUDA_UNAVAILABLE` unless `loadCuda` found a device. */
  readonly cuda: Pick<
    CompressionFunctions,
    'applyMask' | 'assignCentroids' | 'gatherCentroids' | 'centroidGradient' | 'fakeQuantize' | 'fakeQuantizeGradient' | 'symmetricRange'
  >;
}
