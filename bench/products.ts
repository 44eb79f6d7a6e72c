import { inferShapes } from '#lib/graph/shapes.js';
import type { Net } from './nets.js';
import type { ProductSize } from './rivals/openblas.js';

/** A product that a network's layers need. */
export interface Product extends ProductSize {
  /** The first layer that needs it. */
  readonly name: string;
  /** Layer's input and output have the same shape (1×1, as many filters as channels): layers of it can follow one another. */
  readonly stackable: boolean;
  /** Input and kernel of the layer. */
  readonly input: readonly [height: number, width: number, channels: number];
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly batch: number;
}

/** The products of a network's convolutions (depthwise apart), each once: m = rows of the output, n = filters, k = elements of a window. */
export function productsOf({ name, batch, make }: Net): Product[] {
  const { graph } = make();
  const shapes = inferShapes(graph);
  const products = new Map<string, Product>();
  for (const node of graph.nodes) {
    if (node.op !== 'conv2d') continue;
    const [height = 0, width = 0, channels = 0] = shapes.get(node.inputs[0] ?? '') ?? [];
    const [outHeight = 0, outWidth = 0] = shapes.get(node.name) ?? [];
    const { kernelSize: kernel, strides, filters } = node;
    const size = { m: batch * outHeight * outWidth, n: filters, k: kernel[0] * kernel[1] * channels };
    const key = `${size.m} ${size.n} ${size.k}`;
    if (products.has(key)) continue;
    const stackable = kernel[0] * kernel[1] * strides[0] * strides[1] === 1 && filters === channels;
    products.set(key, { name: `${name} ${node.name}`, ...size, stackable, input: [height, width, channels], kernel, strides, batch });
  }
  return [...products.values()];
}
