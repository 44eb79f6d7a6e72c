import { PcqatError } from '../errors.js';
import { compareContent, type CertificateMismatch } from '../formats/certificate/compare.js';
import { describeFile, type FileContent, sha256 } from '../formats/certificate/describe.js';
import { checkCertificate } from '../formats/certificate/file.js';
import type { ExportCertificate } from '../formats/certificate/schema.js';
import { type Int8Options, Int8Runner } from './int8.js';
import { floatsFromBase64, int8FromBase64, probeDifferences, toBase64 } from './probe.js';

/** One layer of the file as {@link verifyExport} found it. */
export interface VerifiedLayer {
  readonly name: string;
  readonly operator: string;
  readonly weights: number;
  /** In the file. */
  readonly zeros: number;
  /** Distinct codes in the file: of the whole kernel, and of the channel that has most. */
  readonly codes: number;
  readonly codesPerChannelMax: number;
  /** Everything of the layer is as certified. */
  readonly ok: boolean;
  /** What is not. */
  readonly problems: readonly string[];
}

/** What {@link verifyExport} returns. */
export interface ExportVerification {
  /** The file is exactly the one that was certified, and the figures of the certificate come out again. */
  readonly ok: boolean;
  readonly file: { readonly sha256: string; readonly bytes: number };
  /** Empty for bytes that are no .tflite file. */
  readonly layers: readonly VerifiedLayer[];
  readonly mismatches: readonly CertificateMismatch[];
  /** Differences on the probe in steps of the output, measured now; absent where the probe was not run, as in a file of other content. */
  readonly fidelity?: {
    readonly simulation?: { readonly meanSteps: number; readonly maxSteps: number };
    readonly foreign?: { readonly meanSteps: number; readonly maxSteps: number };
  };
}

/**
 * Checks a file against its certificate: reads it and derives everything again, layer by layer, then runs the certificate's probe on our
 * executor and compares with the recorded outputs of the simulation and of the foreign runtime. Needs nothing but the two.
 *
 * A mismatch is no error: it is in the report, with the layer, tensor or operator that it concerns.
 *
 * @throws PcqatError `ERR_FORMAT`, `ERR_UNSUPPORTED` for what is no certificate or one of another version; `ERR_DTYPE` for what are no bytes
 * @example
 * ```ts
 * import { certifyExport, convertToInt8, encodeTflite, verifyExport, zoo } from 'pcqat';
 * const x = Float32Array.from({ length: 784 }, (_, i) => Math.sin(i));
 * const data = { name: 'sine', size: 1, inputShape: [28, 28, 1], x, y: new Int32Array(1) };
 * const model = zoo.lenet5();
 * const tflite = await convertToInt8(model, { representativeData: data });
 * const certificate = await certifyExport(model, encodeTflite(tflite), { data });
 * const other = encodeTflite({ ...tflite, description: 'another' });
 * console.log((await verifyExport(other, certificate)).mismatches[0]?.kind); // file
 * ```
 */
export async function verifyExport(
  bytes: Uint8Array,
  certificate: ExportCertificate,
  options: Int8Options = {},
): Promise<ExportVerification> {
  if (!(bytes instanceof Uint8Array))
    throw new PcqatError('ERR_DTYPE', 'verifyExport takes the bytes of a file as a Uint8Array', { where: 'bytes' });
  const checked = checkCertificate(certificate);
  const file = { sha256: sha256(bytes), bytes: bytes.byteLength };
  const sameFile = file.sha256 === checked.file.sha256 && file.bytes === checked.file.bytes;
  let content: FileContent;
  try {
    content = describeFile(bytes, 'file');
  } catch (error) {
    if (!(error instanceof PcqatError)) throw error;
    return { ok: false, file, layers: [], mismatches: [ofFile(`the file cannot be read: ${error.message}`)] };
  }
  const different = compareContent(checked, content);
  // A file of other content need not even be runnable.
  const probe = different.length > 0 ? undefined : await runProbe(checked, content, options);
  const mismatches = [
    ...(sameFile ? [] : [ofFile(hashMessage(file.bytes, checked, different))]),
    ...different,
    ...(probe?.mismatches ?? []),
  ];
  return {
    ok: mismatches.length === 0,
    file,
    layers: verifiedLayers(checked, content, different),
    mismatches,
    ...(probe === undefined ? {} : { fidelity: probe.fidelity }),
  };
}

