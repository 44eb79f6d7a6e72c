import { Builder } from 'flatbuffers';
import { PcqatError } from '../../errors.js';
import { atomicWrite } from '../atomic-write.js';
import * as schema from './schema.js';
import type { TfliteModel, TfliteOperator, TfliteTensor } from './types.js';

/** Runtimes map constants straight from the file and want this alignment. */
const DATA_ALIGNMENT = 16;

/**
 * The bytes of a .tflite file for a model. Equal models give equal bytes.
 *
 * Buffer 0 is empty, as runtimes expect; constant data is aligned to 16 bytes; both the old and the new operator code
 * fields are set, so that old and new runtimes can read the file.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` for an operator that pcqat cannot write; `ERR_OPTION` for an index that names no tensor;
 * `ERR_SHAPE` for constant data, scales or zero points whose length does not fit the shape.
 * @example
 * ```ts
 * import { encodeTflite } from 'pcqat';
 * const quantized = { scale: Float32Array.of(0.1), zeroPoint: Int32Array.of(-128), axis: 0, dtype: 'int8' as const };
 * const bytes = encodeTflite({
 *   description: 'relu',
 *   tensors: [{ name: 'x', shape: [1, 4], ...quantized }, { name: 'y', shape: [1, 4], ...quantized }],
 *   operators: [{ op: 'RELU', inputs: [0], outputs: [1], options: {} }],
 *   inputs: [0],
 *   outputs: [1],
 * });
 * console.log(bytes.length);
 * ```
 */
export function encodeTflite(model: TfliteModel): Uint8Array {
  checkModel(model);
  const builder = new Builder(4096);
  // A FlatBuffer grows from its end: what is written first lies last in the file, so large data comes first.
  const buffers = [emptyBuffer(builder)];
  const bufferOf = model.tensors.map((tensor) => {
    if (tensor.data === undefined) return 0;
    buffers.push(writeBuffer(builder, tensor.data));
    return buffers.length - 1;
  });
  const codes = operatorCodes(model.operators);
  const tensors = model.tensors.map((tensor, i) => writeTensor(builder, tensor, bufferOf[i] ?? 0));
  const operators = model.operators.map((operator) => writeOperator(builder, operator, codes));
  const subgraph = table(builder, schema.FIELD_COUNT.subgraph, {
    [schema.SUBGRAPH.tensors]: offsets(builder, tensors),
    [schema.SUBGRAPH.inputs]: int32Vector(builder, model.inputs),
    [schema.SUBGRAPH.outputs]: int32Vector(builder, model.outputs),
    [schema.SUBGRAPH.operators]: offsets(builder, operators),
    [schema.SUBGRAPH.name]: builder.createString('main'),
  });
  const codeTables = codes.map((code) => writeOperatorCode(builder, code));
  const fields = {
    [schema.MODEL.operatorCodes]: offsets(builder, codeTables),
    [schema.MODEL.subgraphs]: offsets(builder, [subgraph]),
    [schema.MODEL.description]: builder.createString(model.description),
    [schema.MODEL.buffers]: offsets(builder, buffers),
  };
  builder.startObject(schema.FIELD_COUNT.model);
  builder.addFieldInt32(schema.MODEL.version, schema.SCHEMA_VERSION, 0);
  for (const [slot, offset] of Object.entries(fields)) builder.addFieldOffset(Number(slot), offset, 0);
  builder.finish(builder.endObject(), schema.FILE_IDENTIFIER);
  return builder.asUint8Array().slice();
}

/**
 * Writes a model as a .tflite file; see {@link encodeTflite}. The file appears complete or not at all.
 *
 * @param model The model, or a promise of it (so that `convertToInt8(…)` can be passed directly).
 * @throws PcqatError `ERR_IO` when the file cannot be written; else as {@link encodeTflite}.
 * @example
 * ```ts
 * import { PcqatError, writeTflite } from 'pcqat';
 * const empty = { description: '', tensors: [], operators: [], inputs: [], outputs: [] };
 * try {
 *   await writeTflite(empty, 'no-such-folder/model.tflite');
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.remedy); // Create the folder first.
 * }
 * ```
 */
export async function writeTflite(model: TfliteModel | Promise<TfliteModel>, path: string): Promise<void> {
  await atomicWrite(path, encodeTflite(await model));
}

