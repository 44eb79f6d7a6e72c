import { readFile } from 'node:fs/promises';
import { convertToInt8, type ConvertOptions } from '../compress/quantization/convert.js';
import type { Dataset } from '../data/types.js';
import { certificatePath, writeCertificate } from '../formats/certificate/file.js';
import type { ExportCertificate } from '../formats/certificate/schema.js';
import { writeTflite } from '../formats/tflite/write.js';
import type { Model } from '../graph/model.js';
import { certifyExport, type CertifyOptions } from './certify.js';

/** Options of {@link exportInt8}. A certificate is about int8 inputs and outputs; files with others are made by {@link convertToInt8}. */
export interface ExportOptions extends Omit<ConvertOptions, 'inputOutput'>, Omit<CertifyOptions, 'data'> {
  /** What simulation, file and foreign runtime are compared on; labels are not looked at. A test set, for one. */
  readonly data: Dataset;
}

/**
 * Converts a model to a full-integer int8 `.tflite`, writes it, reads it back and writes its certificate beside it
 * (`model.tflite`, `model.certificate.json`). Each file is written in full or not at all.
 *
 * @param path - of the `.tflite` file
 * @returns the certificate
 * @throws PcqatError as {@link convertToInt8} and {@link certifyExport}; `ERR_IO` when a file cannot be written. The `.tflite` stays when only
 *   its certification fails.
 * @example
 * ```ts
 * import { calibrate, exportInt8, quantizeModel, zoo } from 'pcqat';
 * const x = Float32Array.from({ length: 4 * 784 }, (_, i) => Math.sin(i));
 * const data = { name: 'sine', size: 4, inputShape: [28, 28, 1], x, y: new Int32Array(4) };
 * const model = quantizeModel(zoo.lenet5());
 * await calibrate(model, data);
 * const certificate = await exportInt8(model, 'lenet5.tflite', { data, foreign: 'none' });
 * console.log(certificate.layers.length); // 5
 * ```
 */
export async function exportInt8(model: Model, path: string, options: ExportOptions): Promise<ExportCertificate> {
  await writeTflite(await convertToInt8(model, options), path);
  const certificate = await certifyExport(model, await readFile(path), options);
  await writeCertificate(certificate, certificatePath(path));
  return certificate;
}