const ofFile = (message: string): CertificateMismatch => ({ kind: 'file', name: '', message });
const ofFidelity = (message: string): CertificateMismatch => ({ kind: 'fidelity', name: '', message });

function hashMessage(bytes: number, { file }: ExportCertificate, different: readonly CertificateMismatch[]): string {
  const what = bytes === file.bytes ? "the file's hash differs" : `the file has ${bytes} bytes, certified ${file.bytes}`;
  const rest = ', though all layers, tensors and operators are as certified: bytes that no runtime uses have changed';
  return different.length > 0 ? what : what + rest;
}

function verifiedLayers(
  certificate: ExportCertificate,
  { layers }: FileContent,
  mismatches: readonly CertificateMismatch[],
): VerifiedLayer[] {
  return layers.map(({ name, operator, weights, zerosAfter, codes, codesPerChannelMax }, i) => {
    const certified = certificate.layers[i]?.name ?? name; // a mismatch calls it so
    const problems = mismatches.filter((one) => one.kind === 'layer' && one.name === certified).map(({ message }) => message);
    return { name, operator, weights, zeros: zerosAfter, codes, codesPerChannelMax, ok: problems.length === 0, problems };
  });
}

type Probed = { readonly mismatches: CertificateMismatch[]; readonly fidelity: NonNullable<ExportVerification['fidelity']> };

async function runProbe({ fidelity }: ExportCertificate, { model }: FileContent, options: Int8Options): Promise<Probed> {
  const { probe, simulation, foreign } = fidelity;
  const runner = new Int8Runner(model, options);
  try {
    const input = int8FromBase64(probe.input);
    const size = probe.rows * runner.outputSize;
    const lengths = [
      ['the input of the probe', input.length, probe.rows * runner.inputSize],
      ['the output of the probe', int8FromBase64(probe.output).length, size],
      ['the output of the simulation', simulation === null ? size : Buffer.byteLength(simulation.output, 'base64') / 4, size],
      ['the output of the foreign runtime', foreign === null ? size : int8FromBase64(foreign.output).length, size],
    ] as const;
    const wrong = lengths.filter(([, length, expected]) => length !== expected);
    if (wrong.length > 0) {
      return {
        mismatches: wrong.map(([what, length, expected]) => ofFidelity(`${what} has ${length} values but must have ${expected}`)),
        fidelity: {},
      };
    }
    const output = (await runner.runQuantized(input)) as Int8Array;
    const mismatches = toBase64(output) === probe.output ? [] : [ofFidelity('our executor gives other outputs for the probe')];
    const found: { simulation?: Differences; foreign?: Differences } = {};
    for (const [name, words, recorded, values] of [
      ['simulation', 'the simulation', simulation, simulation && floatsFromBase64(simulation.output)],
      ['foreign', 'the foreign runtime', foreign, foreign && int8FromBase64(foreign.output)],
    ] as const) {
      if (recorded === null || values === null) continue;
      found[name] = probeDifferences(runner.output, output, values);
      for (const figure of ['meanSteps', 'maxSteps'] as const) {
        if (found[name][figure] === recorded[figure]) continue;
        mismatches.push(ofFidelity(`${words}: ${figure} on the probe is ${found[name][figure]}, certified ${recorded[figure]}`));
      }
    }
    return { mismatches, fidelity: found };
  } finally {
    runner.dispose();
  }
}

type Differences = { readonly meanSteps: number; readonly maxSteps: number };
