import { escapeHtml } from './escape.js';
import { percent, thousands } from './format.js';
import { histogramChart, lossChart, lossRange } from './svg.js';
import { tableNotes, tableRows } from './table.js';
import type { ColumnReport, LayerReport, Report } from './types.js';

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --paper: #fff; --band: #f3f5f7; --one: #0969da; --two: #bc4c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --paper: #0d1117; --band: #161b22; --one: #58a6ff; --two: #f0883e; } }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1, h2, h3 { line-height: 1.2; } h3 { font-size: 1rem; margin: 0 0 .25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
.notes, .legend { color: var(--soft); }
.grid2 { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
.grid3 { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
svg .label { font: 10px system-ui, sans-serif; fill: var(--soft); } svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .band0 { fill: var(--band); } svg .band1 { fill: none; }
svg .train { fill: none; stroke: var(--one); stroke-width: 1.5; } svg .validation { fill: none; stroke: var(--two); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .after { fill: var(--one); } svg .before { fill: none; stroke: var(--two); stroke-width: 1; }
.key { display: inline-block; width: 1.6em; height: 0; border-top: 2px solid var(--one); vertical-align: middle; margin-right: .3em; }
.key.dash { border-top: 2px dashed var(--two); } .key.thin { border-top: 2px solid var(--two); }
summary { cursor: pointer; font-weight: 600; }`;

const cell = (tag: 'th' | 'td', text: string): string => `<${tag}>${escapeHtml(text)}</${tag}>`;

function resultTable(report: Report): string {
  const [head, ...body] = tableRows(report);
  return (
    `<div class="scroll"><table><thead><tr>${head!.map((text) => `<th scope="col">${escapeHtml(text)}</th>`).join('')}</tr></thead><tbody>` +
    body
      .map(([label, ...cells]) => `<tr><th scope="row">${escapeHtml(label!)}</th>${cells.map((text) => cell('td', text)).join('')}</tr>`)
      .join('') +
    `</tbody></table></div>`
  );
}

function filesTable(columns: readonly ColumnReport[]): string {
  const head = ['File', 'bytes', 'gzip', 'brotli', 'zip', 'SHA-256'];
  const rows = columns.map(({ file, bytes, gzipBytes, brotliBytes, zipBytes, sha256 }) => [
    file,
    ...[bytes, gzipBytes, brotliBytes, zipBytes].map(thousands),
    `${sha256.slice(0, 16)}…`,
  ]);
  return (
    `<div class="scroll"><table><thead><tr>${head.map((text) => cell('th', text)).join('')}</tr></thead><tbody>` +
    `${rows.map((row) => `<tr>${row.map((text) => cell('td', text)).join('')}</tr>`).join('')}</tbody></table></div>`
  );
}

/** Zeros and codes of each layer, one column of cells per column of the report. */
function layerTable(columns: readonly ColumnReport[]): string {
  const names = [...new Set(columns.flatMap(({ layers }) => layers.map(({ name }) => name)))];
  const find = (column: ColumnReport, name: string): LayerReport | undefined => column.layers.find((layer) => layer.name === name);
  const rows = names.map((name) => {
    const weights = columns.map((column) => find(column, name)?.weights).find((count) => count !== undefined) ?? 0;
    const cells = columns.map((column) => {
      const layer = find(column, name);
      return layer ? `<td>${percent(layer.zeros, 1)} % · ${layer.codes}</td>` : '<td>–</td>';
    });
    return `<tr>${cell('td', name)}<td>${thousands(weights)}</td>${cells.join('')}</tr>`;
  });
  return (
    `<div class="scroll"><table><thead><tr><th>Layer</th><th>weights</th>${columns.map(({ title }) => cell('th', title)).join('')}</tr></thead>` +
    `<tbody>${rows.join('')}</tbody></table></div>`
  );
}

function histograms(columns: readonly ColumnReport[]): string {
  return columns
    .map(({ title, layers }, index) => {
      const charts = layers
        .filter(({ before, after }) => before !== undefined || after !== undefined)
        .map(({ name, before, after }) => `<figure><h3>${escapeHtml(name)}</h3>${histogramChart(name, before, after)}</figure>`);
      if (charts.length === 0) return '';
      // the last column, PCQAT in a full table, is what the reader came for
      return `<details${index === columns.length - 1 ? ' open' : ''}><summary>${escapeHtml(title)}</summary><div class="grid3">${charts.join('')}</div></details>`;
    })
    .join('');
}

/**
 * The report as one HTML page: no script, no font and no picture from elsewhere, readable in light and dark.
 * All text that comes from names of models, layers and data is escaped.
 *
 * @example
 * ```ts
 * import { writeFile } from 'node:fs/promises';
 * import { reportHtml, type Report } from 'pcqat';
 * export const save = (report: Report) => writeFile('report.html', reportHtml(report));
 * ```
 */
export function reportHtml(report: Report): string {
  const columns = Object.values(report.columns).filter((column) => column !== undefined);
  const range = lossRange(columns.map(({ history }) => history));
  const curves = columns.map(({ title, history }) => `<figure><h3>${escapeHtml(title)}</h3>${lossChart(title, history, range)}</figure>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(report.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escapeHtml(report.title)}</h1>
${resultTable(report)}
${tableNotes(report)
  .map((note) => `<p class="notes">${escapeHtml(note)}</p>`)
  .join('\n')}
<h2>Loss</h2>
<p class="legend"><span class="key"></span>training <span class="key dash"></span>validation; by epoch, logarithmic</p>
<div class="grid2">${curves.join('')}</div>
<h2>Layers</h2>
<p class="legend">zeros % · distinct int8 codes in the file</p>
${layerTable(columns)}
<h2>Weights before and after</h2>
<p class="legend"><span class="key thin"></span>after the float base <span class="key"></span>as used at the end; heights are square roots of the counts</p>
${histograms(columns)}
<h2>Files</h2>
${filesTable(columns)}
<p class="notes">pcqat ${escapeHtml(report.pcqat)}, Node ${escapeHtml(report.machine.node)}, ${escapeHtml(report.machine.platform)}</p>
</body>
</html>
`;
}
