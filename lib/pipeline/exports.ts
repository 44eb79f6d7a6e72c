import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
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

type Writers = Readonly<Partial<Record<ExportFormat, () => Promise<WriteExport>>>>;

/**
 * Writers by format, each loaded when it is used. `finishColumn` writes the int8 .tflite itself, as the report and the certificate rest on
 * it. A format without a writer is refused before anything is trained.
 */
const WRITERS: Readonly<Record<Exclude<ExportFormat, 'tflite'>, () => Promise<WriteExport>>> = {
  onnx: async () => {
    const { writeOnnx } = await import('../formats/onnx/write.js');
    return ({ tflite, stem }) => one(`${stem}.onnx`, (file) => writeOnnx(tflite, file));
  },
  'onnx-float': async () => {
    const { writeOnnx } = await import('../formats/onnx/write.js');
    return ({ model, stem }) => one(`${stem}-float.onnx`, (file) => writeOnnx(stripQuantization(model), file));
  },
  tfjs: async () => {
    const { writeTfjs } = await import('../formats/tfjs/write.js');
    return async ({ model, stem }) => {
      const folder = `${stem}-tfjs`;
      await writeTfjs(stripQuantization(model), folder);
      return (await readdir(folder)).sort().map((name) => join(folder, name));
    };
  },
  'c-header': async () => {
    const { writeCHeader } = await import('../formats/c-header/write.js');
    const nameOf = (stem: string): string => `${basename(stem).replaceAll('-', '_')}_model`;
    return ({ bytes, stem }) => one(`${stem}.h`, (file) => writeCHeader(bytes, file, { name: nameOf(stem) }));
  },
  'tflite-float': async () => {
    return ({ model, stem }) => one(`${stem}-float.tflite`, (file) => writeTflite(convertToFloat(model), file));
  },
  'tflite-float16': async () => {
    return ({ model, stem }) => one(`${stem}-float16.tflite`, (file) => writeTflite(convertToFloat(model, { weights: 'f16' }), file));
  },
};

async function one(file: string, write: (file: string) => Promise<void>): Promise<readonly string[]> {
  await write(file);
  return [file];
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
export function checkFormats(recipe: Recipe, writers: Writers = WRITERS): void {
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
  writers: Writers = WRITERS,
): Promise<Readonly<Partial<Record<ExportFormat, readonly string[]>>>> {
  const written: Partial<Record<ExportFormat, readonly string[]>> = {};
  for (const format of formats) {
    const load = writers[format];
    if (load !== undefined) written[format] = await (await load())(job);
  }
  return written;
}
