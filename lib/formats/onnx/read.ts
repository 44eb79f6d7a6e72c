import { forEachFloat, forEachInteger, malformed, readFields, text } from './wire.js';
import type { Field } from '../protobuf.js';
import type { OnnxAttribute, OnnxGraph, OnnxModel, OnnxNode, OnnxTensor, OnnxValueInfo } from './types.js';

/** Far above any real network; with them, what is made of a file stays small beside it. */
const MAX_ENTRIES = 100_000;
const MAX_LIST = 4096;
const MAX_RANK = 16;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Counts what was read from a file, so that many tiny messages cannot take much memory. */
class Reading {
  #entries = 0;
  readonly where: string;

  constructor(where: string) {
    this.where = where;
  }

  count(): void {
    if (++this.#entries > 3 * MAX_ENTRIES) throw malformed(this.where, `it has more than ${3 * MAX_ENTRIES} parts`);
  }

  push<T>(list: T[], value: T, limit: number = MAX_ENTRIES): void {
    this.count();
    if (list.length >= limit) throw malformed(this.where, `a list has more than ${limit} entries`);
    list.push(value);
  }
}

/**
 * Reads the messages of an ONNX file. The structure is checked completely; tensor values stay where they are.
 *
 * @param where - the file, for errors
 * @throws PcqatError `ERR_FORMAT` when the bytes are no ONNX file
 */
export function readOnnx(bytes: Uint8Array, where: string): OnnxModel {
  const reading = new Reading(where);
  const opsets = new Map<string, number>();
  // Parts of a message that comes in pieces belong together.
  const graph = { name: '', nodes: [], initializers: new Map(), inputs: [], outputs: [], valueInfos: [] };
  let [irVersion, producer, hasGraph] = [0, '', false];
  readFields(bytes, `${where}, model`, (field, value) => {
    if (field === 1) irVersion = value.value;
    else if (field === 2) producer = text(value);
    else if (field === 7) {
      hasGraph = true;
      readGraph(value.bytes, graph, reading);
    } else if (field === 8) readOpset(value.bytes, opsets, reading);
  });
  if (!hasGraph) throw malformed(where, 'it has no graph');
  return { irVersion, producer, opsets, graph };
}

function readOpset(bytes: Uint8Array, opsets: Map<string, number>, reading: Reading): void {
  reading.count();
  let [domain, version] = ['', 0];
  readFields(bytes, `${reading.where}, opset_import`, (field, value) => {
    if (field === 1) domain = text(value);
    else if (field === 2) version = value.value;
  });
  opsets.set(domain === 'ai.onnx' ? '' : domain, version);
}

interface GraphParts {
  name: string;
  readonly nodes: OnnxNode[];
  readonly initializers: Map<string, OnnxTensor>;
  readonly inputs: OnnxValueInfo[];
  readonly outputs: OnnxValueInfo[];
  readonly valueInfos: OnnxValueInfo[];
}

function readGraph(bytes: Uint8Array, graph: GraphParts, reading: Reading): asserts graph is GraphParts & OnnxGraph {
  readFields(bytes, `${reading.where}, graph`, (field, value) => {
    if (field === 1) reading.push(graph.nodes, readNode(value.bytes, reading));
    else if (field === 2) graph.name = text(value);
    else if (field === 5) {
      reading.count();
      const tensor = readTensor(value.bytes, reading.where);
      graph.initializers.set(tensor.name, tensor);
    } else if (field === 11) reading.push(graph.inputs, readValueInfo(value.bytes, reading));
    else if (field === 12) reading.push(graph.outputs, readValueInfo(value.bytes, reading));
    else if (field === 13) reading.push(graph.valueInfos, readValueInfo(value.bytes, reading));
    else if (field === 15) throw malformed(reading.where, 'it has sparse tensors, which are not supported');
  });
}

function readNode(bytes: Uint8Array, reading: Reading): OnnxNode {
  const [inputs, outputs]: [string[], string[]] = [[], []];
  const attributes = new Map<string, OnnxAttribute>();
  let [name, op, domain] = ['', '', ''];
  readFields(bytes, `${reading.where}, node`, (field, value) => {
    if (field === 1) reading.push(inputs, text(value));
    else if (field === 2) reading.push(outputs, text(value));
    else if (field === 3) name = text(value);
    else if (field === 4) op = text(value);
    else if (field === 7) domain = text(value);
    else if (field === 5) {
      reading.count();
      const attribute = readAttribute(value.bytes, reading);
      attributes.set(attribute.name, attribute);
    }
  });
  return { name, op, domain: domain === 'ai.onnx' ? '' : domain, inputs, outputs, attributes };
}

function readAttribute(bytes: Uint8Array, reading: Reading): OnnxAttribute {
  const place = `${reading.where}, attribute`;
  const [floats, ints]: [number[], number[]] = [[], []];
  const found: Writable<OnnxAttribute> = { name: '', floats, ints };
  const bounded = (list: number[]) => (value: number) => reading.push(list, value, MAX_LIST);
  readFields(bytes, place, (field, value) => {
    if (field === 1) found.name = text(value);
    else if (field === 2) forEachFloat(value, place, (number) => (found.float = number));
    else if (field === 3) found.int = value.value;
    else if (field === 4) found.string = text(value);
    else if (field === 5) found.tensor = readTensor(value.bytes, reading.where);
    else if (field === 7) forEachFloat(value, place, bounded(floats));
    else if (field === 8) forEachInteger(value, place, bounded(ints));
  });
  return found;
}

function readValueInfo(bytes: Uint8Array, reading: Reading): OnnxValueInfo {
  const place = `${reading.where}, value info`;
  const info: Writable<OnnxValueInfo> = { name: '', dataType: 0 };
  readFields(bytes, place, (field, value) => {
    if (field === 1) info.name = text(value);
    else if (field === 2) readFields(value.bytes, place, (kind, type) => kind === 1 && readTensorType(type, place, info, reading));
  });
  return info;
}

function readTensorType(type: Field, place: string, info: Writable<OnnxValueInfo>, reading: Reading): void {
  readFields(type.bytes, place, (field, value) => {
    if (field === 1) info.dataType = value.value;
    else if (field === 2) {
      const shape: (number | string)[] = [];
      readFields(value.bytes, place, (part, dimension) => {
        if (part === 1) reading.push(shape, readDimension(dimension.bytes, place), MAX_RANK);
      });
      info.shape = shape;
    }
  });
}

function readDimension(bytes: Uint8Array, place: string): number | string {
  let size: number | string = '';
  readFields(bytes, place, (field, value) => {
    if (field === 1) size = value.value;
    else if (field === 2) size = text(value);
  });
  // Zero and negative sizes are how some exporters write an open dimension.
  return typeof size === 'number' && size < 1 ? '' : size;
}

/** Reads what a tensor is; its values stay in the message. */
export function readTensor(message: Uint8Array, where: string): OnnxTensor {
  const place = `${where}, tensor`;
  const dims: number[] = [];
  const external = new Map<string, string>();
  const found: Writable<OnnxTensor> = { name: '', dims, dataType: 0, message };
  readFields(message, place, (field, value) => {
    if (field === 1) {
      forEachInteger(value, place, (size) => {
        if (dims.length >= MAX_RANK || size < 0 || !Number.isSafeInteger(size)) throw malformed(place, `it has the dimension ${size}`);
        dims.push(size);
      });
    } else if (field === 2) found.dataType = value.value;
    else if (field === 8) found.name = text(value);
    else if (field === 9) found.raw = value.bytes;
    else if (field === 13) {
      let [key, entry] = ['', ''];
      readFields(value.bytes, place, (part, content) => {
        if (part === 1) key = text(content);
        else if (part === 2) entry = text(content);
      });
      if (external.size < MAX_RANK) external.set(key, entry);
    } else if (field === 14 && value.value === 1) found.external = external;
  });
  return found;
}
