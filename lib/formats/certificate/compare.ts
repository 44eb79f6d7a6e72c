import { codebookOf, type FileContent, type LayerContent } from './describe.js';
import type { CertifiedLayer, CertifiedOperator, CertifiedTensor, ExportCertificate } from './schema.js';

/** One way in which a file is not what its certificate says. */
export interface CertificateMismatch {
  /** What differs: the file as a whole, a layer with weights, another tensor or operator, or an outcome of running the model. */
  readonly kind: 'file' | 'layer' | 'tensor' | 'operator' | 'fidelity';
  /** Of the layer or tensor; an operator is called by its output; else empty. */
  readonly name: string;
  /** What differs, e.g. `the codes of the kernel differ`. */
  readonly message: string;
}

/** How to say which field differs; others are called by their name. */
const TENSOR_FIELDS: Readonly<Record<string, string>> = {
  index: 'the position',
  dtype: 'the element type',
  shapeSignature: 'the shape signature',
  scales: 'the number of scales',
  axis: 'the axis of the scales',
  dataSha256: 'the data',
  scalesSha256: 'the scales',
  zeroPointsSha256: 'the zero points',
};
/** Implied by the hashes. */
const SUMMARIES: ReadonlySet<string> = new Set(['smallestScale', 'largestScale', 'smallestZeroPoint', 'largestZeroPoint']);

/**
 * Where the content of a file differs from its certificate, layer by layer, tensor by tensor, operator by operator.
 * What the file cannot show (technique, zeros before the export) is checked for contradictions.
 */
export function compareContent(certificate: ExportCertificate, file: FileContent): CertificateMismatch[] {
  const nameOf = (index: number): string => file.model.tensors[index]?.name ?? `tensor ${index}`;
  return [
    ...pairs(certificate.layers, file.layers).flatMap(([certified, found]) => compareLayers(certified, found)),
    ...pairs(certificate.tensors, file.tensors).flatMap(([certified, found]) =>
      compareTensors(certified, found).map((message): CertificateMismatch => ({
        kind: 'tensor',
        name: (certified ?? found)?.name ?? '',
        message,
      })),
    ),
    ...pairs(certificate.operators, file.operators).flatMap(([certified, found], index) =>
      compareOperators(certified, found).map((message): CertificateMismatch => {
        const layer = certificate.layers.find(({ operatorIndex }) => operatorIndex === index);
        if (layer !== undefined) return { kind: 'layer', name: layer.name, message };
        return { kind: 'operator', name: nameOf((certified ?? found)?.outputs[0] ?? -1), message };
      }),
    ),
    ...(['inputs', 'outputs'] as const)
      .filter((field) => !same(certificate[field], file[field]))
      .map((field): CertificateMismatch => ({ kind: 'file', name: '', message: `the model's ${field} are other tensors` })),
  ];
}

function compareLayers(certified: CertifiedLayer | undefined, found: LayerContent | undefined): CertificateMismatch[] {
  const at = (message: string): CertificateMismatch => ({ kind: 'layer', name: (certified ?? found)?.name ?? '', message });
  if (found === undefined) return [at('the file does not have it')];
  if (certified === undefined) return [at('the certificate does not have it')];
  const problems: string[] = [];
  for (const field of ['name', 'operator', 'operatorIndex', 'weights', 'zerosAfter', 'codes', 'codesPerChannelMax'] as const) {
    if (certified[field] !== found[field]) problems.push(differs(LAYER_FIELDS[field], certified[field], found[field]));
  }
  if (!same(certified.codebook, codebookOf(found, certified.granularity))) problems.push('the codebook differs');
  for (const part of ['kernel', 'bias'] as const) {
    const [one, other] = [certified[part], found[part]];
    if (one === undefined && other === undefined) continue;
    problems.push(...compareTensors(one, other).map((message) => `${part}: ${message}`));
  }
  problems.push(...broken(certified, found));
  return problems.map(at);
}

const LAYER_FIELDS = {
  name: 'the name',
  operator: 'the operator',
  operatorIndex: 'the position',
  weights: 'the number of weights',
  zerosAfter: 'the number of zeros',
  codes: 'the number of distinct codes',
  codesPerChannelMax: 'the number of distinct codes per channel',
} as const;

/** What may never be, whatever the certificate says. */
function broken({ technique, granularity, clusters, zerosBefore }: CertifiedLayer, found: LayerContent): string[] {
  const problems: string[] = [];
  if (zerosBefore > found.zerosAfter) problems.push(`${zerosBefore} weights were zero but only ${found.zerosAfter} are in the file`);
  const codes = granularity === 'channel' ? found.codesPerChannelMax : found.codes;
  if (clusters !== null && (technique === 'cqat' || technique === 'pcqat') && codes > clusters)
    problems.push(`it has ${codes} distinct codes but ${clusters} clusters`);
  return problems;
}

function compareTensors(certified: CertifiedTensor | undefined, found: CertifiedTensor | undefined): string[] {
  if (found === undefined) return ['the file does not have it'];
  if (certified === undefined) return ['the certificate does not have it'];
  const fields = [...new Set([...Object.keys(certified), ...Object.keys(found)])] as (keyof CertifiedTensor)[];
  const different = fields.filter((field) => !same(certified[field], found[field]));
  const plain = different.filter((field) => !SUMMARIES.has(field));
  return (plain.length > 0 ? plain : different).map((field) => {
    const [one, other] = [certified[field], found[field]];
    const words = TENSOR_FIELDS[field] ?? `the ${field}`;
    if (found.scales === 1 && field === 'scalesSha256')
      return differs('the scale', certified.smallestScale ?? 'none', found.smallestScale ?? 'none');
    if (found.scales === 1 && field === 'zeroPointsSha256')
      return differs('the zero point', certified.smallestZeroPoint ?? 'none', found.smallestZeroPoint ?? 'none');
    return field.endsWith('Sha256') ? `${words} differ` : differs(words, one ?? 'none', other ?? 'none');
  });
}

function compareOperators(certified: CertifiedOperator | undefined, found: CertifiedOperator | undefined): string[] {
  if (found === undefined) return ['the file does not have the operator'];
  if (certified === undefined) return ['the certificate does not have the operator'];
  const problems = (['operator', 'version', 'inputs', 'outputs'] as const)
    .filter((field) => !same(certified[field], found[field]))
    .map((field) => differs(field === 'operator' ? 'the operator' : `the operator's ${field}`, certified[field], found[field]));
  const names = [...new Set([...Object.keys(certified.options), ...Object.keys(found.options)])];
  for (const name of names) {
    const [one, other] = [certified.options[name], found.options[name]];
    if (!same(one, other)) problems.push(differs(`the option ${name}`, one ?? 'none', other ?? 'none'));
  }
  return problems;
}

type Shown = string | number | boolean | readonly number[];

const differs = (what: string, certified: Shown, found: Shown): string =>
  certified === found ? `${what} differs` : `${what} is ${show(found)}, certified ${show(certified)}`;

const show = (value: Shown): string => (typeof value === 'object' ? `[${value.join(', ')}]` : String(value));

/** Equality of plain values. NaN equals itself, 0 and −0 are one (JSON knows neither; a hash tells −0 apart). */
function same(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((value, i) => same(value, b[i]));
  return a === b || (Number.isNaN(a) && Number.isNaN(b));
}

/** Both lists side by side, as far as the longer one goes. */
function pairs<A, B>(a: readonly A[], b: readonly B[]): [A | undefined, B | undefined][] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => [a[i], b[i]]);
}
