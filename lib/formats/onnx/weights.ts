import type { ImportContext } from './context.js';
import type { Constant } from './values.js';

/** Notes for a layer of ours the scales of integer weights, where they are one or one per output channel. */
export function recordScales(context: ImportContext, layer: string, { quantization }: Constant, outputAxis: number): void {
  if (quantization === undefined) return;
  if (quantization.scales.length === 1 || quantization.axis === outputAxis)
    context.weightScales.set(`${layer}/kernel`, quantization.scales);
}
