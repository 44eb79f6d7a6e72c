/** Cells and tables of the benchmark's Markdown. */

export const number = (value: number, digits = 2): string => value.toFixed(digits);
export const mib = (bytes: number): string => `${number(bytes / 2 ** 20, 1)} MiB`;
export const mb = (bytes: number): string => `${number(bytes / 1e6, 0)} MB`;
export const share = (part: number, whole: number | undefined): string =>
  whole === undefined ? '–' : `${number((part / whole) * 100, 0)} %`;

/** A Markdown table; all columns but the first are right-aligned. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}
