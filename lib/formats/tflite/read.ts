import { PcqatError } from '../../errors.js';
import { readBytes } from '../read-bytes.js';
import { FlatFile, type FlatTable } from './flat-table.js';
import * as schema from './schema.js';
import type { TfliteModel, TfliteOperator, TfliteTensor } from './types.js';

/** Largest number of elements of one tensor: what fits in a signed 32-bit index, as in TFLite. */
const MAX_ELEMENTS = 2 ** 31 - 1;
const MAX_RANK = 8;

/**
 * Reads a .tflite file (one subgraph; 8-, 16- and 32-bit integer, float16 and float32 tensors).
 *
 * The structure is checked completely: any byte sequence gives a model or an error. Whether the operators make sense is
 * checked when the model is run. Operators that pcqat does not know keep their name and have no options.
 *
 * @param bytes The file. Constant tensors of the result are views into it.
 * @param where What to call the file in errors. Default `'.tflite bytes'`.
 * @throws PcqatError `ERR_FORMAT` when the bytes are no valid file (with the place inside the file); `ERR_UNSUPPORTED` when it has
 * several subgraphs, sparse tensors or element types other than the above.
 * @example
 * ```ts
 * import { encodeTflite, readTflite } from 'pcqat';
 * const quantized = { scale: Float32Array.of(0.5), zeroPoint: Int32Array.of(0), axis: 0, dtype: 'int8' as const };
 * const bytes = encodeTflite({
 *   description: 'one operator',
 *   tensors: [{ name: 'x', shape: [1, 4], ...quantized }, { name: 'y', shape: [1, 4], ...quantized }],
 *   operators: [{ op: 'RELU', inputs: [0], outputs: [1], options: {} }],
 *   inputs: [0],
 *   outputs: [1],
 * });
 * console.log(readTflite(bytes).operators[0]?.op); // RELU
 * ```
 */
export function readTflite(bytes: Uint8Array, where = '.tflite bytes'): TfliteModel {
  if (!(bytes instanceof Uint8Array)) throw new PcqatError('ERR_DTYPE', 'readTflite takes the bytes of a file as a Uint8Array', { where });
  const file = new FlatFile(bytes, where);
  file.check(0, 8, 'header');
  const identifier = String.fromCharCode(...bytes.subarray(4, 8));
  if (identifier !== schema.FILE_IDENTIFIER) {
    file.fail('header', `the identifier is ${JSON.stringify(identifier)} and not "${schema.FILE_IDENTIFIER}"`);
  }
  const model = file.root();
  const version = model.uint32(schema.MODEL.version, 'version');
  if (version !== schema.SCHEMA_VERSION) model.fail(`schema version ${version} is not ${schema.SCHEMA_VERSION}`);
  const subgraphs = model.tables(schema.MODEL.subgraphs, 'subgraphs');
  const subgraph = subgraphs[0] ?? model.fail('it has no subgraph');
  if (subgraphs.length > 1) {
    throw new PcqatError('ERR_UNSUPPORTED', `The file has ${subgraphs.length} subgraphs (control flow); only one is supported`, { where });
  }
  const buffers = model.tables(schema.MODEL.buffers, 'buffers').map((buffer) => readBuffer(file, buffer));
  const codes = model.tables(schema.MODEL.operatorCodes, 'operator_codes').map(readOperatorCode);
  const tensors = subgraph.tables(schema.SUBGRAPH.tensors, 'tensors').map((tensor) => readTensor(tensor, buffers, where));
  const operators = subgraph
    .tables(schema.SUBGRAPH.operators, 'operators')
    .map((operator) => readOperator(operator, codes, tensors.length));
  const indices = (slot: number, name: string): number[] =>
    subgraph
      .int32s(slot, name)
      .map((index) => (index >= 0 && index < tensors.length ? index : subgraph.fail(`${name}: there is no tensor ${index}`)));
  return {
    description: model.string(schema.MODEL.description, 'description'),
    tensors,
    operators,
    inputs: indices(schema.SUBGRAPH.inputs, 'inputs'),
    outputs: indices(schema.SUBGRAPH.outputs, 'outputs'),
  };
}

