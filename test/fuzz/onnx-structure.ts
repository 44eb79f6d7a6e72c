import { encodeModel, type AttributeValue, type WrittenModel, type WrittenNode, type WrittenTensor } from '#lib/formats/onnx/encode.js';
import { OPERATORS } from '#lib/formats/onnx/operators.js';
import { readOnnx } from '#lib/formats/onnx/read.js';
import { DATA_TYPES, type DataTypeName, type OnnxAttribute, type OnnxTensor } from '#lib/formats/onnx/types.js';
import { randomNumbers } from '../support/random.js';

const NUMBERS = [0, 1, -1, 2, 3, 5, 7, 64, 255, 4096, 65536, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 53, -(2 ** 62), 2 ** 62];

function attributeOf({ float, int, string, ints }: OnnxAttribute): AttributeValue {
  if (string !== undefined) return { string };
  if (float !== undefined) return { float };
  return int === undefined ? { ints } : { int };
}

function tensorOf(name: string, { dataType, dims, raw }: OnnxTensor): WrittenTensor {
  const type = Object.entries(DATA_TYPES).find(([, code]) => code === dataType)?.[0] ?? 'float';
  return { name, type: type as DataTypeName, dims, data: raw ?? new Uint8Array() };
}

/** A file as what our writer takes; constants become initializers. */
function structureOf(file: Uint8Array): WrittenModel {
  const { graph, opsets } = readOnnx(file, 'seed');
  const initializers = [...graph.initializers].map(([name, tensor]) => tensorOf(name, tensor));
  const nodes: WrittenNode[] = [];
  for (const { name, op, inputs, outputs, attributes } of graph.nodes) {
    const value = attributes.get('value')?.tensor;
    if (op === 'Constant' && value !== undefined) initializers.push(tensorOf(outputs[0] ?? '', value));
    else
      nodes.push({
        name,
        op,
        inputs,
        outputs,
        attributes: Object.fromEntries([...attributes].map(([key, found]) => [key, attributeOf(found)])),
      });
  }
  const [input] = graph.inputs;
  const shape = (input?.shape ?? []).slice(1).map(Number);
  const outputs = [{ name: graph.outputs[0]?.name ?? '', type: 'float' as const, shape: [] }];
  const inputs = [{ name: input?.name ?? '', type: 'float' as const, shape }];
  return { name: 'seed', irVersion: 8, opset: opsets.get('') ?? 17, nodes, initializers, inputs, outputs, valueInfos: [] };
}

/** Files with one to three changes of what they say: operators, wiring, attributes, dimensions. Their bytes are well formed. */
export function* structureMutations(file: Uint8Array, count: number, seed: number): Iterable<Uint8Array> {
  const original = structureOf(file);
  const random = randomNumbers(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const tensors = [...original.nodes.flatMap(({ outputs }) => outputs), ...original.initializers.map(({ name }) => name), 'x', ''];
  const numbers = (list: readonly number[]): number[] => {
    if (list.length === 0 || random() < 0.2) return [...list, pick(NUMBERS)];
    const at = Math.floor(random() * list.length);
    return random() < 0.2
      ? list.toSpliced(at, 1)
      : list.with(at, random() < 0.5 ? pick(NUMBERS) : (list[at] ?? 0) + Math.floor(random() * 5) - 2);
  };
  const changedNode = (node: WrittenNode): WrittenNode => {
    const attributes = Object.entries(node.attributes);
    switch (Math.floor(random() * 5)) {
      case 0:
        return { ...node, op: pick([...OPERATORS.keys(), 'Sum', 'ReduceProd', 'Slice', 'Gather', 'ConstantOfShape', 'DequantizeLinear']) };
      case 1:
        return { ...node, inputs: node.inputs.map((name) => (random() < 0.5 ? pick(tensors) : name)) };
      case 2:
        return { ...node, attributes: Object.fromEntries(attributes.filter(() => random() < 0.6)) };
      default: {
        const changed = attributes.map(([key, value]): [string, AttributeValue] => {
          if ('ints' in value) return [key, { ints: numbers(value.ints) }];
          if ('int' in value) return [key, { int: pick(NUMBERS) }];
          return 'float' in value ? [key, { float: pick([0, -1, 6, NaN, Infinity, 1e-30]) }] : [key, value];
        });
        return { ...node, attributes: Object.fromEntries(changed) };
      }
    }
  };
  for (let i = 0; i < count; i++) {
    let model = original;
    for (let changes = 1 + Math.floor(random() * 3); changes > 0; changes--) {
      const at = Math.floor(random() * model.nodes.length);
      const node = model.nodes[at];
      const tensor = pick(model.initializers);
      const kind = Math.floor(random() * 6);
      if (kind < 3 && node !== undefined) model = { ...model, nodes: model.nodes.with(at, changedNode(node)) };
      else if (kind === 3) {
        const dims = numbers(tensor.dims).map((size) => Math.max(size, 0));
        model = { ...model, initializers: model.initializers.map((other) => (other === tensor ? { ...tensor, dims } : other)) };
      } else if (kind === 4) {
        const inputs = model.inputs.map((input) => ({ ...input, shape: numbers(input.shape) }));
        model = { ...model, inputs };
      } else if (model.nodes.length > 1) model = { ...model, nodes: model.nodes.toSpliced(at, 1), opset: pick([7, 9, 11, 13, 17, 18]) };
    }
    yield encodeModel(model);
  }
}
