import { readBytes } from '../formats/read-bytes.js';
import { readOnnx } from '../formats/onnx/read.js';
import { DATA_TYPES, type OnnxValueInfo } from '../formats/onnx/types.js';
import { PcqatError } from '../errors.js';
import { sessionOptions } from './graph-runner.js';
import { loadOrt, openOrtSession, runOrtSession } from './ort.js';
import { concatenated } from './rows.js';

/** Options of {@link runOnnx}. */
export interface RunOnnxOptions {
  /** Rows at a time, where the file leaves the batch open. Default 32. */
  readonly batchSize?: number;
  /** Threads inside an operator. Default: ONNX Runtime's, all cores. */
  readonly threads?: number;
  /**
   * On x86 CPUs without VNNI, ONNX Runtime's int8 products may saturate. True uses slower, exact ones (`session.x64quantprecision`).
   * Default false.
   */
  readonly precise?: boolean;
  readonly signal?: AbortSignal;
}

/** Elements that a model may take and return. */
export type OnnxData = Float32Array | Int8Array | Uint8Array;

const ELEMENTS: ReadonlyMap<number, readonly [type: string, constructor: new (length: number) => OnnxData]> = new Map([
  [DATA_TYPES.float, ['float32', Float32Array]],
  [DATA_TYPES.int8, ['int8', Int8Array]],
  [DATA_TYPES.uint8, ['uint8', Uint8Array]],
]);

/**
 * Runs an ONNX file with one input and one output in ONNX Runtime, an optional peer dependency (`npm install onnxruntime-node`).
 *
 * @param file - path, or the bytes of a file without external data
 * @param x - rows × product of the input's dimensions without the batch, in the file's own layout and element type
 * @returns rows × product of the output's dimensions, in the same element type
 * @throws PcqatError `ERR_MISSING_PEER` when onnxruntime-node is not installed; `ERR_IO`, `ERR_FORMAT` for the file; `ERR_UNSUPPORTED` when
 *   ONNX Runtime refuses it, or it has several inputs or outputs, or an output of another element type than its input; `ERR_SHAPE`, `ERR_DTYPE`, `ERR_OPTION` for bad arguments.
 * @example
 * ```ts
 * import { encodeOnnx, PcqatError, runOnnx, zoo } from 'pcqat';
 * try {
 *   const logits = await runOnnx(encodeOnnx(zoo.mnistCnn()), new Float32Array(2 * 28 * 28));
 *   console.log(logits.length); // 20
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_MISSING_PEER where it is not installed
 * }
 * ```
 */
export async function runOnnx<T extends OnnxData>(file: string | Uint8Array, x: T, options: RunOnnxOptions = {}): Promise<T> {
  const { batchSize = 32, signal } = options;
  const { maxBatch } = sessionOptions(options.threads === undefined ? { batchSize } : { batchSize, threads: options.threads });
  const where = typeof file === 'string' ? file : 'ONNX bytes';
  const bytes = typeof file === 'string' ? await readBytes(file) : file;
  const input = onlyInput(bytes, where);
  const [type, Elements] = ELEMENTS.get(input.dataType) ?? refuseType(input, where);
  if (!(x instanceof Elements))
    throw new PcqatError('ERR_DTYPE', `the model takes ${type}`, { where: 'x', remedy: `Use ${Elements.name}.` });
  const dims = (input.shape ?? []).slice(1).map((size) => (typeof size === 'number' ? size : refuseShape(input, where)));
  const rowSize = dims.reduce((product, size) => product * size, 1);
  if (x.length % rowSize !== 0) {
    throw new PcqatError('ERR_SHAPE', `x has ${x.length} values, which are no whole rows of ${rowSize}`, { where: 'x' });
  }
  const fixed = input.shape?.[0];
  const atOnce = typeof fixed === 'number' ? fixed : maxBatch;
  const ort = await loadOrt('runOnnx');
  const session = await openOrtSession(ort, file, where, settingsOf(options));
  try {
    const rows = x.length / rowSize;
    const outputs: T[] = [];
    for (let row = 0; row < rows; row += atOnce) {
      signal?.throwIfAborted();
      const count = Math.min(atOnce, rows - row);
      const size = typeof fixed === 'number' ? fixed : count;
      // A file with a fixed batch gets rows of zeros to fill it.
      const data = new Elements(size * rowSize);
      data.set(x.subarray(row * rowSize, (row + count) * rowSize));
      const { data: output } = await runOrtSession(session, new ort.Tensor(type, data, [size, ...dims]), where);
      if (!(output instanceof Elements)) throw refuseOutput(where);
      outputs.push(output.subarray(0, (output.length / size) * count) as T);
    }
    return concatenated(outputs, Elements as new (length: number) => T);
  } finally {
    await session.release();
  }
}

function onlyInput(bytes: Uint8Array, where: string): OnnxValueInfo {
  const { inputs, initializers, outputs } = readOnnx(bytes, where).graph;
  const [first, ...others] = inputs.filter(({ name }) => !initializers.has(name));
  if (first !== undefined && others.length === 0 && outputs.length === 1) return first;
  throw new PcqatError('ERR_UNSUPPORTED', `it has ${others.length + (first === undefined ? 0 : 1)} inputs and ${outputs.length} outputs`, {
    where,
    remedy: 'Use a model with one of each.',
  });
}

function refuseType({ name, dataType }: OnnxValueInfo, where: string): never {
  throw new PcqatError('ERR_UNSUPPORTED', `its input '${name}' has the element type ${dataType}`, {
    where,
    remedy: 'Use float32, int8 or uint8.',
  });
}

function refuseShape({ name }: OnnxValueInfo, where: string): never {
  throw new PcqatError('ERR_UNSUPPORTED', `the shape of its input '${name}' is open`, {
    where,
    remedy: 'Fix all dimensions but the batch.',
  });
}

const settingsOf = ({ threads, precise = false }: RunOnnxOptions): object => ({
  ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
  ...(precise ? { extra: { session: { x64quantprecision: '1' } } } : {}),
});

function refuseOutput(where: string): PcqatError {
  return new PcqatError('ERR_UNSUPPORTED', 'its output has another element type than its input', {
    where,
    remedy: 'Use one type for both.',
  });
}
