import type { Requantization, RequantizedAccumulators } from '../../binding.js';
import { affine } from '../compress/quantization/fold.js';
import { type Int8Layer, int8Layers, needsRange } from '../compress/quantization/int8-layers.js';
import { type ActivationParameters, activationParameters, roundHalfAway } from '../compress/quantization/parameters.js';
import { isWeighted } from '../compress/registry.js';
import type { TfliteModel, TfliteOperator, TfliteTensor } from '../formats/tflite/types.js';
import type { Model } from '../graph/model.js';

/**
 * How the integer kernels of a file round the values of the model's nodes, for `lower`. Behind an operator with weights a real value is
 * an integer sum times input and kernel scale, up to f32 rounding and to what the file's bias lost when it became an integer; so the sum can
 * be found again and scaled as the kernel does it.
 *
 * A node's own scale and zero point are the model's (from its trained range), the scales of sums are the file's: where the two do not belong
 * together, simulation and file differ. Nodes whose tensor is not in the file, or not int8, are left to plain fake quantization.
 *
 * @param tflite - exported from the model
 * @returns by node
 */
export function deployedRounding(model: Model, tflite: TfliteModel): ReadonlyMap<string, Requantization> {
  const file = new File(tflite);
  const result = new Map<string, Requantization>();
  for (const layer of int8Layers(model.graph, model.quantizers)) {
    const found = file.find(layer.output);
    if (found === undefined) continue;
    const grid = ownGrid(model, layer) ?? gridOf(found.tensor);
    const requantization = rounding(model, layer, file, found, grid);
    // Operators that only move codes round nothing, but a fake quantization that the file does not have gives way to their grid.
    if (requantization !== undefined) result.set(layer.output, requantization);
    else if (model.quantizers.has(layer.output)) result.set(layer.output, { ...grid, rounding: 'nearest' });
  }
  return result;
}

/** A tensor and the operator that computes it; none for the input. */
interface Found {
  readonly tensor: TfliteTensor;
  readonly operator?: TfliteOperator;
}

class File {
  readonly #tensors: readonly TfliteTensor[];
  readonly #producers = new Map<number, TfliteOperator>();
  readonly #names = new Map<string, number>();

