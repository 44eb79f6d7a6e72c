import { PcqatError } from '../errors.js';
import { elementCount } from '../graph/shapes.js';
import type { Shape } from '../graph/types.js';
import { inputLayout, toChannelsFirst } from './layout.js';
import { loadIfInstalled, missingPeer, packageVersion } from './peer.js';
import { checkedRowCount, portions } from './rows.js';
import type { OpenRunnerOptions, Runner } from './runner.js';

const PACKAGE = 'onnxruntime-node';
/** Rows at a time where the file takes more than one. */
const ROWS = 64;

interface Metadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  readonly shape?: readonly (number | string)[];
}

interface OrtTensor {
  readonly data: ArrayLike<number>;
  readonly dims: readonly number[];
}

interface OrtSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata?: readonly Metadata[];
  run(feeds: Record<string, OrtTensor>): Promise<Readonly<Record<string, OrtTensor>>>;
  release(): Promise<void>;
}

/** The part of onnxruntime-node that is used. */
interface Ort {
  readonly Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => OrtTensor;
  readonly InferenceSession: { create(file: string, options: object): Promise<OrtSession> };
}

const failure = (what: string, file: string, cause: unknown): PcqatError =>
  new PcqatError('ERR_UNSUPPORTED', `${PACKAGE} could not ${what}: ${(cause as Error).message.split('\n')[0]?.slice(0, 500)}`, {
    where: file,
    cause,
  });

/** Input of the file, checked to be one tensor of f32. */
function inputOf(session: OrtSession, file: string): Metadata {
  const { inputNames, inputMetadata } = session;
  if (inputNames.length !== 1) throw new PcqatError('ERR_UNSUPPORTED', `it has ${inputNames.length} inputs and not one`, { where: file });
  const input = inputMetadata?.[0] ?? { name: inputNames[0] ?? '', isTensor: true };
  if (!input.isTensor || (input.type ?? 'float32') !== 'float32') {
    throw new PcqatError('ERR_UNSUPPORTED', `its input is ${input.isTensor ? input.type : 'no tensor'} and not float32`, { where: file });
  }
  return input;
}

/**
 * Opens an ONNX file in onnxruntime-node.
 *
 * @throws PcqatError `ERR_MISSING_PEER` where it is not installed, `ERR_UNSUPPORTED` where it cannot run the file, `ERR_SHAPE`
 */
export async function openOnnxRuntime(file: string, options: OpenRunnerOptions): Promise<Runner> {
  const ort = await loadIfInstalled<Ort>(PACKAGE);
  if (ort === undefined) throw missingPeer(PACKAGE, "the runner 'onnxruntime'");
  const { threads, exampleShape } = options;
  const settings = { logSeverityLevel: 3, ...(threads === undefined ? {} : { intraOpNumThreads: threads, interOpNumThreads: 1 }) };
  const session = await ort.InferenceSession.create(file, settings).catch((cause: unknown) => {
    throw failure('load the file', file, cause);
  });
  const call = async (x: Float32Array, dims: readonly number[]): Promise<OrtTensor> => {
    const result = await session.run({ [input.name]: new ort.Tensor('float32', x, dims) }).catch((cause: unknown) => {
      throw failure('run the file', file, cause);
    });
    const output = result[session.outputNames[0] ?? ''];
    if (output === undefined) throw new PcqatError('ERR_UNSUPPORTED', 'it has no output', { where: file });
    return output;
  };
  const release = (): void => void session.release().catch(() => undefined);
  let input: Metadata;
  try {
    input = inputOf(session, file);
    const [batch, ...dimensions] = input.shape?.length ? input.shape : ['', ...(exampleShape ?? [])];
    const layout = inputLayout(dimensions, exampleShape, file);
    const rows = typeof batch === 'number' && batch > 0 ? batch : ROWS;
    const fixed = rows === batch;
    const rowSize = elementCount(layout.example);
    const runRows = async (x: Float32Array): Promise<Float32Array> => {
      const dims = [x.length / rowSize, ...layout.file];
      return Float32Array.from((await call(layout.transpose ? toChannelsFirst(x, layout.example) : x, dims)).data);
    };
    // The shape of the output is known for certain only after a run.
    const probe = await call(new Float32Array((fixed ? rows : 1) * rowSize), [fixed ? rows : 1, ...layout.file]);
    const outputShape: Shape = probe.dims.length > 1 ? probe.dims.slice(1) : [probe.data.length / (fixed ? rows : 1)];
    const outputSize = elementCount(outputShape);
    return {
      name: `${PACKAGE} ${packageVersion(PACKAGE)}`.trim(),
      inputShape: layout.example,
      outputShape,
      run: async (x, { signal } = {}) => {
        const outputs = new Float32Array(checkedRowCount(x, layout.example) * outputSize);
        let row = 0;
        for (const part of portions(x, rowSize, rows)) {
          signal?.throwIfAborted();
          const count = part.length / rowSize;
          const whole = fixed && count < rows ? padded(part, rows * rowSize) : part;
          outputs.set((await runRows(whole)).subarray(0, count * outputSize), row * outputSize);
          row += count;
        }
        return outputs;
      },
      dispose: release,
    };
  } catch (error) {
    release();
    throw error;
  }
}

function padded(values: Float32Array, length: number): Float32Array {
  const result = new Float32Array(length);
  result.set(values);
  return result;
}
