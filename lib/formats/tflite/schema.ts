/**
 * The part of the TensorFlow Lite schema (version 3) that pcqat reads and writes: enum numbers and table slots.
 * A slot is the position of a field in its table's declaration, counted from 0 (a union takes two).
 */

export const FILE_IDENTIFIER = 'TFL3';
export const SCHEMA_VERSION = 3;

/** Names of the builtin operators 0–117, in the order of their codes. */
export const OPERATOR_NAMES: readonly string[] = (
  'ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED ' +
  'HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU ' +
  'RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS ' +
  'SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE ' +
  'MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT ' +
  'LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG ' +
  'PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE ' +
  'EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN ' +
  'FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN ' +
  'FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE ' +
  'MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE ' +
  'RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH'
).split(' ');

/** The marker in the old one-byte code field for operators above it. */
export const PLACEHOLDER_FOR_GREATER_OP_CODES = 127;
export const CUSTOM_OPERATOR = 32;

/** Element types that pcqat handles, with their number in the schema and bytes per element. */
export const TENSOR_TYPES = {
  float32: { code: 0, bytes: 4 },
  float16: { code: 1, bytes: 2 },
  int32: { code: 2, bytes: 4 },
  uint8: { code: 3, bytes: 1 },
  int16: { code: 7, bytes: 2 },
  int8: { code: 9, bytes: 1 },
} as const;

export const PADDINGS: readonly string[] = ['SAME', 'VALID'];
export const ACTIVATIONS: readonly string[] = ['NONE', 'RELU', 'RELU_N1_TO_1', 'RELU6', 'TANH', 'SIGN_BIT'];

export type OptionKind = 'int32' | 'int8' | 'bool' | 'float32' | 'int32s' | 'padding' | 'activation';

export interface OptionField {
  readonly name: string;
  readonly kind: OptionKind;
  /** Value of an absent field in the schema; fields with 0, false or the first enum value leave it out. */
  readonly fallback?: number;
}

/** Options table of an operator. A field's slot is its position. */
export interface OperatorSchema {
  readonly code: number;
  /** Number in the `BuiltinOptions` union. */
  readonly optionsType: number;
  readonly fields: readonly OptionField[];
  /** Version written for 8-bit integer tensors; TFLite 2.9 accepts all of these. */
  readonly int8Version: number;
  /** Version written for float tensors. Default 1. */
  readonly floatVersion?: number;
}

const activation: OptionField = { name: 'fusedActivationFunction', kind: 'activation' };
const padding: OptionField = { name: 'padding', kind: 'padding' };
const strides: readonly OptionField[] = [
  { name: 'strideW', kind: 'int32' },
  { name: 'strideH', kind: 'int32' },
];
const dilations: readonly OptionField[] = [
  { name: 'dilationWFactor', kind: 'int32', fallback: 1 },
  { name: 'dilationHFactor', kind: 'int32', fallback: 1 },
];
const pool: readonly OptionField[] = [
  padding,
  ...strides,
  { name: 'filterWidth', kind: 'int32' },
  { name: 'filterHeight', kind: 'int32' },
  activation,
];
const resize: readonly OptionField[] = [
  { name: 'alignCorners', kind: 'bool' },
  { name: 'halfPixelCenters', kind: 'bool' },
];
/** Deprecated fields that keep the slots before the others; the size is an input. */
const oldSize: readonly OptionField[] = [
  { name: 'newHeight', kind: 'int32' },
  { name: 'newWidth', kind: 'int32' },
];