/**
 * Reads a .tflite file from disk; see {@link readTflite}.
 *
 * @throws PcqatError `ERR_IO` when the file cannot be read; else as {@link readTflite}.
 * @example
 * ```ts
 * import { PcqatError, readTfliteFile } from 'pcqat';
 * try {
 *   await readTfliteFile('no-such-file.tflite');
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_IO
 * }
 * ```
 */
export async function readTfliteFile(path: string): Promise<TfliteModel> {
  return readTflite(await readBytes(path), path);
}

function readBuffer(file: FlatFile, buffer: FlatTable): Uint8Array {
  const offset = buffer.uint64(schema.BUFFER.offset, 'offset');
  // Offsets 0 and 1 mean "inside the table"; files over 2 GB keep their data behind the FlatBuffer.
  if (offset <= 1) return buffer.bytes(schema.BUFFER.data, 'data');
  const size = buffer.uint64(schema.BUFFER.size, 'size');
  file.check(offset, size, `${buffer.place}.offset`);
  return file.bytes.subarray(offset, offset + size);
}

interface OperatorCode {
  readonly name: string;
  readonly version: number;
}

function readOperatorCode(table: FlatTable): OperatorCode {
  // Files older than schema 3a only have the one-byte field; newer ones have both.
  const old = table.int8(schema.OPERATOR_CODE.deprecatedBuiltinCode, 'deprecated_builtin_code');
  const code = Math.max(old, table.int32(schema.OPERATOR_CODE.builtinCode, 'builtin_code'));
  const name =
    code === schema.CUSTOM_OPERATOR
      ? `CUSTOM:${table.string(schema.OPERATOR_CODE.customCode, 'custom_code')}`
      : (schema.OPERATOR_NAMES[code] ?? `BUILTIN_${code}`);
  return { name, version: table.int32(schema.OPERATOR_CODE.version, 'version', 1) };
}

function readTensor(table: FlatTable, buffers: readonly Uint8Array[], where: string): TfliteTensor {
  const name = table.string(schema.TENSOR.name, 'name');
  const unsupported = (what: string): never => {
    throw new PcqatError('ERR_UNSUPPORTED', `Tensor '${name}' ${what}`, { where });
  };
  const shape = table.int32s(schema.TENSOR.shape, 'shape');
  const elements = shape.reduce((product, dimension) => product * dimension, 1);
  if (shape.length > MAX_RANK || shape.some((dimension) => dimension < 0) || !(elements <= MAX_ELEMENTS))
    table.fail(`tensor '${name}' has the impossible shape [${shape.join(', ')}]`);
  const typeCode = table.int8(schema.TENSOR.type, 'type');
  const type = Object.entries(schema.TENSOR_TYPES).find(([, { code }]) => code === typeCode);
  if (type === undefined)
    return unsupported(`has the element type number ${typeCode}; supported are ${Object.keys(schema.TENSOR_TYPES).join(', ')}`);
  if (table.has(schema.TENSOR.sparsity)) return unsupported('is stored in a sparse format');
  const bufferIndex = table.uint32(schema.TENSOR.buffer, 'buffer');
  const data = buffers[bufferIndex];
  if (data === undefined) table.fail(`tensor '${name}' names buffer ${bufferIndex}, but there are ${buffers.length}`);
  if (data.byteLength > 0 && data.byteLength !== elements * type[1].bytes) {
    table.fail(`tensor '${name}' of ${elements} ${type[0]} elements has ${data.byteLength} bytes of data`);
  }
  const signature = table.int32s(schema.TENSOR.shapeSignature, 'shape_signature');
  return {
    name,
    shape,
    dtype: type[0] as keyof typeof schema.TENSOR_TYPES,
    ...readQuantization(table, name, shape),
    ...(signature.length > 0 ? { shapeSignature: signature } : {}),
    ...(data.byteLength > 0 ? { data } : {}),
  };
}

