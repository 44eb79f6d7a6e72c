import { elementCount } from '../../graph/shapes.js';
import type { Pair } from '../../graph/types.js';
import { flattened, reshaped } from '../import/affine.js';
import { Refusal, ShapeRefusal } from '../import/attempt.js';
import type { ParameterSources } from '../import/types.js';
import { activated } from './import-activation.js';
import type { TfliteContext } from './import-context.js';
import type { TfliteOperator, TfliteTensor } from './types.js';

export function pairOf({ options }: TfliteOperator, vertical: string, horizontal: string): Pair {
  return [Number(options[vertical]), Number(options[horizontal])];
}

export function paddingOf({ options }: TfliteOperator): 'same' | 'valid' {
  return options['padding'] === 'SAME' ? 'same' : 'valid';
}

const KERNEL = 1;

function kernelOf(context: TfliteContext, operator: TfliteOperator, rank: number, index = KERNEL): TfliteTensor {
  const kernel = context.reals(operator, index);
  if (kernel.shape.length !== rank)
    throw new Refusal(`its weights have the shape [${kernel.shape.join(', ')}]`, `${rank} dimensions are expected.`);
  return kernel;
}

/** Parameters from the file's, the kernel's order changed. Integer weights leave their scales in the context. */
function parameters(
  context: TfliteContext,
  operator: TfliteOperator,
  kernel: TfliteTensor,
  reorder: (values: Float32Array) => Float32Array,
  biasIndex = 2,
): { readonly sources: ParameterSources; readonly useBias: boolean } {
  const bias = context.has(operator, biasIndex) ? context.reals(operator, biasIndex) : undefined;
  return {
    useBias: bias !== undefined,
    sources: {
      kernel: () => reorder(context.floats(kernel)),
      ...(bias === undefined ? {} : { bias: () => context.floats(bias) }),
    },
  };
}

function recorded(context: TfliteContext, layer: string, kernel: TfliteTensor): string {
  if (kernel.scale.length > 0) context.weightScales.set(`${layer}/kernel`, kernel.scale);
  return layer;
}

export function convolution(context: TfliteContext, operator: TfliteOperator): string {
  const isDepthwise = operator.op === 'DEPTHWISE_CONV_2D';
  const kernel = kernelOf(context, operator, 4);
  const [outputs = 0, height = 0, width = 0, last = 0] = kernel.shape;
  const depth = context.shape(operator).at(-1) ?? 0;
  const multiplier = last / depth;
  if (isDepthwise ? !Number.isInteger(multiplier) || outputs !== 1 : last !== depth) {
    throw new ShapeRefusal(
      `its weights [${kernel.shape.join(', ')}] do not fit ${depth} channels`,
      'Convolutions in groups are not supported.',
    );
  }
  // [out, h, w, in] becomes [h, w, in, out]; a depthwise kernel [1, h, w, in · multiplier] has our order.
  const reorder = isDepthwise
    ? (values: Float32Array): Float32Array => values
    : (values: Float32Array): Float32Array => lastFirst(values, outputs);
  const { sources, useBias } = parameters(context, operator, kernel, reorder);
  const common = {
    name: context.name(operator),
    inputs: [context.value(operator)],
    kernelSize: [height, width],
    strides: pairOf(operator, 'strideH', 'strideW'),
    padding: paddingOf(operator),
    dilation: pairOf(operator, 'dilationHFactor', 'dilationWFactor'),
    useBias,
  } as const;
  const layer = isDepthwise
    ? context.assembler.add({ ...common, op: 'depthwiseConv2d', depthMultiplier: multiplier }, sources)
    : context.assembler.add({ ...common, op: 'conv2d', filters: outputs }, sources);
  return activated(context, operator, recorded(context, layer, kernel));
}

/** `[channels, …]` → `[…, channels]`. */
function lastFirst(values: Float32Array, channels: number): Float32Array {
  const depth = values.length / channels;
  const result = new Float32Array(values.length);
  for (let channel = 0; channel < channels; channel++) {
    for (let i = 0; i < depth; i++) result[i * channels + channel] = values[channel * depth + i] ?? 0;
  }
  return result;
}

/** A product over the last axis; over more than one position it is a 1×1 convolution. */
export function fullyConnected(context: TfliteContext, operator: TfliteOperator): string {
  const { assembler } = context;
  if (Number(operator.options['weightsFormat'] ?? 0) !== 0) throw new Refusal('its weights are shuffled', 'Convert the model anew.');
  const kernel = kernelOf(context, operator, 2);
  const [units = 0, depth = 0] = kernel.shape;
  const input = context.value(operator);
  const given = assembler.shapeOf(input);
  const { sources, useBias } = parameters(context, operator, kernel, (values) => lastFirst(values, units));
  const name = context.name(operator);
  const [, ...wanted] = context.output(operator).shape;
  let layer: string;
  if (elementCount(given) === depth) {
    const flat = flattened(assembler, `${name}_flat`, input);
    layer = recorded(context, assembler.add({ op: 'dense', name, inputs: [flat], units, useBias }, sources), kernel);
    if (elementCount(wanted) === units && wanted.length <= 4) layer = reshaped(assembler, `${name}_shape`, layer, wanted);
  } else if (given.at(-1) === depth && given.length === 3 && operator.options['keepNumDims'] === true) {
    const one = [1, 1] as const;
    layer = recorded(
      context,
      assembler.add(
        { op: 'conv2d', name, inputs: [input], filters: units, kernelSize: one, strides: one, padding: 'valid', dilation: one, useBias },
        sources,
      ),
      kernel,
    );
  } else if (given.at(-1) === depth && given.length === 2 && operator.options['keepNumDims'] === true) {
    layer = recorded(
      context,
      assembler.add(
        { op: 'conv1d', name, inputs: [input], filters: units, kernelSize: 1, strides: 1, padding: 'valid', dilation: 1, useBias },
        sources,
      ),
      kernel,
    );
  } else {
    throw new ShapeRefusal(`its weights take ${depth} values and its input is [${given.join(', ')}]`, 'The batch must stay apart.');
  }
  return activated(context, operator, layer);
}

export function transposedConvolution(context: TfliteContext, operator: TfliteOperator): string {
  const kernel = kernelOf(context, operator, 4);
  const [filters = 0, height = 0, width = 0, depth = 0] = kernel.shape;
  const taps = height * width;
  // [out, h, w, in] becomes [h, w, out, in].
  const reorder = (values: Float32Array): Float32Array => {
    const result = new Float32Array(values.length);
    for (let channel = 0; channel < filters; channel++) {
      for (let tap = 0; tap < taps; tap++) {
        const from = (channel * taps + tap) * depth;
        result.set(values.subarray(from, from + depth), (tap * filters + channel) * depth);
      }
    }
    return result;
  };
  const { sources, useBias } = parameters(context, operator, kernel, reorder, 3);
  const layer = context.assembler.add(
    {
      op: 'conv2dTranspose',
      name: context.name(operator),
      inputs: [context.value(operator, 2)],
      filters,
      kernelSize: [height, width],
      strides: pairOf(operator, 'strideH', 'strideW'),
      padding: paddingOf(operator),
      useBias,
    },
    sources,
  );
  const [, ...wanted] = context.integers(operator, 0);
  const made = context.assembler.shapeOf(layer);
  if (context.shape(operator, 2).at(-1) !== depth || wanted.some((dimension, i) => dimension !== made[i])) {
    throw new ShapeRefusal(
      `it makes [${wanted.join(', ')}] where [${made.join(', ')}] follows from its input`,
      'Only the default output size is supported.',
    );
  }
  return activated(context, operator, recorded(context, layer, kernel));
}
