import type { ActivationNode } from '../../graph/types.js';
import { Refusal } from '../import/attempt.js';
import type { TfliteContext } from './import-context.js';
import type { TfliteOperator, TfliteTensor } from './types.js';

const FUSED: ReadonlyMap<string, ActivationNode['op']> = new Map([
  ['RELU', 'relu'],
  ['RELU6', 'relu6'],
  ['TANH', 'tanh'],
]);

/** Adds the activation that is fused into an operator. */
export function activated(context: TfliteContext, operator: TfliteOperator, layer: string): string {
  const fused = String(operator.options['fusedActivationFunction'] ?? 'NONE');
  const op = fused === 'NONE' ? impliedActivation(context.output(operator)) : FUSED.get(fused);
  if (fused !== 'NONE' && op === undefined) throw new Refusal(`its activation is ${fused}`, 'RELU, RELU6 and TANH are supported.');
  return op === undefined ? layer : context.assembler.add({ op, name: `${context.name(operator)}_${op}`, inputs: [layer] });
}

/**
 * A converter leaves a ReLU out where the codes of the output cannot fall below zero. Saturation then does what the ReLU would: with real
 * numbers it has to come back.
 */
function impliedActivation({ dtype, scale, zeroPoint }: TfliteTensor): 'relu' | 'relu6' | undefined {
  const [lowest, highest] = dtype === 'int8' ? [-128, 127] : dtype === 'uint8' ? [0, 255] : [NaN, NaN];
  const [step = 0] = scale;
  if (scale.length !== 1 || zeroPoint[0] !== lowest) return undefined;
  return Math.abs((highest - lowest) * step - 6) < step / 2 ? 'relu6' : 'relu';
}
