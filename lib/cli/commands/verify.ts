import { PcqatError } from '../../errors.js';
import { type ExportVerification, verifyExport } from '../../evaluate/verify.js';
import type { CertificateMismatch } from '../../formats/certificate/compare.js';
import { certificatePath, readCertificate } from '../../formats/certificate/file.js';
import type { Agreement, ExportCertificate } from '../../formats/certificate/schema.js';
import { thousands } from '../../report/format.js';
import { alignColumns } from '../../report/table.js';
import { readBytes } from '../../formats/read-bytes.js';
import { printable } from '../input.js';

/** Mismatches shown one by one. */
const SHOWN = 20;

const describe = ({ kind, name, message }: CertificateMismatch): string =>
  printable(kind === 'file' || kind === 'fidelity' ? message : `${kind} '${name}': ${message}`);

const zerosText = (before: number | undefined, after: number): string =>
  before === undefined ? thousands(after) : `${thousands(before)} → ${thousands(after)}`;

const stepsText = (steps: number | null | undefined): string => (typeof steps === 'number' ? String(steps) : '–');

function fidelityLines({ fidelity }: ExportCertificate, found: ExportVerification['fidelity']): string[] {
  const lines = (['simulation', 'foreign'] as const).map((name) => {
    const recorded = fidelity[name];
    const label =
      name === 'simulation'
        ? 'simulation'
        : fidelity.foreign === null
          ? 'foreign runtime'
          : `${fidelity.foreign.name} ${fidelity.foreign.version}`;
    if (recorded === null) return `${label}: not compared: ${fidelity[`${name}Missing`] ?? 'unknown'}`;
    const onData = `certified ${agreementText(recorded.data, fidelity.data)}`;
    const now = found?.[name];
    const onProbe =
      now === undefined ? 'probe not run' : `on ${fidelity.probe.rows} probe rows: mean ${now.meanSteps}, largest ${now.maxSteps} steps`;
    return `${label}: ${onProbe}; ${onData}`;
  });
  const { simulation } = fidelity;
  const fakeQuant = simulation === null ? [] : [`fake quantization alone: certified ${agreementText(simulation.fakeQuant, fidelity.data)}`];
  return [...lines.slice(0, 1), ...fakeQuant, ...lines.slice(1)].map(printable);
}

function agreementText({ rows, agreement, meanSteps, maxSteps }: Agreement, data: string): string {
  return `on ${thousands(rows)} rows of ${data}: same class ${agreement}, mean ${meanSteps}, largest ${maxSteps}`;
}

/** A verification as text: a row per layer, fidelity, and what is wrong. */
export function verifyText(file: string, certificate: ExportCertificate, result: ExportVerification): string {
  const head = ['layer', 'operator', 'technique', 'granularity', 'clusters', 'weights', 'zeros', 'codes', 'per channel', 'difference', ''];
  const rows = result.layers.map(({ name, operator, weights, zeros, codes, codesPerChannelMax, ok }, i) => {
    const certified = certificate.layers[i];
    return [
      name,
      operator,
      certified?.technique ?? '–',
      certified?.granularity ?? '–',
      String(certified?.clusters ?? '–'),
      thousands(weights),
      zerosText(certified?.zerosBefore, zeros),
      String(codes),
      String(codesPerChannelMax),
      stepsText(certified?.largestDifference),
      ok ? 'ok' : 'DIFFERS',
    ].map(printable);
  });
  const { mismatches } = result;
  const hidden = mismatches.length - SHOWN;
  return [
    printable(`${file}: ${thousands(result.file.bytes)} bytes, sha256 ${result.file.sha256}`),
    '',
    ...(rows.length === 0 ? [] : [alignColumns([head, ...rows], 4), '']),
    ...fidelityLines(certificate, result.fidelity),
    '',
    ...(result.ok ? ['The file is as certified.'] : mismatches.slice(0, SHOWN).map((one) => `MISMATCH ${describe(one)}`)),
    ...(hidden > 0 ? [`… and ${hidden} more`] : []),
  ].join('\n');
}

/**
 * `pcqat verify <file.tflite> [certificate]`.
 *
 * @throws PcqatError `ERR_INVARIANT` when the file is not as certified
 */
export async function verifyCommand(
  file: string,
  certificateFile: string | undefined,
  options: { readonly json: boolean; readonly threads?: number },
): Promise<void> {
  const path = certificateFile ?? certificatePath(file);
  const certificate = await readCertificate(path);
  const result = await verifyExport(await readBytes(file), certificate, options.threads === undefined ? {} : { threads: options.threads });
  process.stdout.write(`${options.json ? JSON.stringify(result) : verifyText(file, certificate, result)}\n`);
  if (result.ok) return;
  // What concerns a layer or tensor says more than that the hash of the file differs.
  const first = result.mismatches.find(({ kind }) => kind !== 'file') ?? result.mismatches[0];
  const more = result.mismatches.length - 1;
  throw new PcqatError(
    'ERR_INVARIANT',
    `the file is not as certified: ${first ? describe(first) : ''}${more > 0 ? ` (and ${more} more)` : ''}`,
    {
      where: file,
      remedy: `Do not use it, or export it again; the certificate is ${path}.`,
    },
  );
}
