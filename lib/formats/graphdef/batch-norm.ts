import type { ParameterSources } from '../import/types.js';
import { Refusal } from '../import/attempt.js';
import { isVector } from './bias.js';
import type { GraphContext } from './context.js';
import type { NodeDef } from './parse.js';

/** What TensorFlow's layers use; the file does not say it. */
const MOMENTUM = 0.99;
/** Of an operator that does not say it. */
const TF_EPSILON = 1e-4;

/** FusedBatchNorm and its versions. */
export function fusedBatchNorm(context: GraphContext, node: NodeDef): string {
  requireNhwc(node);
  if (node.flag('is_training', true)) {
    throw new Refusal('it normalizes by the batch, not by moving statistics', 'Freeze the graph for inference, with is_training false.');
  }
  const values = (index: number): (() => Float32Array) => context.constant(node, index).values;
  const parameters = { gamma: values(1), beta: values(2), moving_mean: values(3), moving_variance: values(4) };
  return add(context, node.name, context.value(node), node.real('epsilon', TF_EPSILON), parameters);
}

function add(context: GraphContext, name: string, input: string, epsilon: number, parameters: ParameterSources): string {
  return context.assembler.add({ op: 'batchNorm', name, inputs: [input], momentum: MOMENTUM, epsilon }, parameters);
}

export function requireNhwc(node: NodeDef): void {
  const format = node.text('data_format', 'NHWC');
  if (format !== 'NHWC') throw new Refusal(`its data_format is ${format}`, 'Freeze the graph with data_format NHWC.');
}

const isSum = (node: NodeDef | undefined): node is NodeDef => node?.op === 'Add' || node?.op === 'AddV2';

/**
 * `tf.nn.batch_normalization` spelt out: x · inv + (beta − mean · inv) with inv = Rsqrt(variance + epsilon) · gamma; gamma may be missing.
 * Called for the product x · inv.
 *
 * @returns the layer; undefined when it is something else
 */
export function spelledBatchNorm(context: GraphContext, product: NodeDef): string | undefined {
  const factor = [1, 0].find((i) => context.isConstant(product, i));
  const sum = context.onlyReader(product.name);
  if (factor === undefined || !isSum(sum)) return undefined;
  const scale = parseScale(context, context.inputName(product, factor));
  const shift = [0, 1].find((i) => context.isConstant(sum, i));
  if (scale === undefined || shift === undefined) return undefined;
  const offset = parseOffset(context, context.inputName(sum, shift), scale.name);
  if (offset === undefined) return undefined;
  const input = context.value(product, 1 - factor);
  const channels = context.assembler.shapeOf(input).at(-1) ?? 0;
  const names = { gamma: scale.gamma, beta: offset.beta, moving_mean: offset.mean, moving_variance: scale.variance };
  const constants = Object.entries(names).flatMap(([key, name]) =>
    name === undefined ? [] : [[key, context.constants.get(name)] as const],
  );
  if (!constants.every(([, constant]) => isVector(constant, channels))) return undefined;
  const parameters = Object.fromEntries(constants.map(([key, { values }]) => [key, values]));
  const layer = add(context, product.name.replace(/\/mul_1$/, ''), input, scale.epsilon, parameters);
  context.absorb(layer, sum);
  return layer;
}

interface Scale {
  /** The node that computes it. */
  readonly name: string;
  readonly gamma?: string;
  readonly variance: string;
  readonly epsilon: number;
}

/** Rsqrt(variance + epsilon), or its product with gamma. */
function parseScale(context: GraphContext, name: string): Scale | undefined {
  const node = context.constants.source(name);
  const names = node.inputs.map((input) => input.name);
  if (node.op === 'Mul') {
    for (const i of [0, 1]) {
      const scale = parseInverse(context, names[i] ?? '');
      const gamma = names[1 - i];
      if (scale !== undefined && gamma !== undefined) return { ...scale, name: node.name, gamma };
    }
    return undefined;
  }
  return parseInverse(context, name);
}

function parseInverse(context: GraphContext, name: string): Scale | undefined {
  const root = context.constants.source(name);
  const sum = root.op === 'Rsqrt' ? context.constants.source(root.inputs[0]?.name ?? '') : undefined;
  if (!isSum(sum)) return undefined;
  const names = sum.inputs.map((input) => input.name);
  const index = [1, 0].find((i) => context.constants.get(names[i] ?? '').shape.length === 0);
  const [epsilon, variance] = index === undefined ? [] : [names[index], names[1 - index]];
  if (epsilon === undefined || variance === undefined) return undefined;
  return { name: root.name, variance, epsilon: context.constants.scalar(epsilon) };
}

/** beta − mean · scale, or −mean · scale. */
function parseOffset(context: GraphContext, name: string, scale: string): { readonly beta?: string; readonly mean: string } | undefined {
  const node = context.constants.source(name);
  const [first = '', second = ''] = node.inputs.map((input) => input.name);
  if (node.op === 'Sub') {
    const mean = parseMean(context, second, scale);
    return mean === undefined ? undefined : { beta: first, mean };
  }
  // Without beta TensorFlow multiplies −mean by the scale.
  const negated = node.op === 'Neg' ? undefined : parseMean(context, name, scale);
  const negation = negated === undefined ? undefined : context.constants.source(negated);
  const mean = node.op === 'Neg' ? parseMean(context, first, scale) : negation?.op === 'Neg' ? negation.inputs[0]?.name : undefined;
  return mean === undefined ? undefined : { mean };
}

function parseMean(context: GraphContext, name: string, scale: string): string | undefined {
  const node = context.constants.source(name);
  if (node.op !== 'Mul') return undefined;
  const names = node.inputs.map((input) => input.name);
  const index = names.findIndex((input) => context.constants.source(input).name === scale);
  return index < 0 ? undefined : names[1 - index];
}
