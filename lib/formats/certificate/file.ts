import { readFile } from 'node:fs/promises';
import { PcqatError } from '../../errors.js';
import { atomicWrite } from '../atomic-write.js';
import { certificateSchema, type ExportCertificate, FORMAT, VERSION } from './schema.js';

/** Far above the certificate of the largest model. */
const MAX_BYTES = 64 * 2 ** 20;

/**
 * Where the certificate of an exported file lies: `pcqat.tflite` → `pcqat.certificate.json`, in the same folder.
 *
 * @example
 * ```ts
 * import { certificatePath } from 'pcqat';
 * console.log(certificatePath('out/pcqat.tflite')); // out/pcqat.certificate.json
 * ```
 */
export function certificatePath(file: string): string {
  return `${file.replace(/\.tflite$/i, '')}.certificate.json`;
}

/**
 * Reads the text of a certificate. Every field is checked, unknown ones are refused.
 *
 * @param where - what to call it in errors
 * @throws PcqatError `ERR_FORMAT` naming the field; `ERR_UNSUPPORTED` for a certificate of another version
 * @example
 * ```ts
 * import { parseCertificate, PcqatError } from 'pcqat';
 * try {
 *   parseCertificate('{ "format": "pcqat-certificate"');
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_FORMAT
 * }
 * ```
 */
export function parseCertificate(text: string, where = 'certificate'): ExportCertificate {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw malformed(`it is no JSON: ${(cause as Error).message}`, where, cause);
  }
  return checkCertificate(json, where);
}

/** Checks what should be a certificate; see {@link parseCertificate}. */
export function checkCertificate(json: unknown, where = 'certificate'): ExportCertificate {
  const { format, version } = (typeof json === 'object' && json !== null ? json : {}) as { format?: unknown; version?: unknown };
  if (format === FORMAT && typeof version === 'number' && version !== VERSION) {
    throw new PcqatError('ERR_UNSUPPORTED', `it is a certificate of version ${version}, but version ${VERSION} is supported`, {
      where,
      remedy: 'Use the version of pcqat that wrote it, or export the model again.',
    });
  }
  const result = certificateSchema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue?.path.join('.');
  throw malformed(`${field ? `${field}: ` : ''}${issue?.message ?? 'it does not fit the schema'}`, where);
}

/**
 * Reads a certificate from disk; see {@link parseCertificate}.
 *
 * @throws PcqatError `ERR_IO` when the file cannot be read; else as {@link parseCertificate}
 * @example
 * ```ts
 * import { PcqatError, readCertificate } from 'pcqat';
 * try {
 *   await readCertificate('no-such.certificate.json');
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_IO
 * }
 * ```
 */
export async function readCertificate(path: string): Promise<ExportCertificate> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new PcqatError('ERR_IO', `the certificate cannot be read: ${(cause as Error).message}`, {
      where: path,
      remedy: 'Check the path; exports have their certificate beside them.',
      cause,
    });
  }
  if (bytes.byteLength > MAX_BYTES) throw malformed(`${bytes.byteLength} bytes are too many for a certificate`, path);
  return parseCertificate(bytes.toString('utf8'), path);
}

/**
 * Writes a certificate as JSON. The file appears complete or not at all; equal certificates give equal bytes.
 *
 * @throws PcqatError `ERR_IO` with the path and what to do
 * @example
 * ```ts
 * import { PcqatError, readCertificate, writeCertificate } from 'pcqat';
 * try {
 *   await writeCertificate(await readCertificate('lenet.certificate.json'), 'copy.certificate.json');
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_IO: there is no such certificate
 * }
 * ```
 */
export async function writeCertificate(certificate: ExportCertificate, path: string): Promise<void> {
  await atomicWrite(path, certificateText(certificate));
}

/** Indented JSON, with lists of numbers on one line. (No string of JSON has a line break in it.) */
export function certificateText(certificate: ExportCertificate): string {
  const text = JSON.stringify(certificate, null, 2);
  return `${text.replace(/\[\n[\d\s,.e+-]*\]/g, (list) => list.replace(/\s+/g, ' ').replace(/^\[ /, '[').replace(/ \]$/, ']'))}\n`;
}

function malformed(message: string, where: string, cause?: unknown): PcqatError {
  return new PcqatError('ERR_FORMAT', message, { where, remedy: 'The certificate is damaged or not from pcqat.', cause });
}
