import type { ActivationQuantizer } from '../compress/chains.js';
import { isWeighted } from '../compress/registry.js';
import type { GraphNode } from '../graph/types.js';

/** Nodes that become one instruction: a head, perhaps its activation, and the fake quantization of the result. */
export interface FusedGroup {
  readonly head: GraphNode;
  /** ReLU computed by the head's instruction. */
  readonly relu?: GraphNode;
  readonly quantizer?: ActivationQuantizer;
}

/** Name of the node whose value a group produces. */
export function groupOutput(group: FusedGroup): string {
  return (group.relu ?? group.head).name;
}

/**
 * Groups nodes (in topological order) into instructions. A ReLU joins the node before it when nothing else reads the value between
 * them and that value is not fake-quantized. After a convolution or dense layer a quantized ReLU stays apart: activation and fake
 * quantization are one pass over memory, while a convolution has no fused quantizer.
 */
export function fuse(nodes: readonly GraphNode[], output: string, quantizers: ReadonlyMap<string, ActivationQuantizer>): FusedGroup[] {
  const consumers = new Map<string, GraphNode[]>();
  for (const node of nodes) for (const input of node.inputs) consumers.set(input, [...(consumers.get(input) ?? []), node]);

  const fusableRelu = (head: GraphNode): GraphNode | undefined => {
    const [relu, ...others] = consumers.get(head.name) ?? [];
    if (relu === undefined || others.length > 0 || head.name === output || quantizers.has(head.name)) return undefined;
    if ((relu.op !== 'relu' && relu.op !== 'relu6') || !(isWeighted(head) || head.op === 'batchNorm' || head.op === 'add'))
      return undefined;
    return isWeighted(head) && quantizers.has(relu.name) ? undefined : relu;
  };

  const fused = new Set<string>();
  const groups: FusedGroup[] = [];
  for (const head of nodes) {
    if (fused.has(head.name)) continue;
    const relu = fusableRelu(head);
    if (relu !== undefined) fused.add(relu.name);
    const quantizer = quantizers.get((relu ?? head).name);
    groups.push({ head, ...(relu === undefined ? {} : { relu }), ...(quantizer === undefined ? {} : { quantizer }) });
  }
  return groups;
}
