import { PcqatError } from '../../errors.js';
import type { Graph } from '../../graph/types.js';
import type { WeightedNode } from '../registry.js';

/**
 * Which layers of a network may be pruned, and which networks are pruned at all: option `policy` of `pruneLowMagnitude`
 * (tfmot `PruningPolicy`). Unlike there it combines with `layers`.
 *
 * @example
 * ```ts
 * import { pruneLowMagnitude, zoo, type LayerPolicy } from 'pcqat';
 * const notTheFirst: LayerPolicy = {
 *   name: 'notTheFirst',
 *   check: () => undefined,
 *   allows: (node, graph) => graph.nodes.find((other) => other.op === 'conv2d') !== node,
 * };
 * console.log(pruneLowMagnitude(zoo.lenet5(), { policy: notTheFirst }).chains.has('conv1/kernel')); // false
 * ```
 */
export interface LayerPolicy {
  /** Shown in notices and errors. */
  readonly name: string;
  /** Throws when the policy does not suit the network. Called once, before a layer is looked at. */
  check(graph: Graph): void;
  /** May this layer of `graph` be pruned? */
  allows(node: WeightedNode, graph: Graph): boolean;
}

/** Throws `ERR_OPTION` when a value is no policy. */
export function requirePolicy(value: unknown): asserts value is LayerPolicy {
  const { name, check, allows } = (value ?? {}) as Partial<LayerPolicy>;
  if (typeof name === 'string' && typeof check === 'function' && typeof allows === 'function') return;
  throw new PcqatError('ERR_OPTION', 'the policy must be an object with name, check(graph) and allows(node, graph)', {
    where: 'pruneLowMagnitude.policy',
    remedy: 'Give pruneForLatencyOnXnnpack, or an object like it.',
  });
}