function readQuantization(table: FlatTable, name: string, shape: readonly number[]): Pick<TfliteTensor, 'scale' | 'zeroPoint' | 'axis'> {
  const quantization = table.table(schema.TENSOR.quantization, 'quantization');
  const scale = quantization?.float32s(schema.QUANTIZATION.scale, 'scale') ?? new Float32Array();
  if (quantization === undefined || scale.length === 0) return { scale: new Float32Array(), zeroPoint: new Int32Array(), axis: 0 };
  const zeroPoint = Int32Array.from(quantization.int64s(schema.QUANTIZATION.zeroPoint, 'zero_point'), (value) => {
    if (value !== BigInt.asIntN(32, value)) quantization.fail(`tensor '${name}' has the zero point ${value}`);
    return Number(value);
  });
  if (zeroPoint.length !== scale.length)
    quantization.fail(`tensor '${name}' has ${scale.length} scales but ${zeroPoint.length} zero points`);
  const axis = quantization.int32(schema.QUANTIZATION.quantizedDimension, 'quantized_dimension');
  if (scale.length > 1 && shape[axis] !== scale.length) {
    quantization.fail(`tensor '${name}' of shape [${shape.join(', ')}] has ${scale.length} scales along axis ${axis}`);
  }
  return { scale, zeroPoint, axis };
}

function readOperator(table: FlatTable, codes: readonly OperatorCode[], tensorCount: number): TfliteOperator {
  const codeIndex = table.uint32(schema.OPERATOR.opcodeIndex, 'opcode_index');
  const code = codes[codeIndex] ?? table.fail(`it names operator code ${codeIndex}, but there are ${codes.length}`);
  const indices = (slot: number, name: string, lowest: number): number[] =>
    table
      .int32s(slot, name)
      .map((index) => (index >= lowest && index < tensorCount ? index : table.fail(`${code.name} ${name}: there is no tensor ${index}`)));
  return {
    op: code.name,
    version: code.version,
    inputs: indices(schema.OPERATOR.inputs, 'inputs', -1), // −1: optional input left out
    outputs: indices(schema.OPERATOR.outputs, 'outputs', 0),
    options: readOptions(table, code.name),
  };
}

function readOptions(operator: FlatTable, name: string): TfliteOperator['options'] {
  const known = schema.OPERATOR_SCHEMAS[name];
  const type = operator.uint8(schema.OPERATOR.optionsType, 'builtin_options_type');
  if (known === undefined || known.fields.length === 0) return {};
  if (type !== 0 && type !== known.optionsType) operator.fail(`${name} has options of type ${type} and not ${known.optionsType}`);
  const table = type === 0 ? undefined : operator.table(schema.OPERATOR.options, 'builtin_options');
  return Object.fromEntries(known.fields.map((field, slot) => [field.name, readOption(table, slot, field)]));
}

function readOption(
  table: FlatTable | undefined,
  slot: number,
  { name, kind, fallback = 0 }: schema.OptionField,
): number | boolean | string | number[] {
  switch (kind) {
    case 'int32':
      return table?.int32(slot, name, fallback) ?? fallback;
    case 'int8':
      return table?.int8(slot, name, fallback) ?? fallback;
    case 'float32':
      return table?.float32(slot, name, fallback) ?? fallback;
    case 'bool':
      return (table?.uint8(slot, name, fallback) ?? fallback) !== 0;
    case 'int32s':
      return table?.int32s(slot, name) ?? [];
    case 'padding':
    case 'activation': {
      const names = kind === 'padding' ? schema.PADDINGS : schema.ACTIVATIONS;
      const value = table?.int8(slot, name, fallback) ?? fallback;
      return names[value] ?? table?.fail(`${name} is ${value}`) ?? '';
    }
  }
}
