import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import type { BatchNormNode } from '../../graph/types.js';
import type { ChainFakeQuant } from '../chains.js';
import { materializeWeight, weightRange } from '../materialize.js';
import { weightOf } from '../state.js';
import { loadBinding } from '../../native.js';
import { roundHalfAway, weightScale } from './parameters.js';

/** What an int8 operator with weights stores. */
export interface Int8Weights {
  /** In the model's layout. */
  readonly codes: Int8Array;
  readonly channels: number;
  /** f32; one per channel, or one. */
  readonly scales: Float32Array;
  readonly bias: Int32Array;
  /** `input scale · weight scale`, as many as scales. */
  readonly biasScales: Float32Array;
  /** Channels whose scale had to be enlarged to make the bias fit, or whose factor is 0 or negative. */
  readonly irregularChannels: number;
}

export interface FoldOptions {
  /** Name of the node with the kernel; absent for a batch norm that stands alone. */
  readonly layer?: string;
  readonly batchNorm?: BatchNormNode;
  /** Output channels of the operator. */
  readonly channels: number;
  readonly perChannel: boolean;
  /** Output channel of each element of the kernel ({@link outputChannelOf}). Default: the last axis, `i % channels`. */
  readonly channelOf?: (element: number) => number;
  readonly inputScale: number;
}

/** A bias code may use half of the int32 range; the rest is for the products. */
const LARGEST_BIAS = (2 ** 31 - 1) / 2;
/** Scale of a channel that batch norm multiplies by 0. */
const NO_SCALE = 2 ** -100;

/**
 * Quantizes the kernel and bias of an operator and folds its batch norm into them (spec 5.1).
 *
 * A fake-quantized kernel keeps its codes: batch norm multiplies the *scale* of a channel by |γ/√(σ²+ε)| and flips the signs of its
 * codes where that factor is negative, so zeros and codebooks survive. A float kernel is folded first and quantized by its content.
 */
export function foldWeights(model: Model, options: FoldOptions): Int8Weights {
  const { channels, layer, channelOf = (i: number) => i % channels } = options;
  const { factors, offsets } = affine(model, options);
  const parameter = `${layer}/kernel`;
  const kernel = layer === undefined ? new Float32Array(channels).fill(1) : finite(materializeWeight(model, parameter), parameter);
  const fakeQuant = layer === undefined ? undefined : model.chains.get(parameter)?.fakeQuant;
  // A weight next to half a code may be rounded to another one in double than training rounds it to in f32.
  const folded =
    fakeQuant === undefined ? kernel.map((w, i) => w * at(factors, channelOf(i))) : fakeQuantized(model, parameter, kernel, fakeQuant);
  const range =
    fakeQuant === undefined ? largest(folded, options.perChannel ? channels : 1, channelOf) : symmetricRange(model, parameter, fakeQuant);
  const bits = fakeQuant?.bits ?? 8;
  const largestCode = 2 ** (bits - 1) - 1;

  const count = options.perChannel ? channels : 1;
  const scales = new Float32Array(count);
  const biasScales = new Float32Array(count);
  const divisors = new Float64Array(count); // code = rha(w / divisor)
  const largestBias = offsets.reduce((most, b) => Math.max(most, Math.abs(b)), 0);
  let irregularChannels = 0;
  for (let c = 0; c < count; c++) {
    const unfolded = weightScale(at(range, c % range.length), bits);
    const factor = fakeQuant === undefined ? 1 : at(factors, c);
    const bias = options.perChannel ? Math.abs(at(offsets, c)) : largestBias;
    const needed = Math.max(bias / (options.inputScale * LARGEST_BIAS), NO_SCALE);
    const enlarged = unfolded * Math.abs(factor) < needed;
    divisors[c] = enlarged ? needed / factor : Math.sign(factor) * unfolded;
    scales[c] = enlarged ? needed : unfolded * Math.abs(factor);
    biasScales[c] = options.inputScale * at(scales, c);
    if (enlarged || factor < 0) irregularChannels++;
  }
  const codes = Int8Array.from(folded, (w, i) => {
    const code = roundHalfAway(w / at(divisors, count === 1 ? 0 : channelOf(i)));
    return Math.min(Math.max(code, -largestCode), largestCode);
  });
  const bias = Int32Array.from(offsets, (b, c) => roundHalfAway(b / (options.inputScale * at(scales, count === 1 ? 0 : c))));
  return { codes, channels, scales, bias, biasScales, irregularChannels };
}

