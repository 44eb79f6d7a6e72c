import { inferShapes } from '#lib/graph/shapes.js';
import { windowGeometry } from '#lib/graph/windows.js';
import type { Net } from './nets.js';

/** A product that a network's layers need: of the forward form `y[m,n] = x[m,k] · w[k,n]`. */
export interface Product {
  /** The first layer that needs it. */
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** A layer whose input is the network's: nobody wants the gradient of it. */
  readonly isFirst: boolean;
  /** Of that layer: rows; height, width and channels of the input and of the output; kernel, strides; padding at the top and on the left. */
  readonly geometry: readonly number[];
}

/** The products of a network's convolutions (depthwise apart), each once: m = rows of the output, n = filters, k = elements of a window. */
export function productsOf({ name, batch, make }: Net): Product[] {
  const { graph } = make();
  const shapes = inferShapes(graph);
  const inputs = new Set(graph.nodes.filter(({ op }) => op === 'input').map((node) => node.name));
  const products = new Map<string, Product>();
  for (const node of graph.nodes) {
    if (node.op !== 'conv2d') continue;
    const from = node.inputs[0] ?? '';
    const [height = 0, width = 0, channels = 0] = shapes.get(from) ?? [];
    const { kernelSize: kernel, strides, dilation, filters } = node;
    const { output, padding } = windowGeometry([height, width], kernel, strides, dilation, node.padding);
    const size = { m: batch * output[0] * output[1], n: filters, k: kernel[0] * kernel[1] * channels };
    const key = `${size.m} ${size.n} ${size.k}`;
    if (products.has(key)) continue;
    const geometry = [batch, height, width, channels, ...output, filters, ...kernel, ...strides, padding[0], padding[2]];
    products.set(key, { name: `${name} ${node.name}`, ...size, isFirst: inputs.has(from), geometry });
  }
  return [...products.values()];
}

/** The product that most of a network's operations are in. */
export function largestProduct(net: Net): Product {
  return productsOf(net).reduce((a, b) => (b.m * b.n * b.k > a.m * a.n * a.k ? b : a));
}
