import { inspectTflite, type TensorSummary, type TfliteSummary } from '../../formats/tflite/inspect.js';
import { percent, thousands } from '../../report/format.js';
import { alignColumns } from '../../report/table.js';
import { readBytes } from '../../formats/read-bytes.js';
import { printable } from '../input.js';

const scaleText = ({ scale, zeroPoint }: TensorSummary): string => {
  if (scale.length === 0) return '–';
  const low = Math.min(...scale);
  const high = Math.max(...scale);
  const range = scale.length === 1 ? low.toPrecision(4) : `${scale.length} × ${low.toPrecision(3)}…${high.toPrecision(3)}`;
  return zeroPoint.every((zero) => zero === 0) ? range : `${range}, zero ${zeroPoint[0]}`;
};

/** A summary as text: inputs and outputs, layers, sizes. */
export function inspectText(file: string, summary: TfliteSummary): string {
  const tensor = (label: string, one: TensorSummary): string =>
    `${label} ${one.name}: ${one.dtype} [${one.shape.join(', ')}], scale ${scaleText(one)}`;
  const head = ['layer', 'operator', 'shape', 'type', 'scales', 'weights', 'zeros', 'codes', 'per channel'];
  const rows = summary.layers.map((layer) => [
    layer.name,
    layer.op,
    layer.shape.join('×'),
    layer.dtype,
    String(layer.scales),
    thousands(layer.weights),
    `${percent(layer.zeros, 1)} %`,
    String(layer.codes),
    String(layer.codesPerChannelMax),
  ]);
  const tensors = summary.tensors.map((one) => [one.name, one.dtype, one.shape.join('×'), scaleText(one)]);
  return [
    printable(`${file}: ${summary.description}`),
    ...summary.inputs.map((one) => tensor('input ', one)),
    ...summary.outputs.map((one) => tensor('output', one)),
    '',
    alignColumns([head, ...rows], 4),
    '',
    alignColumns([['tensor', 'type', 'shape', 'scale'], ...tensors], 4),
    '',
    `operators: ${summary.operators.join(', ')}`,
    `bytes: ${thousands(summary.bytes)} raw, ${thousands(summary.gzipBytes)} gzip, ${thousands(summary.brotliBytes)} brotli, ${thousands(summary.zipBytes)} zip`,
  ]
    .map((text) => text.split('\n').map(printable).join('\n'))
    .join('\n');
}

/** `pcqat inspect <file.tflite>`. */
export async function inspectCommand(file: string, options: { readonly json: boolean }): Promise<void> {
  const summary = inspectTflite(await readBytes(file), file);
  process.stdout.write(`${options.json ? JSON.stringify(summary) : inspectText(file, summary)}\n`);
}
