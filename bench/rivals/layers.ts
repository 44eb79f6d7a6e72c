import type { Model } from '#lib/graph/model.js';
import { inferShapes } from '#lib/graph/shapes.js';
import type { Pair, Shape } from '#lib/graph/types.js';
import { type Padding4, windowGeometry } from '#lib/graph/windows.js';

/** One layer of a network as the rivals' scripts build it. */
export type RivalLayer =
  | {
      readonly op: 'conv' | 'depthwise';
      /** Not for depthwise. */
      readonly filters?: number;
      readonly kernel: Pair;
      readonly strides: Pair;
      /** Of TensorFlow's SAME: `[top, bottom, left, right]`. */
      readonly padding: Padding4;
      readonly inputSize: Pair;
    }
  | { readonly op: 'batchNorm' | 'relu' | 'relu6' | 'globalAveragePool' }
  | { readonly op: 'dense'; readonly units: number };

/** A network without branches, for a rival to build. */
export interface RivalNet {
  readonly inputShape: Shape;
  readonly classes: number;
  readonly layers: readonly RivalLayer[];
}

/**
 * The layers of a model, so that a rival trains the very same network.
 *
 * @throws Error for a layer that the rivals' scripts do not know (bench/rival).
 */
export function rivalNet({ graph }: Model): RivalNet {
  const shapes = inferShapes(graph);
  const layers = graph.nodes.slice(1).map((node): RivalLayer => {
    switch (node.op) {
      case 'conv2d':
      case 'depthwiseConv2d': {
        if (node.padding !== 'same' || node.useBias) throw new Error(`layer '${node.name}' is not SAME without bias`);
        const [height = 0, width = 0] = shapes.get(node.inputs[0] ?? '') ?? [];
        const { kernelSize: kernel, strides } = node;
        const { padding } = windowGeometry([height, width], kernel, strides, node.dilation, 'same');
        const shared = { kernel, strides, padding, inputSize: [height, width] } as const;
        return node.op === 'conv2d' ? { op: 'conv', filters: node.filters, ...shared } : { op: 'depthwise', ...shared };
      }
      case 'batchNorm':
      case 'relu':
      case 'relu6':
        return { op: node.op };
      case 'globalAveragePool2d':
        return { op: 'globalAveragePool' };
      case 'dense':
        return { op: 'dense', units: node.units };
      default:
        throw new Error(`the rivals have no layer for '${node.name}' (${node.op})`);
    }
  });
  const [input, output] = [graph.nodes[0], graph.nodes.at(-1)].map((node) => shapes.get(node?.name ?? '') ?? []);
  return { inputShape: input ?? [], classes: output?.at(-1) ?? 0, layers };
}