/** Operators whose options pcqat understands. Others keep their name and have empty options. */
export const OPERATOR_SCHEMAS: Readonly<Record<string, OperatorSchema>> = {
  ADD: { code: 0, optionsType: 11, fields: [activation, { name: 'potScaleInt16', kind: 'bool', fallback: 1 }], int8Version: 2 },
  AVERAGE_POOL_2D: { code: 1, optionsType: 5, fields: pool, int8Version: 2 },
  CONCATENATION: { code: 2, optionsType: 10, fields: [{ name: 'axis', kind: 'int32' }, activation], int8Version: 2 },
  CONV_2D: {
    code: 3,
    optionsType: 1,
    fields: [padding, ...strides, activation, ...dilations, { name: 'quantizedBiasType', kind: 'int8' }],
    int8Version: 3,
  },
  DEPTHWISE_CONV_2D: {
    code: 4,
    optionsType: 2,
    fields: [padding, ...strides, { name: 'depthMultiplier', kind: 'int32' }, activation, ...dilations],
    int8Version: 3,
  },
  DEQUANTIZE: { code: 6, optionsType: 38, fields: [], int8Version: 2 },
  FULLY_CONNECTED: {
    code: 9,
    optionsType: 8,
    fields: [
      activation,
      { name: 'weightsFormat', kind: 'int8' },
      { name: 'keepNumDims', kind: 'bool' },
      { name: 'asymmetricQuantizeInputs', kind: 'bool' },
      { name: 'quantizedBiasType', kind: 'int8' },
    ],
    int8Version: 4,
  },
  LOGISTIC: { code: 14, optionsType: 0, fields: [], int8Version: 2 },
  MAX_POOL_2D: { code: 17, optionsType: 5, fields: pool, int8Version: 2 },
  MUL: { code: 18, optionsType: 21, fields: [activation], int8Version: 2 },
  RELU: { code: 19, optionsType: 0, fields: [], int8Version: 2 },
  RELU6: { code: 21, optionsType: 0, fields: [], int8Version: 2 },
  RESHAPE: { code: 22, optionsType: 17, fields: [{ name: 'newShape', kind: 'int32s' }], int8Version: 1 },
  RESIZE_BILINEAR: { code: 23, optionsType: 15, fields: [...oldSize, ...resize], int8Version: 3, floatVersion: 3 },
  SOFTMAX: { code: 25, optionsType: 9, fields: [{ name: 'beta', kind: 'float32' }], int8Version: 2 },
  TANH: { code: 28, optionsType: 0, fields: [], int8Version: 2 },
  PAD: { code: 34, optionsType: 22, fields: [], int8Version: 2 },
  MEAN: { code: 40, optionsType: 27, fields: [{ name: 'keepDims', kind: 'bool' }], int8Version: 2 },
  SQUEEZE: { code: 43, optionsType: 30, fields: [{ name: 'squeezeDims', kind: 'int32s' }], int8Version: 1 },
  SUB: { code: 41, optionsType: 28, fields: [activation], int8Version: 2 },
  TRANSPOSE_CONV: {
    code: 67,
    optionsType: 49,
    fields: [padding, ...strides, activation, { name: 'quantizedBiasType', kind: 'int8' }],
    int8Version: 3,
    floatVersion: 3,
  },
  RESIZE_NEAREST_NEIGHBOR: { code: 97, optionsType: 74, fields: resize, int8Version: 3, floatVersion: 3 },
  LEAKY_RELU: { code: 98, optionsType: 75, fields: [{ name: 'alpha', kind: 'float32' }], int8Version: 1 },
  QUANTIZE: { code: 114, optionsType: 89, fields: [], int8Version: 2 },
  HARD_SWISH: { code: 117, optionsType: 91, fields: [], int8Version: 1 },
};

/** Slots of the tables. */
export const MODEL = { version: 0, operatorCodes: 1, subgraphs: 2, description: 3, buffers: 4 } as const;
export const OPERATOR_CODE = { deprecatedBuiltinCode: 0, customCode: 1, version: 2, builtinCode: 3 } as const;
export const SUBGRAPH = { tensors: 0, inputs: 1, outputs: 2, operators: 3, name: 4 } as const;
export const TENSOR = { shape: 0, type: 1, buffer: 2, name: 3, quantization: 4, isVariable: 5, sparsity: 6, shapeSignature: 7 } as const;
export const QUANTIZATION = { min: 0, max: 1, scale: 2, zeroPoint: 3, detailsType: 4, details: 5, quantizedDimension: 6 } as const;
export const OPERATOR = { opcodeIndex: 0, inputs: 1, outputs: 2, optionsType: 3, options: 4 } as const;
export const BUFFER = { data: 0, offset: 1, size: 2 } as const;
/** Fields in each table, as the builder wants it. */
export const FIELD_COUNT = { model: 5, operatorCode: 4, subgraph: 5, tensor: 8, quantization: 7, operator: 5, buffer: 1 } as const;
