import { convertConstant, convertShape } from './constants.js';
import { type ImportContext, integer, IS_FLOAT, refuse } from './context.js';
import { convert, convertTransposed } from './convolutions.js';
import { convertGemm, convertMatMul } from './dense.js';
import {
  convertActivation,
  convertArithmetic,
  convertClip,
  convertHardSigmoid,
  convertLeakyRelu,
  convertSoftmax,
  convertSum,
} from './elementwise.js';
import { convertBatchNorm } from './normalization.js';
import { convertGlobalPool, convertPool, convertReduceMean } from './pools.js';
import {
  convertConcat,
  convertFlatten,
  convertPad,
  convertReshape,
  convertResize,
  convertSqueeze,
  convertTranspose,
  convertUnsqueeze,
} from './shape-operators.js';
import { dataTypeName } from './tensors.js';
import { DATA_TYPES, type OnnxNode } from './types.js';
import type { Value } from './values.js';

type Convert = (context: ImportContext, node: OnnxNode) => Value;

/** In inference they pass their input on. */
const same: Convert = (context, node) => context.activation(node);

const convertCast: Convert = (context, node) => {
  const to = integer(node, 'to', DATA_TYPES.float);
  return IS_FLOAT.has(to) ? context.activation(node) : refuse(`it converts to ${dataTypeName(to)}`, 'Keep activations in floating point.');
};

/** Operators of ONNX that are taken. Those whose inputs are all constants are computed before. */
export const OPERATORS: ReadonlyMap<string, Convert> = new Map<string, Convert>([
  ['Add', convertArithmetic],
  ['AveragePool', convertPool],
  ['BatchNormalization', convertBatchNorm],
  ['Cast', convertCast],
  ['Clip', convertClip],
  ['Concat', convertConcat],
  ['Constant', convertConstant],
  ['Conv', convert],
  ['ConvTranspose', convertTransposed],
  ['Div', convertArithmetic],
  ['Dropout', same],
  ['Flatten', convertFlatten],
  ['Gemm', convertGemm],
  ['GlobalAveragePool', convertGlobalPool],
  ['GlobalMaxPool', convertGlobalPool],
  ['HardSigmoid', convertHardSigmoid],
  ['HardSwish', convertActivation],
  ['Identity', same],
  ['LeakyRelu', convertLeakyRelu],
  ['MatMul', convertMatMul],
  ['Max', convertClip],
  ['MaxPool', convertPool],
  ['Min', convertClip],
  ['Mul', convertArithmetic],
  ['PRelu', convertLeakyRelu],
  ['Pad', convertPad],
  ['ReduceMean', convertReduceMean],
  ['Relu', convertActivation],
  ['Reshape', convertReshape],
  ['Resize', convertResize],
  ['Shape', convertShape],
  ['Sigmoid', convertActivation],
  ['Softmax', convertSoftmax],
  ['Squeeze', convertSqueeze],
  ['Sub', convertArithmetic],
  ['Sum', convertSum],
  ['Tanh', convertActivation],
  ['Transpose', convertTranspose],
  ['Unsqueeze', convertUnsqueeze],
  ['Upsample', convertResize],
]);

const QUANTIZED = 'Use the float model; pcqat quantizes it itself.';

/** What to do about operators that are not taken, by what is special about them. */
export function remedyFor(op: string): { readonly reason: string; readonly remedy: string } {
  if (/^(Q[A-Z]|Quantize|Dequantize|DynamicQuantize|ConvInteger|MatMulInteger)/.test(op)) {
    return { reason: 'the file is quantized, or a part of it', remedy: QUANTIZED };
  }
  if (/^(LSTM|GRU|RNN|Loop|Scan|If)$/.test(op)) return { reason: 'it is recurrent or conditional', remedy: 'Use a feed-forward network.' };
  if (op === 'LogSoftmax') return { reason: 'it is no layer of ours', remedy: 'End the model at its input, with the option `output`.' };
  return { reason: 'it is no operator that pcqat has', remedy: 'Replace it, or cut it off with the options `input` and `output`.' };
}
