import type { Model } from '#lib/graph/model.js';
import { elementCount, inferShapes } from '#lib/graph/shapes.js';

/** The least work of a training step, whatever the implementation. */
export interface Floor {
  /** Operations of the convolutions, 2 per multiply-add: forward, gradient of the kernel and (but for the first layer) of the input. */
  readonly gflop: number;
  /**
   * Passes over f32 activations that cannot be avoided while batch norm needs statistics of its whole input, and of its whole gradient. Per
   * convolution with its batch norm, in and out elements: forward in + out; backward the gradient and the norm's input 2·out, the input in, and
   * its gradient in. Everything else can happen in the cache.
   */
  readonly trafficBytes: number;
}

/** See docs/performance.md, "The floor of a training step". */
export function stepFloor({ graph }: Model, batch: number): Floor {
  const shapes = inferShapes(graph);
  let flop = 0;
  let elements = 0;
  let first = true;
  for (const node of graph.nodes) {
    if (node.op !== 'conv2d' && node.op !== 'depthwiseConv2d') continue;
    const input = shapes.get(node.inputs[0]!)!;
    const [ins, outs] = [elementCount(input), elementCount(shapes.get(node.name)!)];
    const channels = node.op === 'conv2d' ? input.at(-1)! : 1;
    const inputGradient = first ? 0 : 1;
    flop += 2 * outs * node.kernelSize[0] * node.kernelSize[1] * channels * (2 + inputGradient);
    elements += 2 * ins + 3 * outs + inputGradient * ins;
    first = false;
  }
  return { gflop: (flop * batch) / 1e9, trafficBytes: elements * 4 * batch };
}
