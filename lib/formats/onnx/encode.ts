import { PbfWriter } from 'pbf';
import { ATTRIBUTE_TYPES, DATA_TYPES, type DataTypeName } from './types.js';

/** An attribute of a node that is written. */
export type AttributeValue =
  { readonly int: number } | { readonly float: number } | { readonly ints: readonly number[] } | { readonly string: string };

export interface WrittenNode {
  readonly name: string;
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

export interface WrittenTensor {
  readonly name: string;
  readonly type: DataTypeName;
  readonly dims: readonly number[];
  readonly data: Uint8Array;
}

export interface WrittenValue {
  readonly name: string;
  readonly type: DataTypeName;
  /** Without the batch. */
  readonly shape: readonly number[];
  /** There is no batch. */
  readonly isConstant?: boolean;
}

export interface WrittenModel {
  readonly name: string;
  readonly irVersion: number;
  readonly opset: number;
  readonly nodes: readonly WrittenNode[];
  readonly initializers: readonly WrittenTensor[];
  readonly inputs: readonly WrittenValue[];
  readonly outputs: readonly WrittenValue[];
  readonly valueInfos: readonly WrittenValue[];
}

/** Name of the open first dimension. */
const BATCH = 'batch';

/** The bytes of an ONNX file. Equal models give equal bytes. */
export function encodeModel(model: WrittenModel): Uint8Array {
  const writer = new PbfWriter();
  writer.writeVarintField(1, model.irVersion);
  writer.writeStringField(2, 'pcqat');
  writer.writeMessage(7, writeGraph, model);
  writer.writeMessage(8, (version: number, pbf) => pbf.writeVarintField(2, version), model.opset);
  return writer.finish().slice();
}

function writeGraph(model: WrittenModel, pbf: PbfWriter): void {
  for (const node of model.nodes) pbf.writeMessage(1, writeNode, node);
  pbf.writeStringField(2, model.name);
  for (const tensor of model.initializers) pbf.writeMessage(5, writeTensor, tensor);
  for (const value of model.inputs) pbf.writeMessage(11, writeValue, value);
  for (const value of model.outputs) pbf.writeMessage(12, writeValue, value);
  for (const value of model.valueInfos) pbf.writeMessage(13, writeValue, value);
}

function writeNode(node: WrittenNode, pbf: PbfWriter): void {
  for (const input of node.inputs) pbf.writeStringField(1, input);
  for (const output of node.outputs) pbf.writeStringField(2, output);
  pbf.writeStringField(3, node.name);
  pbf.writeStringField(4, node.op);
  for (const attribute of Object.entries(node.attributes)) pbf.writeMessage(5, writeAttribute, attribute);
}

function writeAttribute([name, value]: [string, AttributeValue], pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  if ('float' in value) pbf.writeFloatField(2, value.float);
  else if ('int' in value) pbf.writeVarintField(3, value.int);
  else if ('string' in value) pbf.writeStringField(4, value.string);
  else for (const int of value.ints) pbf.writeVarintField(8, int);
  const type = 'float' in value ? 'float' : 'int' in value ? 'int' : 'string' in value ? 'string' : 'ints';
  pbf.writeVarintField(20, ATTRIBUTE_TYPES[type]);
}

function writeTensor({ name, type, dims, data }: WrittenTensor, pbf: PbfWriter): void {
  for (const size of dims) pbf.writeVarintField(1, size);
  pbf.writeVarintField(2, DATA_TYPES[type]);
  pbf.writeStringField(8, name);
  pbf.writeBytesField(9, data);
}

function writeValue(value: WrittenValue, pbf: PbfWriter): void {
  pbf.writeStringField(1, value.name);
  pbf.writeMessage(2, (_: WrittenValue, type) => type.writeMessage(1, writeTensorType, value), value);
}

function writeTensorType(value: WrittenValue, pbf: PbfWriter): void {
  pbf.writeVarintField(1, DATA_TYPES[value.type]);
  pbf.writeMessage(2, writeShape, value);
}

function writeShape({ shape, isConstant = false }: WrittenValue, pbf: PbfWriter): void {
  if (!isConstant) pbf.writeMessage(1, (name: string, dimension) => dimension.writeStringField(2, name), BATCH);
  for (const size of shape) pbf.writeMessage(1, (value: number, dimension) => dimension.writeVarintField(1, value), size);
}
