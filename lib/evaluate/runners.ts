import { PcqatError } from '../errors.js';
import { detectFormat, importModel } from '../formats/import/index.js';
import { isPcqatModel } from '../formats/import/read-model.js';
import type { ImportFormat, ImportOptions } from '../formats/import/types.js';
import { UnsupportedNodesError } from '../formats/import/unsupported.js';
import { loadModel } from '../formats/pcqat/load.js';
import { readTfliteFile } from '../formats/tflite/read.js';
import type { TfliteModel } from '../formats/tflite/types.js';
import type { Model } from '../graph/model.js';
import { openGraphRunner, sessionOptions } from './graph-runner.js';
import { Int8Runner } from './int8.js';
import { checkedRowCount } from './rows.js';
import { type OpenRunnerOptions, type Runner, type RunnerName, RUNNERS } from './runner.js';
import { requireSingleBatch } from './single-batch.js';

type Open = (file: string, options: OpenRunnerOptions) => Promise<Runner>;

/** The runners that are packages of others, each with the format that it takes. They are loaded when they are used. */
const FOREIGN: Readonly<Record<Exclude<RunnerName, 'native'>, { readonly format: ImportFormat; readonly open: () => Promise<Open> }>> = {
  onnxruntime: { format: 'onnx', open: async () => (await import('./runner-onnxruntime.js')).openOnnxRuntime },
  tfjs: { format: 'tfjs', open: async () => (await import('./runner-tfjs.js')).openTfjs },
  tflite: { format: 'tflite', open: async () => (await import('./runner-tflite.js')).openTflite },
};

/** Does the file compute with integers? Its integer operators then run as they are; a float file is read as a graph. */
const isInteger = ({ tensors, operators }: TfliteModel): boolean =>
  operators.some(({ outputs }) => outputs.some((index) => ['int8', 'uint8', 'int16'].includes(tensors[index]?.dtype ?? '')));

function openInt8(tflite: TfliteModel, where: string, threads: number | undefined): Runner {
  requireSingleBatch(tflite, where);
  const runner = new Int8Runner(tflite, threads === undefined ? {} : { threads });
  const inputShape = runner.input.shape.slice(1);
  const [step] = runner.output.scale;
  return {
    name: 'pcqat int8',
    tflite,
    inputShape,
    outputShape: runner.output.shape.slice(1),
    ...(runner.output.dtype === 'float32' || step === undefined ? {} : { outputScale: step }),
    run: async (x, { signal } = {}) => {
      checkedRowCount(x, inputShape);
      signal?.throwIfAborted();
      return runner.run(x);
    },
    dispose: () => runner.dispose(),
  };
}

/** Members that are absent stay absent. */
function importOptions({ input, output, inputShape, dequantize }: OpenRunnerOptions): ImportOptions {
  return {
    ...(input === undefined ? {} : { input }),
    ...(output === undefined ? {} : { output }),
    ...(inputShape === undefined ? {} : { inputShape }),
    ...(dequantize === undefined ? {} : { dequantize }),
  };
}

/** What cannot be read as a graph may run in its own runtime; the error says so. */
export function withOtherRunner(error: unknown, format: ImportFormat): unknown {
  const other = Object.entries(FOREIGN).find(([, foreign]) => foreign.format === format)?.[0];
  if (!(error instanceof UnsupportedNodesError) || other === undefined) return error;
  const remedy = `\nThe runner '${other}' may run it as it is.`;
  return new PcqatError('ERR_UNSUPPORTED', error.message.replace(/\.$/, ''), { remedy, cause: error });
}

const openNative: Open = async (file, options) => {
  if (await isPcqatModel(file)) return openGraphRunner(await loadModel(file), options);
  const { threads, dequantize = false } = options;
  const format = await detectFormat(file);
  if (format === 'tflite' && !dequantize) {
    const tflite = await readTfliteFile(file);
    if (isInteger(tflite)) return openInt8(tflite, file, threads);
  }
  const { model } = await importModel(file, importOptions(options)).catch((error: unknown) => {
    throw withOtherRunner(error, format);
  });
  return openGraphRunner(model, options);
};

/**
 * Opens a model so that it can be run many times: a saved pcqat model, or a `.tflite`, `.onnx`, tfjs, Keras or frozen TensorFlow file.
 *
 * `native` runs integer `.tflite` files on the integer executor and everything else as a {@link Model}, imported where it is not pcqat's own.
 * `onnxruntime` (package `onnxruntime-node`) runs `.onnx`, `tfjs` (`@tensorflow/tfjs-node` or `@tensorflow/tfjs`) runs tfjs models, `tflite`
 * (`tfjs-tflite-node`, in a process of its own) runs `.tflite`; each is an optional package and takes files of its own format only.
 *
 * @param source - a file, the folder of a tfjs model, or a model in memory
 * @throws PcqatError `ERR_OPTION` for an unknown runner, a file that it does not take or a bad option; `ERR_MISSING_PEER` for a runner whose
 *   package is not installed; `ERR_IO`, `ERR_FORMAT`, `ERR_UNSUPPORTED`, `ERR_SHAPE` for a file that cannot be read or run
 * @example
 * ```ts
 * import { openRunner, zoo } from 'pcqat';
 * const runner = await openRunner(zoo.lenet5());
 * console.log(runner.name, runner.inputShape, runner.outputShape); // pcqat [ 28, 28, 1 ] [ 10 ]
 * console.log((await runner.run(new Float32Array(2 * 784))).length); // 20
 * runner.dispose();
 * ```
 */
export async function openRunner(source: string | Model, options: OpenRunnerOptions = {}): Promise<Runner> {
  const { runner = 'native' } = options;
  sessionOptions(options); // its errors, whichever runtime it is
  if (!(RUNNERS as readonly string[]).includes(runner)) {
    throw new PcqatError('ERR_OPTION', `there is no runner '${String(runner)}'`, {
      where: 'runner',
      remedy: `Known are ${RUNNERS.join(', ')}.`,
    });
  }
  if (typeof source !== 'string') {
    if (runner === 'native') return openGraphRunner(source, options);
    throw new PcqatError('ERR_OPTION', `runner '${runner}' takes a file and no model in memory`, {
      where: 'runner',
      remedy: 'Export it first.',
    });
  }
  if (runner === 'native') return openNative(source, options);
  const { format, open } = FOREIGN[runner];
  const found = (await isPcqatModel(source)) ? 'pcqat' : await detectFormat(source);
  if (found !== format) {
    throw new PcqatError('ERR_OPTION', `runner '${runner}' takes ${format} files, but this one is ${found}`, {
      where: source,
      remedy: "Use the runner 'native', or export the model.",
    });
  }
  return (await open())(source, options);
}
