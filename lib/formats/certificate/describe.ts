import { createHash } from 'node:crypto';
import { countCodes, weightedOperators } from '../tflite/inspect.js';
import { readTflite } from '../tflite/read.js';
import type { TfliteModel, TfliteTensor } from '../tflite/types.js';
import type { CertifiedLayer, CertifiedTensor, ExportCertificate } from './schema.js';

/** What a layer's bytes say; the other fields of {@link CertifiedLayer} come from training. */
export type LayerContent = Pick<
  CertifiedLayer,
  'name' | 'operator' | 'operatorIndex' | 'weights' | 'zerosAfter' | 'codes' | 'codesPerChannelMax' | 'kernel' | 'bias'
> & {
  /** Distinct codes of each output channel, ascending. */
  readonly codesPerChannel: readonly (readonly number[])[];
};

/** Everything of a certificate that the bytes of a file alone determine. */
export interface FileContent extends Pick<ExportCertificate, 'inputs' | 'outputs' | 'tensors' | 'operators'> {
  readonly layers: readonly LayerContent[];
  /** The file, read. */
  readonly model: TfliteModel;
}

/** SHA-256 in hex. */
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * Describes a file for a certificate: its layers with weights, and every other tensor and operator.
 *
 * @throws PcqatError as `readTflite`
 */
export function describeFile(bytes: Uint8Array, where?: string): FileContent {
  const model = readTflite(bytes, where);
  const weighted = weightedOperators(model);
  const layers = weighted.map(({ name, op, index, kernel, bias, axis }): LayerContent => {
    const { weights, zeros, codes, codesPerChannelMax, perChannel } = countCodes(model.tensors[kernel] as TfliteTensor, axis);
    return {
      name,
      operator: op,
      operatorIndex: index,
      weights,
      zerosAfter: zeros,
      codes,
      codesPerChannelMax,
      codesPerChannel: perChannel,
      kernel: describeTensor(model, kernel),
      ...(bias < 0 ? {} : { bias: describeTensor(model, bias) }),
    };
  });
  const ofLayers = new Set(weighted.flatMap(({ kernel, bias }) => [kernel, bias]));
  return {
    model,
    layers,
    inputs: [...model.inputs],
    outputs: [...model.outputs],
    tensors: [...model.tensors.keys()].filter((index) => !ofLayers.has(index)).map((index) => describeTensor(model, index)),
    operators: model.operators.map(({ op, version = 1, inputs, outputs, options }) => ({
      operator: op,
      version,
      inputs: [...inputs],
      outputs: [...outputs],
      options: Object.fromEntries(Object.entries(options).map(([key, value]) => [key, copyOption(value)])),
    })),
  };
}

/** A layer's distinct codes as its certificate lists them: of the kernel, or of each channel. */
export function codebookOf(
  { codesPerChannel }: Pick<LayerContent, 'codesPerChannel'>,
  granularity: CertifiedLayer['granularity'],
): CertifiedLayer['codebook'] {
  if (granularity === 'none') return null;
  if (granularity === 'channel') return codesPerChannel.map((codes) => [...codes]);
  return [...new Set(codesPerChannel.flat())].sort((a, b) => a - b);
}

function describeTensor(model: TfliteModel, index: number): CertifiedTensor {
  const { name, dtype, shape, shapeSignature, axis, scale, zeroPoint, data } = model.tensors[index] as TfliteTensor;
  return {
    index,
    name,
    dtype,
    shape: [...shape],
    ...(shapeSignature === undefined ? {} : { shapeSignature: [...shapeSignature] }),
    scales: scale.length,
    axis,
    ...(scale.length === 0
      ? {}
      : {
          smallestScale: scale.reduce((least, value) => Math.min(least, value), Infinity),
          largestScale: scale.reduce((most, value) => Math.max(most, value), -Infinity),
          smallestZeroPoint: zeroPoint.reduce((least, value) => Math.min(least, value), Infinity),
          largestZeroPoint: zeroPoint.reduce((most, value) => Math.max(most, value), -Infinity),
          scalesSha256: sha256(littleEndian(scale)),
          zeroPointsSha256: sha256(littleEndian(zeroPoint)),
        }),
    ...(data === undefined ? {} : { dataSha256: sha256(data) }),
  };
}

function copyOption(value: number | string | boolean | readonly number[]): number | string | boolean | number[] {
  return typeof value === 'object' ? [...value] : value;
}

/** The bytes of an array of 4-byte numbers, the same on every machine. */
export function littleEndian(values: Float32Array | Int32Array): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) {
    if (values instanceof Float32Array) view.setFloat32(4 * i, value, true);
    else view.setInt32(4 * i, value, true);
  }
  return bytes;
}