function checkModel(model: TfliteModel): void {
  const index = (i: number, lowest: number, where: string): void => {
    if (!Number.isInteger(i) || i < lowest || i >= model.tensors.length)
      throw new PcqatError('ERR_OPTION', `There is no tensor ${i}`, { where });
  };
  for (const tensor of model.tensors) {
    const where = `tensor '${tensor.name}'`;
    const elements = tensor.shape.reduce((product, dimension) => product * dimension, 1);
    const bytes = elements * schema.TENSOR_TYPES[tensor.dtype].bytes;
    if (tensor.data !== undefined && (tensor.data.byteLength !== bytes || bytes === 0)) {
      throw new PcqatError(
        'ERR_SHAPE',
        `${tensor.data.byteLength} bytes of data do not fit the shape [${tensor.shape.join(', ')}] of ${tensor.dtype}`,
        { where },
      );
    }
    const scales = tensor.scale.length;
    if (tensor.zeroPoint.length !== scales || (scales > 1 && tensor.shape[tensor.axis] !== scales)) {
      throw new PcqatError(
        'ERR_SHAPE',
        `${scales} scales and ${tensor.zeroPoint.length} zero points do not fit axis ${tensor.axis} of [${tensor.shape.join(', ')}]`,
        { where },
      );
    }
  }
  for (const [i, operator] of model.operators.entries()) {
    const where = `operator ${i} (${operator.op})`;
    if (schema.OPERATOR_SCHEMAS[operator.op] === undefined)
      throw new PcqatError('ERR_UNSUPPORTED', `The operator ${operator.op} cannot be written`, { where });
    for (const input of operator.inputs) index(input, -1, where);
    for (const output of operator.outputs) index(output, 0, where);
  }
  for (const i of [...model.inputs, ...model.outputs]) index(i, 0, 'model inputs and outputs');
}

interface OperatorCode {
  readonly op: string;
  readonly code: number;
  readonly version: number;
}

/** The distinct operators and versions, in order of first use. */
function operatorCodes(operators: readonly TfliteOperator[]): OperatorCode[] {
  const codes: OperatorCode[] = [];
  for (const operator of operators) {
    const { code, int8Version } = schemaOf(operator.op);
    const version = operator.version ?? int8Version;
    if (!codes.some((known) => known.op === operator.op && known.version === version)) codes.push({ op: operator.op, code, version });
  }
  return codes;
}

function schemaOf(op: string): schema.OperatorSchema {
  const found = schema.OPERATOR_SCHEMAS[op];
  if (found === undefined) throw new PcqatError('ERR_UNSUPPORTED', `The operator ${op} cannot be written`);
  return found;
}

function writeOperatorCode(builder: Builder, { code, version }: OperatorCode): number {
  builder.startObject(schema.FIELD_COUNT.operatorCode);
  builder.addFieldInt8(schema.OPERATOR_CODE.deprecatedBuiltinCode, Math.min(code, schema.PLACEHOLDER_FOR_GREATER_OP_CODES), 0);
  builder.addFieldInt32(schema.OPERATOR_CODE.version, version, 1);
  builder.addFieldInt32(schema.OPERATOR_CODE.builtinCode, code, 0);
  return builder.endObject();
}

function writeTensor(builder: Builder, tensor: TfliteTensor, buffer: number): number {
  const shape = int32Vector(builder, tensor.shape);
  const name = builder.createString(tensor.name);
  const quantization = tensor.scale.length === 0 ? 0 : writeQuantization(builder, tensor);
  const signature = tensor.shapeSignature === undefined ? 0 : int32Vector(builder, tensor.shapeSignature);
  builder.startObject(schema.FIELD_COUNT.tensor);
  builder.addFieldOffset(schema.TENSOR.shape, shape, 0);
  builder.addFieldInt8(schema.TENSOR.type, schema.TENSOR_TYPES[tensor.dtype].code, 0);
  builder.addFieldInt32(schema.TENSOR.buffer, buffer, 0);
  builder.addFieldOffset(schema.TENSOR.name, name, 0);
  builder.addFieldOffset(schema.TENSOR.quantization, quantization, 0);
  builder.addFieldOffset(schema.TENSOR.shapeSignature, signature, 0);
  return builder.endObject();
}

