import type { Model } from '../../graph/model.js';
import type { GraphNode, Shape } from '../../graph/types.js';
import type { ModelAssembler } from './assemble.js';

/** Formats that a model can be read from. */
export type ImportFormat = 'keras-h5' | 'keras' | 'tfjs' | 'onnx' | 'graphdef' | 'tflite';

/** Options of {@link importModel}. */
export interface ImportOptions {
  /** Name of the tensor or node where the model starts; what comes before it is left out. Default: the file's only input. */
  readonly input?: string;
  /** Name of the tensor or node where the model ends. Default: the file's only output. */
  readonly output?: string;
  /** Shape of the input without the batch, in the file's own layout, where the file leaves dimensions open. */
  readonly inputShape?: Shape;
  /** Read integer weights as the real numbers they stand for. Without it a quantized file is refused, as it runs as it is. Default false. */
  readonly dequantize?: boolean;
}

/** A model from a file, and what the file said beyond it. */
export interface ImportedModel {
  readonly model: Model;
  readonly format: ImportFormat;
  /** Scales of the integer weights that were dequantized, by parameter name: one, or one per output channel. */
  readonly weightScales: ReadonlyMap<string, Float32Array>;
}

/** A node of a file that pcqat cannot take. */
export interface UnsupportedNode {
  readonly name: string;
  /** Its type in the file's own words, e.g. `GRU` or `Einsum`. */
  readonly op: string;
  readonly reason: string;
  /** What would make it work. */
  readonly remedy: string;
}

/** What {@link checkImport} found. */
export interface ImportCheck {
  readonly format: ImportFormat;
  readonly name: string;
  /** Layers of the graph as far as they could be read. */
  readonly layers: readonly { readonly name: string; readonly op: GraphNode['op']; readonly shape: Shape }[];
  readonly parameters: number;
  /** Empty: the model can be imported. */
  readonly unsupported: readonly UnsupportedNode[];
}

/** Parameters of a node, read when they are needed only: a check of the structure needs none. */
export type ParameterSources = Readonly<Record<string, () => Float32Array>>;

/** A file's structure, with its parameters still to be read. */
export interface Assembled {
  readonly assembler: ModelAssembler;
  /** The node that is the model's output. */
  readonly output: string;
  readonly weightScales?: ReadonlyMap<string, Float32Array>;
}

/** Reads one format. `path` is a file, or the folder of a format that is one. */
export type AssembleFile = (path: string, options: ImportOptions) => Promise<Assembled>;
