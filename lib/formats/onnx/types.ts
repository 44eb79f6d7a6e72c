/** The part of ONNX's messages that CNNs need, as plain data. */

/** Numbers of ONNX's element types. */
export const DATA_TYPES = {
  float: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  double: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
} as const;

export type DataTypeName = keyof typeof DATA_TYPES;

/** Numbers of ONNX's attribute types. */
export const ATTRIBUTE_TYPES = { float: 1, int: 2, string: 3, tensor: 4, graph: 5, floats: 6, ints: 7, strings: 8 } as const;

/** A stored tensor; its values are read when they are asked for. */
export interface OnnxTensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly dataType: number;
  /** The whole TensorProto, a view into the file. */
  readonly message: Uint8Array;
  /** Little-endian values, a view into the file, where they are stored so. */
  readonly raw?: Uint8Array;
  /** Where values lie outside of the file. */
  readonly external?: ReadonlyMap<string, string>;
}

export interface OnnxAttribute {
  readonly name: string;
  readonly float?: number;
  readonly int?: number;
  readonly string?: string;
  readonly tensor?: OnnxTensor;
  readonly floats: readonly number[];
  readonly ints: readonly number[];
}

export interface OnnxNode {
  readonly name: string;
  readonly op: string;
  /** Empty for ONNX's own operators. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttribute>;
}

/** An input or output of the graph. */
export interface OnnxValueInfo {
  readonly name: string;
  readonly dataType: number;
  /** A number, or the name of an open dimension. Absent when the file does not say. */
  readonly shape?: readonly (number | string)[];
}

export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly valueInfos: readonly OnnxValueInfo[];
}

export interface OnnxModel {
  readonly irVersion: number;
  readonly producer: string;
  /** Version by domain; '' is ONNX's own. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly graph: OnnxGraph;
}