  constructor({ tensors, operators, inputs }: TfliteModel) {
    this.#tensors = tensors;
    for (const operator of operators) for (const output of operator.outputs) this.#producers.set(output, operator);
    for (const index of [...inputs, ...this.#producers.keys()]) this.#names.set(tensors[index]?.name ?? '', index);
  }

  /** What computes a layer's int8 values, under its reshapes and behind a ReLU that only bounds them. */
  find(name: string): Found | undefined {
    const index = this.#names.get(name);
    const tensor = this.#tensors[index ?? -1];
    if (index === undefined || tensor?.dtype !== 'int8' || tensor.scale.length !== 1) return undefined;
    const operator = this.#producers.get(index);
    if (operator === undefined) return { tensor };
    const hidden = this.find(`${name}/image`) ?? this.find(`${name}/unbounded`);
    return hidden?.operator !== undefined && hidden.tensor === this.input(operator, 0) ? hidden : { tensor, operator };
  }

  input({ inputs }: TfliteOperator, i: number): TfliteTensor {
    return this.#tensors[inputs[i] ?? -1] as TfliteTensor;
  }

  producer({ inputs }: TfliteOperator, i: number): TfliteOperator | undefined {
    return this.#producers.get(inputs[i] ?? -1);
  }
}

const scaleOf = ({ scale }: TfliteTensor): number => scale[0] ?? 1;
const gridOf = ({ scale, zeroPoint }: TfliteTensor): ActivationParameters => ({ scale: scale[0] ?? 1, zeroPoint: zeroPoint[0] ?? 0 });

/** Scale and zero point of a trained range. (Hard-swish may have to widen its own.) */
function ownGrid(model: Model, layer: Int8Layer): ActivationParameters | undefined {
  const quantizer = model.quantizers.get(layer.output);
  if (quantizer === undefined || !needsRange(layer) || layer.node.op === 'hardSwish') return undefined;
  const [min, max] = (['min', 'max'] as const).map((which) => model.tensors.get(`${layer.output}:${which}`)?.data[0] ?? 0) as [
    number,
    number,
  ];
  return activationParameters(min, max, quantizer);
}

/** Sums with one real value of 1. */
function sums(scale: number, multiplier: number, count?: number): RequantizedAccumulators {
  return { scale: Float64Array.of(scale), multiplier: Float64Array.of(multiplier), ...(count === undefined ? {} : { count }) };
}

function rounding(model: Model, layer: Int8Layer, file: File, { operator }: Found, grid: ActivationParameters): Requantization | undefined {
  if (operator === undefined) return { ...grid, rounding: 'nearest' };
  const input = file.input(operator, 0);
  const output = grid.scale;
  switch (operator.op) {
    case 'CONV_2D':
    case 'DEPTHWISE_CONV_2D':
      return { ...grid, rounding: 'twice', accumulators: products(model, layer, input, file.input(operator, 1), output) };
    case 'TRANSPOSE_CONV':
      return { ...grid, rounding: 'twice', accumulators: products(model, layer, file.input(operator, 2), file.input(operator, 1), output) };
    case 'FULLY_CONNECTED':
      return { ...grid, rounding: 'once', accumulators: products(model, layer, input, file.input(operator, 1), output, true) };
    case 'MEAN': {
      const count = (input.shape[1] ?? 1) * (input.shape[2] ?? 1);
      return { ...grid, rounding: 'twice', accumulators: sums(scaleOf(input) / count, scaleOf(input) / output, count) };
    }
    case 'MUL': {
      const [a, b] = [scaleOf(input), scaleOf(file.input(operator, 1))];
      return { ...grid, rounding: 'twice', accumulators: sums(a * b, Math.fround(Math.fround(a * b) / output)) };
    }
    case 'RELU':
    case 'RELU6':
      return { ...grid, rounding: 'twice', accumulators: sums(scaleOf(input), scaleOf(input) / output) };
    case 'LEAKY_RELU':
      return { ...grid, rounding: 'twice', ...slopes(scaleOf(input), Number(operator.options.alpha), output) };
    case 'CONCATENATION':
      return { ...grid, rounding: 'twice', accumulators: sides(file, operator, output) };
    case 'AVERAGE_POOL_2D':
    case 'RESIZE_BILINEAR':
      return { ...grid, rounding: 'code' };
    case 'ADD':
      return { ...grid, rounding: 'add', inputScale: scaleOf(input), otherScale: scaleOf(file.input(operator, 1)) };
    case 'HARD_SWISH':
      return { ...grid, rounding: 'hardSwish', inputScale: scaleOf(input) };
    case 'LOGISTIC':
    case 'TANH':
    case 'SOFTMAX':
      return { ...grid, rounding: 'nearest' };
    default:
      return undefined;
  }
}

/** Sums of products with weights, per channel where the kernel has scales per channel. */
function products(
  model: Model,
  { node, batchNorm: folded }: Int8Layer,
  input: TfliteTensor,
  kernel: TfliteTensor,
  output: number,
  dense = false,
): RequantizedAccumulators {
  const scale = Float64Array.from(kernel.scale, (weight) => scaleOf(input) * weight);
  // With one scale, FULLY_CONNECTED multiplies in f32.
  const multiplier = scale.map((product) => (dense && scale.length === 1 ? Math.fround(product) : product) / output);
  const channels = kernel.shape[kernel.axis] ?? 1;
  const batchNorm = node.op === 'batchNorm' ? node : folded;
  const bias = affine(model, {
    channels: dense ? (kernel.shape[0] ?? 1) : channels,
    ...(isWeighted(node) ? { layer: node.name } : {}),
    ...(batchNorm === undefined ? {} : { batchNorm }),
  });
  const offset = Float64Array.from(bias.offsets, (value, c) => {
    const exact = value / (scale[scale.length === 1 ? 0 : c] ?? 1);
    return exact - roundHalfAway(exact);
  });
  return { scale, multiplier, offset };
}

/** TFLite takes these ratios in f32. */
function slopes(input: number, alpha: number, output: number): Pick<Requantization & { rounding: 'twice' }, 'accumulators' | 'negative'> {
  const slope = Math.fround(alpha);
  const accumulators = sums(input, Math.fround(input / output));
  const scaled = Math.fround(input * slope);
  return slope === 0 ? { accumulators } : { accumulators, negative: sums(input * slope, Math.fround(scaled / output)) };
}

/** Every side of a concatenation has the codes of its tensor, or of the one that it was requantized from. */
function sides(file: File, operator: TfliteOperator, output: number): RequantizedAccumulators {
  const scale = operator.inputs.flatMap((_, i) => {
    const producer = file.producer(operator, i);
    const side = file.input(operator, i);
    const source = producer?.op === 'QUANTIZE' ? file.input(producer, 0) : side;
    return new Array<number>(side.shape.at(-1) ?? 1).fill(scaleOf(source));
  });
  return { scale: Float64Array.from(scale), multiplier: Float64Array.from(scale, (side) => side / output) };
}
