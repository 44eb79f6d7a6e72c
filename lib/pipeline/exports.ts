import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { convertToFloat } from '../compress/quantization/convert-float.js';
import { stripQuantization } from '../compress/quantization/strip.js';
import { writeTflite } from '../formats/tflite/write.js';
import type { TfliteModel } from '../formats/tflite/types.js';
import type { Model } from '../graph/model.js';
import { EXPORT_FORMATS, type ExportFormat } from './export-formats.js';
import type { Recipe } from './recipe.js';
import { recipeError } from './recipe-error.js';

/** What a writer may need to write one column. */
export interface ExportJob {
  /** The trained model, pruning and clustering stripped: a float model, or one with fake quantization. */
  readonly model: Model;
  /** The same as the column's int8 .tflite file, which is written and verified already. */
  readonly tflite: TfliteModel;
  /** Bytes of that file. */
  readonly bytes: Uint8Array;
  /** Path of the files without an extension, e.g. `out/pcqat`. */
  readonly stem: string;
}

/** Writes the files of one format and returns their paths. */
export type WriteExport = (job: ExportJob) => Promise<readonly string[]>;

/**
 * Writers by format, each loaded when it is used. `finishColumn` writes the int8 .tflite itself, as the report and the certificate rest on
 * it. A format without a writer is refused before anything is trained.
 */
const WRITERS: Readonly<Partial<Record<ExportFormat, () => Promise<WriteExport>>>> = {
  onnx: async () => {
    const { writeOnnx } = await import('../formats/onnx/write.js');
    return async ({ tflite, stem }) => {
      await writeOnnx(`${stem}.onnx`, tflite);
      return [`${stem}.onnx`];
    };
  },
  'onnx-float': async () => {
    const { writeOnnx } = await import('../formats/onnx/write.js');
    return async ({ model, stem }) => {
      await writeOnnx(`${stem}-float.onnx`, stripQuantization(model));
      return [`${stem}-float.onnx`];
    };
  },
  tfjs: async () => {
    const { writeTfjs } = await import('../formats/tfjs/write.js');
    return async ({ model, stem }) => {
      await writeTfjs(stripQuantization(model), `${stem}-tfjs`);
      return (await readdir(`${stem}-tfjs`)).map((name) => join(`${stem}-tfjs`, name));
    };
  },
  'c-header': async () => {
    const { writeCHeader } = await import('../formats/c-header/write.js');
    return async ({ bytes, stem }) => {
      await writeCHeader(`${stem}.h`, bytes);
      return [`${stem}.h`];
    };
  },
  'tflite-float': async () => writeFloat('f32', 'float'),
  'tflite-float16': async () => writeFloat('f16', 'float16'),
};

function writeFloat(weights: 'f32' | 'f16', suffix: string): WriteExport {
  return async ({ model, stem }) => {
    await writeTflite(convertToFloat(model, { weights }), `${stem}-${suffix}.tflite`);
    return [`${stem}-${suffix}.tflite`];
  };
}

/** Formats of a recipe beside the int8 .tflite, each once. */
export function extraFormats({ outputs }: Recipe): readonly ExportFormat[] {
  return EXPORT_FORMATS.filter((format) => format !== 'tflite' && outputs.formats?.includes(format));
}

/**
 * Checks that every format of a recipe can be written.
 *
 * @throws PcqatError `ERR_RECIPE`, naming the field
 */
export function checkFormats(recipe: Recipe, writers: typeof WRITERS = WRITERS): void {
  const known = ['tflite', ...Object.keys(writers)];
  recipe.outputs.formats?.forEach((format, index) => {
    if (known.includes(format)) return;
    throw recipeError(`outputs.formats[${index}]`, `'${format}' cannot be written yet`, `Use ${known.join(', ')}.`);
  });
}

/** Writes a column in the formats that are asked for; paths by format. */
export async function writeExports(
  formats: readonly ExportFormat[],
  job: ExportJob,
  writers: typeof WRITERS = WRITERS,
): Promise<Readonly<Partial<Record<ExportFormat, readonly string[]>>>> {
  const written: Partial<Record<ExportFormat, readonly string[]>> = {};
  for (const format of formats) {
    const load = writers[format];
    if (load !== undefined) written[format] = await (await load())(job);
  }
  return written;
}
