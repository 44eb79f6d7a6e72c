/** One line of a plot. Coordinates are positive. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Lines over one pair of logarithmic axes. */
export interface Panel {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

const PANEL = { width: 460, height: 340, left: 58, right: 24, top: 34, bottom: 46 };
const COLORS = ['#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e', '#8c564b'];

const round = (value: number): string => String(Math.round(value * 10) / 10);
const escape = (text: string): string => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

/** Powers of ten around all values. */
function decades(values: readonly number[]): [low: number, high: number] {
  const [low, high] = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)))];
  return [low, high === low ? low + 1 : high];
}

function tickText(power: number): string {
  const value = 10 ** power;
  if (power >= 6) return `${value / 1e6}M`;
  return power >= 3 ? `${value / 1e3}k` : String(Number(value.toPrecision(1)));
}

function panelSvg({ title, xLabel, yLabel, series }: Panel, offset: number): string {
  const { width, height, left, right, top, bottom } = PANEL;
  const all = series.flatMap(({ points }) => points);
  const [xLow, xHigh] = decades(all.map(([x]) => x));
  const [yLow, yHigh] = decades(all.map(([, y]) => y));
  const toX = (value: number): number => left + ((Math.log10(value) - xLow) / (xHigh - xLow)) * (width - left - right);
  const toY = (value: number): number => height - bottom - ((Math.log10(value) - yLow) / (yHigh - yLow)) * (height - top - bottom);
  const powers = (low: number, high: number): number[] => Array.from({ length: high - low + 1 }, (_, i) => low + i);
  const grid = [
    ...powers(xLow, xHigh).map((power) => {
      const x = round(toX(10 ** power));
      return (
        `<line x1="${x}" x2="${x}" y1="${top}" y2="${height - bottom}" stroke="#ddd"/>` +
        `<text x="${x}" y="${height - bottom + 15}" text-anchor="middle">${tickText(power)}</text>`
      );
    }),
    ...powers(yLow, yHigh).map((power) => {
      const y = toY(10 ** power);
      return (
        `<line x1="${left}" x2="${width - right}" y1="${round(y)}" y2="${round(y)}" stroke="#ddd"/>` +
        `<text x="${left - 6}" y="${round(y + 4)}" text-anchor="end">${tickText(power)}</text>`
      );
    }),
  ];
  const lines = series.map(({ name, points }, i) => {
    const color = COLORS[i % COLORS.length]!;
    const at = points.map(([x, y]) => [round(toX(x)), round(toY(y))] as const);
    const dots = at.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="2.5" fill="${color}"/>`).join('');
    const y = top + 14 + 15 * i;
    const legend =
      `<line x1="${left + 8}" x2="${left + 26}" y1="${y - 4}" y2="${y - 4}" stroke="${color}" stroke-width="2"/>` +
      `<text x="${left + 31}" y="${y}">${escape(name)}</text>`;
    return `<polyline points="${at.map((point) => point.join(',')).join(' ')}" fill="none" stroke="${color}" stroke-width="1.5"/>${dots}${legend}`;
  });
  const middle = (top + height - bottom) / 2;
  return (
    `<g transform="translate(${offset} 0)"><text x="${left}" y="20" font-weight="bold">${escape(title)}</text>${grid.join('')}${lines.join('')}` +
    `<text x="${(left + width - right) / 2}" y="${height - 10}" text-anchor="middle">${escape(xLabel)}</text>` +
    `<text x="14" y="${middle}" text-anchor="middle" transform="rotate(-90 14 ${middle})">${escape(yLabel)}</text></g>`
  );
}

/** Panels side by side, as a self-contained SVG. Every panel has at least one point. */
export function logLogPlot(panels: readonly Panel[]): string {
  const width = PANEL.width * panels.length;
  const label = escape(panels.map(({ title }) => title).join('; '));
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${PANEL.height}" role="img" aria-label="${label}" ` +
    `font-family="sans-serif" font-size="11"><rect width="${width}" height="${PANEL.height}" fill="#fff"/>` +
    `${panels.map((panel, i) => panelSvg(panel, i * PANEL.width)).join('')}</svg>\n`
  );
}
