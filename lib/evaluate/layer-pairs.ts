import { isWeighted } from '../compress/registry.js';
import type { TfliteModel } from '../formats/tflite/types.js';
import type { Graph, GraphNode } from '../graph/types.js';

/** What a layer's value may pass through and still be that layer's output. */
const FOLLOWING: ReadonlySet<GraphNode['op']> = new Set([
  'batchNorm', 'relu', 'relu6', 'sigmoid', 'tanh', 'hardSwish', 'leakyRelu', 'dropout',
]); // prettier-ignore

/** A sequence is an image of height 1 in a file. */
const KINDS: Readonly<Partial<Record<string, string>>> = {
  conv1d: 'conv2d',
  depthwiseConv1d: 'depthwiseConv2d',
  CONV_2D: 'conv2d',
  DEPTHWISE_CONV_2D: 'depthwiseConv2d',
  TRANSPOSE_CONV: 'conv2dTranspose',
  FULLY_CONNECTED: 'dense',
};

/** A layer with weights, and where its batch normalization and activation are done: there two models can be compared. */
export interface Block {
  readonly layer: string;
  readonly kind: string;
  readonly end: string;
  /** In a file: index of its tensor. */
  readonly tensor?: number;
}

/** The blocks of a graph, in order. */
export function blocksOf({ nodes }: Graph): Block[] {
  const consumers = new Map<string, GraphNode[]>();
  for (const node of nodes) for (const input of node.inputs) consumers.set(input, [...(consumers.get(input) ?? []), node]);
  return nodes.filter(isWeighted).map((layer) => {
    let end = layer.name;
    for (let next = consumers.get(end); next?.length === 1 && FOLLOWING.has(next[0]!.op); next = consumers.get(end)) end = next[0]!.name;
    return { layer: layer.name, kind: KINDS[layer.op] ?? layer.op, end };
  });
}

/**
 * The blocks of a file: its tensors are named after the last node that an operator absorbed; `/image` behind it is the same value with
 * axes of length 1.
 */
export function blocksOfFile({ operators, tensors }: TfliteModel): Block[] {
  return operators.flatMap(({ op, outputs }) => {
    const kind = KINDS[op];
    const tensor = outputs[0] ?? -1;
    const name = tensors[tensor]?.name.replace(/\/image$/, '');
    return kind === undefined || name === undefined ? [] : [{ layer: name, kind, end: name, tensor }];
  });
}

/** Blocks of two models that stand for each other. */
export interface BlockPairs {
  readonly by: 'name' | 'order';
  readonly pairs: readonly (readonly [Block, Block])[];
  /** Layers of the first and of the second model that have no partner. */
  readonly unmatched: readonly (readonly string[])[];
}

/**
 * Pairs layers with weights: by name, of the layer or of the node that ends it, where at least half of the smaller model's layers find a
 * partner; else by their order, where kinds and number are the same.
 */
export function pairBlocks(first: readonly Block[], second: readonly Block[]): BlockPairs | undefined {
  const free = new Set(second);
  const [byLayer, byEnd] = [new Map(second.map((block) => [block.layer, block])), new Map(second.map((block) => [block.end, block]))];
  const named = first.flatMap((block) => {
    const partner = [byLayer.get(block.layer), byEnd.get(block.end)].find((one) => one !== undefined && free.has(one));
    if (partner === undefined) return [];
    free.delete(partner);
    return [[block, partner] as const];
  });
  if (named.length > 0 && 2 * named.length >= Math.min(first.length, second.length)) {
    const paired = new Set(named.map(([block]) => block));
    const names = (blocks: readonly Block[]): string[] => blocks.map(({ layer }) => layer);
    return { by: 'name', pairs: named, unmatched: [names(first.filter((block) => !paired.has(block))), names([...free])] };
  }
  const alike = first.length > 0 && first.length === second.length && first.every(({ kind }, i) => kind === second[i]?.kind);
  return alike ? { by: 'order', pairs: first.map((block, i) => [block, second[i]!]), unmatched: [[], []] } : undefined;
}