function writeQuantization(builder: Builder, tensor: TfliteTensor): number {
  builder.startVector(4, tensor.scale.length, 4);
  for (let i = tensor.scale.length - 1; i >= 0; i--) builder.addFloat32(tensor.scale[i] ?? 0);
  const scale = builder.endVector();
  builder.startVector(8, tensor.zeroPoint.length, 8);
  for (let i = tensor.zeroPoint.length - 1; i >= 0; i--) builder.addInt64(BigInt(tensor.zeroPoint[i] ?? 0));
  const zeroPoint = builder.endVector();
  builder.startObject(schema.FIELD_COUNT.quantization);
  builder.addFieldOffset(schema.QUANTIZATION.scale, scale, 0);
  builder.addFieldOffset(schema.QUANTIZATION.zeroPoint, zeroPoint, 0);
  builder.addFieldInt32(schema.QUANTIZATION.quantizedDimension, tensor.axis, 0);
  return builder.endObject();
}

function writeOperator(builder: Builder, operator: TfliteOperator, codes: readonly OperatorCode[]): number {
  const { optionsType, int8Version } = schemaOf(operator.op);
  const version = operator.version ?? int8Version;
  const options = optionsType === 0 ? 0 : writeOptions(builder, operator);
  const inputs = int32Vector(builder, operator.inputs);
  const outputs = int32Vector(builder, operator.outputs);
  builder.startObject(schema.FIELD_COUNT.operator);
  builder.addFieldInt32(
    schema.OPERATOR.opcodeIndex,
    codes.findIndex((code) => code.op === operator.op && code.version === version),
    0,
  );
  builder.addFieldOffset(schema.OPERATOR.inputs, inputs, 0);
  builder.addFieldOffset(schema.OPERATOR.outputs, outputs, 0);
  builder.addFieldInt8(schema.OPERATOR.optionsType, optionsType, 0);
  builder.addFieldOffset(schema.OPERATOR.options, options, 0);
  return builder.endObject();
}

function writeOptions(builder: Builder, operator: TfliteOperator): number {
  const { fields } = schemaOf(operator.op);
  // Vectors inside a table must be written before the table is started.
  const vectors = fields.map(({ kind, name }) => {
    const value = operator.options[name];
    return kind === 'int32s' && Array.isArray(value) ? int32Vector(builder, value as number[]) : 0;
  });
  builder.startObject(fields.length);
  for (const [slot, field] of fields.entries()) {
    const fallback = field.fallback ?? 0;
    const value = optionValue(operator, field);
    if (field.kind === 'int32') builder.addFieldInt32(slot, value, fallback);
    else if (field.kind === 'float32') builder.addFieldFloat32(slot, value, fallback);
    else if (field.kind === 'int32s') builder.addFieldOffset(slot, vectors[slot] ?? 0, 0);
    else builder.addFieldInt8(slot, value, fallback);
  }
  return builder.endObject();
}

function optionValue(operator: TfliteOperator, { name, kind, fallback }: schema.OptionField): number {
  const value = operator.options[name];
  if (value === undefined || kind === 'int32s') return fallback ?? 0;
  if (kind !== 'padding' && kind !== 'activation') return Number(value);
  const names = kind === 'padding' ? schema.PADDINGS : schema.ACTIVATIONS;
  const index = names.indexOf(String(value));
  if (index < 0)
    throw new PcqatError('ERR_OPTION', `${name} is '${String(value)}' but must be one of ${names.join(', ')}`, { where: operator.op });
  return index;
}

function emptyBuffer(builder: Builder): number {
  builder.startObject(schema.FIELD_COUNT.buffer);
  return builder.endObject();
}

function writeBuffer(builder: Builder, data: Uint8Array): number {
  builder.prep(DATA_ALIGNMENT, data.byteLength); // after this, createByteVector adds no padding of its own
  const vector = builder.createByteVector(data);
  return table(builder, schema.FIELD_COUNT.buffer, { [schema.BUFFER.data]: vector });
}

/** A table that has only offsets. */
function table(builder: Builder, fieldCount: number, fields: Readonly<Record<number, number>>): number {
  builder.startObject(fieldCount);
  for (const [slot, offset] of Object.entries(fields)) builder.addFieldOffset(Number(slot), offset, 0);
  return builder.endObject();
}

function offsets(builder: Builder, values: readonly number[]): number {
  builder.startVector(4, values.length, 4);
  for (let i = values.length - 1; i >= 0; i--) builder.addOffset(values[i] ?? 0);
  return builder.endVector();
}

function int32Vector(builder: Builder, values: readonly number[]): number {
  builder.startVector(4, values.length, 4);
  for (let i = values.length - 1; i >= 0; i--) builder.addInt32(values[i] ?? 0);
  return builder.endVector();
}
