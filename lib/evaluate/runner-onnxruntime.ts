import { PcqatError } from '../errors.js';
import { elementCount } from '../graph/shapes.js';
import type { Shape } from '../graph/types.js';
import { inputLayout, toChannelsFirst } from './layout.js';
import { loadOrt, openOrtSession, ORT_PACKAGE, type OrtMetadata, type OrtSession, runOrtSession } from './ort.js';
import { packageVersion } from './peer.js';
import { checkedRowCount, portions } from './rows.js';
import type { OpenRunnerOptions, Runner } from './runner.js';

/** Rows at a time where the file takes more than one. */
const ROWS = 64;

/** Input of the file, checked to be one tensor of f32. */
function inputOf(session: OrtSession, file: string): OrtMetadata {
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
  const ort = await loadOrt("the runner 'onnxruntime'");
  const { threads, exampleShape } = options;
  const settings = threads === undefined ? {} : { intraOpNumThreads: threads, interOpNumThreads: 1 };
  const session = await openOrtSession(ort, file, file, settings);
  const call = async (x: Float32Array, dims: readonly number[]): Promise<{ data: ArrayLike<number>; dims: readonly number[] }> => {
    const output = await runOrtSession(session, new ort.Tensor('float32', x, dims), file);
    return { data: output.data as ArrayLike<number>, dims: output.dims };
  };
  const release = (): void => void session.release().catch(() => undefined);
  try {
    const input = inputOf(session, file);
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
      name: `${ORT_PACKAGE} ${packageVersion(ORT_PACKAGE)}`.trim(),
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
