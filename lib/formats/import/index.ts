import { open, stat } from 'node:fs/promises';
import path from 'node:path';
import { PcqatError } from '../../errors.js';
import { unreadable } from '../read-bytes.js';
import type { AssembleFile, ImportCheck, ImportedModel, ImportFormat, ImportOptions } from './types.js';

/** A reader and what it depends on are loaded when its format is used, not before. */
const READERS: Readonly<Record<ImportFormat, () => Promise<AssembleFile>>> = {
  'keras-h5': async () => (await import('../keras/import.js')).assembleKeras,
  keras: async () => (await import('../keras/import.js')).assembleKeras,
  tfjs: async () => (await import('../tfjs/import.js')).assembleTfjs,
  onnx: async () => (await import('../onnx/import.js')).assembleOnnx,
  graphdef: async () => (await import('../graphdef/import.js')).assembleGraphDef,
  tflite: async () => (await import('../tflite/import.js')).assembleTflite,
};

const EXTENSIONS: Readonly<Record<string, ImportFormat>> = {
  '.h5': 'keras-h5',
  '.hdf5': 'keras-h5',
  '.keras': 'keras',
  '.json': 'tfjs',
  '.onnx': 'onnx',
  '.pb': 'graphdef',
  '.tflite': 'tflite',
};

/** First bytes of the formats that have any, for files with another extension. */
const SIGNATURES: readonly (readonly [ImportFormat, offset: number, text: string])[] = [
  ['keras-h5', 0, '\x89HDF\r\n\x1a\n'],
  ['keras', 0, 'PK\x03\x04'],
  ['tflite', 4, 'TFL3'],
];

/**
 * The format of a model file: by its first bytes, else by its extension. A folder is a tfjs model when it holds a `model.json`.
 *
 * @throws PcqatError `ERR_IO` when it cannot be read, `ERR_FORMAT` when neither tells
 */
export async function detectFormat(file: string): Promise<ImportFormat> {
  const head = Buffer.alloc(16);
  try {
    if ((await stat(file)).isDirectory()) return 'tfjs';
    const handle = await open(file);
    try {
      await handle.read(head, 0, head.length, 0);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw unreadable(file, cause);
  }
  const text = head.toString('latin1');
  const signed = SIGNATURES.find(([, offset, signature]) => text.startsWith(signature, offset));
  const format = signed?.[0] ?? EXTENSIONS[path.extname(file).toLowerCase()];
  if (format !== undefined) return format;
  throw new PcqatError('ERR_FORMAT', 'this is no model file that pcqat knows', {
    where: file,
    remedy: `Known are ${Object.keys(EXTENSIONS).join(', ')}.`,
  });
}

/**
 * Reads a model from a Keras (`.h5`, `.keras`), tfjs (`model.json`), ONNX (`.onnx`), frozen TensorFlow (`.pb`) or TFLite (`.tflite`) file
 * as a Graph: activations NHWC, kernels HWIO, batch normalization kept.
 *
 * @throws UnsupportedNodesError (`ERR_UNSUPPORTED`) listing every node that cannot be taken
 * @throws PcqatError `ERR_IO`, `ERR_FORMAT`, `ERR_NON_FINITE`, `ERR_SHAPE`, `ERR_GRAPH` for a file that is missing or wrong; `ERR_OPTION` for
 *   several inputs or outputs without a choice, or an unknown name; `ERR_MISSING_PEER` for Keras files without `h5wasm`
 * @example
 * ```ts
 * import { importModel, PcqatError } from 'pcqat';
 * try {
 *   const { model } = await importModel('no-such-file.onnx');
 *   console.log(model.graph.nodes.length);
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_IO
 * }
 * ```
 */
export async function importModel(file: string, options: ImportOptions = {}): Promise<ImportedModel> {
  const format = await detectFormat(file);
  const assemble = await READERS[format]();
  const { assembler, output, weightScales = new Map<string, Float32Array>() } = await assemble(file, options);
  return { model: assembler.finish(output), format, weightScales };
}

/**
 * Reads only the structure of a model file and says what pcqat could not take.
 *
 * @throws PcqatError `ERR_IO`, `ERR_FORMAT` as {@link importModel}
 * @example
 * ```ts
 * import { checkImport, PcqatError } from 'pcqat';
 * try {
 *   const { unsupported } = await checkImport('no-such-file.onnx');
 *   console.log(unsupported.length);
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_IO
 * }
 * ```
 */
export async function checkImport(file: string, options: ImportOptions = {}): Promise<ImportCheck> {
  const assemble = await READERS[await detectFormat(file)]();
  return (await assemble(file, options)).assembler.check();
}
