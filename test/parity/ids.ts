/** The numbers of the specification's lists, and how test titles name them. */

const CLASSES = 'PCQXW';
/** How many entries each list has. */
const LENGTHS = { P: 40, C: 52, Q: 27, X: 13, W: 45 } as const;
type List = keyof typeof LENGTHS;

/** The registry tests of clustering are one row. */
export const REGISTRY_ROW = 'C24–C46';

const SINGLE = String.raw`\b([${CLASSES}])(\d{1,2})\b`;
const NUMBER = new RegExp(`${SINGLE}(?:\\s*[–-]\\s*\\1(\\d{1,2})\\b)?`, 'g');

/** Matches titles with at least one number, as mocha's `grep` needs. */
export const ANY_ID = new RegExp(SINGLE);

/** The ids of one list in order, the registry tests as one. */
function idsOf(list: List): string[] {
  const ids = Array.from({ length: LENGTHS[list] }, (_, i) => rowOf(list, i + 1));
  return [...new Set(ids)];
}

/** P1–P40, C1–C52, Q1–Q27, X1–X13: what the reference's tests pin down. */
export const STATEMENT_IDS: readonly string[] = (['P', 'C', 'Q', 'X'] as const).flatMap(idsOf);
/** W1–W45: the reference's weaknesses. */
export const WEAKNESS_IDS: readonly string[] = idsOf('W');

const KNOWN = new Set([...STATEMENT_IDS, ...WEAKNESS_IDS]);
export const isKnown = (id: string): boolean => KNOWN.has(id);

/** The rows that a title names: `P12`, `C24–C46` (one row), and ranges such as `X6–X8`. Each once, in order of appearance. */
export function idsIn(title: string): string[] {
  const ids = new Set<string>();
  for (const [, list, first, last] of title.matchAll(NUMBER)) {
    const from = Number(first);
    for (let n = from; n <= Number(last ?? from); n++) ids.add(rowOf(list as List, n));
  }
  return [...ids];
}

function rowOf(list: List, number: number): string {
  return list === 'C' && number >= 24 && number <= 46 ? REGISTRY_ROW : `${list}${number}`;
}
