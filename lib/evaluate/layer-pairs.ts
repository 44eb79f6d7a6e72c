import { isWeighted, type WeightedNode } from '../compress/registry.js';
import type { Graph, GraphNode } from '../graph/types.js';

/** What a layer's value may pass through and still be that layer's output. */
const FOLLOWING: ReadonlySet<GraphNode['op']> = new Set([
  'batchNorm', 'relu', 'relu6', 'sigmoid', 'tanh', 'hardSwish', 'leakyRelu', 'dropout',
]); // prettier-ignore

/** A layer with weights, and the node where its batch normalization and activation are done: there two graphs can be compared. */
export interface Block {
  readonly layer: WeightedNode;
  readonly end: string;
}

/** The blocks of a graph, in order. */
export function blocksOf({ nodes }: Graph): Block[] {
  const consumers = new Map<string, GraphNode[]>();
  for (const node of nodes) for (const input of node.inputs) consumers.set(input, [...(consumers.get(input) ?? []), node]);
  return nodes.filter(isWeighted).map((layer) => {
    let end = layer.name;
    for (let next = consumers.get(end); next?.length === 1 && FOLLOWING.has(next[0]!.op); next = consumers.get(end)) end = next[0]!.name;
    return { layer, end };
  });
}

/** Blocks of two graphs that stand for each other. */
export interface BlockPairs {
  readonly by: 'name' | 'order';
  readonly pairs: readonly (readonly [Block, Block])[];
  /** Layers of the first and of the second graph that have no partner. */
  readonly unmatched: readonly (readonly string[])[];
}

/**
 * Pairs the layers with weights: by name where at least half of the smaller graph's names are in the other one; else by their order, where
 * operators and number are the same.
 */
export function pairBlocks(a: Graph, b: Graph): BlockPairs | undefined {
  const [first, second] = [blocksOf(a), blocksOf(b)];
  const byName = new Map(second.map((block) => [block.layer.name, block]));
  const named = first.flatMap((block) => {
    const partner = byName.get(block.layer.name);
    return partner === undefined ? [] : [[block, partner] as const];
  });
  if (named.length > 0 && 2 * named.length >= Math.min(first.length, second.length)) {
    const paired = new Set(named.map(([block]) => block.layer.name));
    const rest = (blocks: readonly Block[]): string[] => blocks.map(({ layer }) => layer.name).filter((name) => !paired.has(name));
    return { by: 'name', pairs: named, unmatched: [rest(first), rest(second)] };
  }
  const alike = first.length > 0 && first.length === second.length && first.every(({ layer }, i) => layer.op === second[i]?.layer.op);
  return alike ? { by: 'order', pairs: first.map((block, i) => [block, second[i]!]), unmatched: [[], []] } : undefined;
}
