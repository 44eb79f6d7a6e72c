import type { InferenceResult } from '../inference.js';
import { number, table } from './table.js';

/** int8 inference as Markdown. */
export function inferenceText({ rows, version }: InferenceResult): string {
  const cells = rows.map(({ net, batch, int8Ms, floatMs, xnnpackMs, builtinMs, ratio }) => [
    net,
    String(batch),
    number(int8Ms),
    number(floatMs),
    number(int8Ms / floatMs),
    ...(version === null ? [] : [xnnpackMs, builtinMs, ratio].map((value) => (value === null ? '–' : number(value)))),
  ]);
  const beside = version === null ? [] : ['TFLite XNNPACK ms', 'TFLite builtin ms', 'int8 / better TFLite'];
  const head = ['network', 'batch', 'int8 ms', 'float ms', 'int8 / float', ...beside];
  return `Inference of a whole batch${version === null ? '' : `, beside TFLite of TensorFlow ${version}`}:\n\n${table(head, cells)}`;
}