/** The kernel as training uses it, rounded to its codes in f32 (spec 3.5). */
export function fakeQuantized(
  model: Model,
  parameter: string,
  kernel: Float32Array,
  { bits = 8, narrowRange = true, perChannel = false }: ChainFakeQuant,
): Float32Array {
  const { min, max } = weightRange(model, parameter);
  const result = new Float32Array(kernel.length);
  // A depthwise kernel has a range per channel, and one channel.
  loadBinding().fakeQuantize(kernel, min, max, bits, narrowRange, result, undefined, perChannel);
  return result;
}

/** Largest values of the range: TFLite's int8 weights have the zero point 0 and as many codes below it as above. */
function symmetricRange(model: Model, parameter: string, { symmetric, narrowRange, update }: ChainFakeQuant): Float32Array {
  const { min, max } = weightRange(model, parameter);
  const declared = (symmetric !== false || update === 'none') && narrowRange !== false;
  if (declared && max.every((high, c) => at(min, c) === -high)) return max;
  throw new PcqatError('ERR_UNSUPPORTED', 'int8 weights need a symmetric, narrow range', {
    where: `layer '${parameter.slice(0, parameter.lastIndexOf('/'))}'`,
    remedy: 'Quantize the weights with symmetric and narrowRange, as lastValueQuantizer() does.',
  });
}

/** Largest |w| of each channel, or of all of them when `channels` is 1. */
function largest(kernel: Float32Array, channels: number, channelOf: (element: number) => number): Float32Array {
  const found = new Float32Array(channels);
  kernel.forEach((w, i) => {
    const channel = channels === 1 ? 0 : channelOf(i);
    found[channel] = Math.max(at(found, channel), Math.abs(w));
  });
  return found;
}

/** `y = factor · (w * x) + offset` per channel: the batch norm and bias around the kernel. */
export function affine(
  model: Model,
  { layer, batchNorm, channels }: Pick<FoldOptions, 'layer' | 'batchNorm' | 'channels'>,
): { factors: Float32Array; offsets: Float32Array } {
  const parameter = (name: string, fallback: number): Float32Array => {
    const data = model.tensors.get(name)?.data;
    return data instanceof Float32Array ? finite(data, name) : new Float32Array(channels).fill(fallback);
  };
  const bias = parameter(`${layer}/bias`, 0);
  if (batchNorm === undefined) return { factors: new Float32Array(channels).fill(1), offsets: bias };
  const { name, epsilon } = batchNorm;
  const [gamma, beta] = [parameter(`${name}/gamma`, 1), parameter(`${name}/beta`, 0)];
  const [mean, variance] = [parameter(`${name}/moving_mean`, 0), parameter(`${name}/moving_variance`, 1)];
  const factors = gamma.map((g, c) => g / Math.sqrt(at(variance, c) + epsilon));
  return { factors, offsets: beta.map((b, c) => b + (at(bias, c) - at(mean, c)) * at(factors, c)) };
}

export function finite(values: Float32Array, name: string): Float32Array {
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new PcqatError('ERR_NON_FINITE', `element ${bad} is ${values[bad]}`, { where: `parameter '${name}'` });
  return values;
}

function at(values: ArrayLike<number>, i: number): number {
  return values[i] ?? 0;
}

/**
 * Checks what conversion promises: zeros stay code 0; a clustered kernel with one range has no more distinct codes in the whole tensor
 * than its codebook has values, one with a codebook per channel no more in any channel. (A channel with a negative or enlarged scale
 * cannot keep the second promise.)
 */
export function assertCodebook(model: Model, layer: string, { codes, irregularChannels }: Int8Weights): void {
  const parameter = `${layer}/kernel`;
  const chain = model.chains.get(parameter);
  if (chain === undefined) return;
  const broken = (problem: string): PcqatError =>
    new PcqatError('ERR_INVARIANT', problem, {
      where: `layer '${layer}'`,
      remedy: 'This is a defect of pcqat; please report it with the model.',
    });
  const kernel = materializeWeight(model, parameter);
  const lost = kernel.filter((w, i) => w === 0 && codes[i] !== 0).length;
  if (lost > 0) throw broken(`${lost} weights are 0 but have another code`);
  const { codebook, fakeQuant } = chain;
  if (codebook === undefined || fakeQuant === undefined || irregularChannels > 0) return;
  if (!codebook.perChannel && fakeQuant.perChannel) return;
  const size = model.tensors.get(`${parameter}:centroids`)?.shape.at(-1) ?? 0;
  const rows = codebook.perChannel ? weightOf(model, parameter).channels : 1;
  const codesOfRows = Array.from({ length: rows }, () => new Set<number>());
  codes.forEach((code, i) => codesOfRows[i % rows]?.add(code));
  const distinct = Math.max(...codesOfRows.map((row) => row.size));
  if (distinct > size) throw broken(`${distinct} distinct codes come out of a codebook of ${size} values`);
}
