import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export interface ArrayReference {
  readonly dtype: 'f32' | 'i32' | 'i8' | 'u8';
  readonly shape: readonly number[];
  readonly offset: number;
}

/** One recorded model (test/golden/tflite/README.md). */
export interface GoldenTflite {
  readonly file: ArrayReference;
  readonly tensors: readonly {
    readonly name: string;
    readonly type: string;
    readonly shape: readonly number[];
    readonly shapeSignature?: readonly number[];
    readonly scale?: ArrayReference;
    readonly zeroPoint?: readonly number[];
    readonly axis?: number;
    readonly data?: ArrayReference;
  }[];
  readonly operators: readonly {
    readonly op: string;
    readonly version: number;
    readonly inputs: readonly number[];
    readonly outputs: readonly number[];
    readonly options: Readonly<Record<string, number | string | boolean>>;
  }[];
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly x: ArrayReference;
  readonly y: ArrayReference;
  readonly innerOfFirst4: Readonly<Record<string, ArrayReference>>;
}

const folder = new URL('../../../test/golden/', import.meta.url);
const unpack = (name: string): Buffer => gunzipSync(readFileSync(new URL(name, folder)));
const bytes = unpack('tflite/tflite.bin.gz');

/** By the name of the trace, e.g. `plain-qat-adam`. */
export const goldenModels: ReadonlyMap<string, GoldenTflite> = new Map(
  Object.entries(JSON.parse(unpack('tflite/tflite.json.gz').toString()) as Record<string, GoldenTflite>),
);

/** The bytes of a recorded array, as a copy. */
export function bytesOf({ dtype, shape, offset }: ArrayReference): Uint8Array {
  const length = shape.reduce((product, size) => product * size, dtype === 'f32' || dtype === 'i32' ? 4 : 1);
  return new Uint8Array(bytes.subarray(offset, offset + length));
}

export function int8Of(reference: ArrayReference): Int8Array {
  return new Int8Array(bytesOf(reference).buffer);
}

export function float32Of(reference: ArrayReference): Float32Array {
  return new Float32Array(bytesOf(reference).buffer);
}

export interface PipelineFacts {
  readonly files: Readonly<Record<string, { readonly layers: readonly LayerFacts[] }>>;
}

export interface LayerFacts {
  readonly op: 'conv' | 'depthwise' | 'dense';
  readonly shape: readonly number[];
  readonly scales: number;
  readonly codes: number;
  readonly codesPerChannelMax: number;
  /** Rounded to four places. */
  readonly zeros: number;
}

export interface SizeFacts {
  readonly archiveName: string;
  readonly files: readonly {
    readonly file: string;
    readonly bytes: number;
    readonly tfmotZip: number;
    readonly rawDeflate6: number;
    readonly gzip9: number;
    readonly brotli11: number;
  }[];
}

const json = (name: string): unknown => JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
export const pipelineFacts = json('pipeline/facts.json') as PipelineFacts;
export const sizeFacts = json('pipeline/sizes.json') as SizeFacts;

/** A file of the pipeline, e.g. `S-1-qat`. Only those of DS-CNN-S are kept. */
export function pipelineFile(name: string): Uint8Array {
  return new Uint8Array(unpack(`pipeline/${name}.tflite.gz`));
}
