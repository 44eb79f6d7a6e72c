import type { Graph, GraphNode } from '#lib/graph/types.js';
import type { Model, Tensor } from '#lib/graph/model.js';

/** A batch norm with fixed statistics is a 1×1 depthwise convolution: kernel γ/√(σ² + ε), bias β − μγ/√(σ² + ε). */
function frozen(node: GraphNode): GraphNode {
  if (node.op !== 'batchNorm') return node;
  const { name, inputs } = node;
  const window = { kernelSize: [1, 1], strides: [1, 1], padding: 'valid', dilation: [1, 1] } as const;
  return { op: 'depthwiseConv2d', name, inputs, ...window, depthMultiplier: 1, useBias: true };
}

const epsilon = 1e-3;

function refresh(model: Model, tensors: ReadonlyMap<string, Tensor>): void {
  for (const { name } of model.graph.nodes) {
    const of = (parameter: string): Tensor['data'] | undefined => tensors.get(`${name}/${parameter}`)?.data;
    const [gamma, beta, mean, variance] = [of('gamma'), of('beta'), of('moving_mean'), of('moving_variance')];
    if (gamma === undefined || beta === undefined || mean === undefined || variance === undefined) continue;
    const kernel = Float32Array.from(gamma, (value, i) => value / Math.sqrt(variance[i] + epsilon));
    const bias = Float32Array.from(kernel, (value, i) => beta[i] - mean[i] * value);
    model.tensors.set(`${name}/kernel`, { shape: [1, 1, kernel.length, 1], data: kernel });
    model.tensors.set(`${name}/bias`, { shape: [bias.length], data: bias });
  }
}

/** The model with its batch norms frozen, as the reference runs them while it clusters. Chains and other tensors are shared. */
export function freezeBatchNorm(model: Model): Model {
  const graph: Graph = { ...model.graph, nodes: model.graph.nodes.map(frozen) };
  const norms = new Set(model.graph.nodes.filter((node) => node.op === 'batchNorm').map((node) => node.name));
  const tensors = new Map([...model.tensors].filter(([name]) => !norms.has(name.split('/')[0])));
  const result: Model = { ...model, graph, tensors };
  refresh(result, model.tensors);
  return result;
}

/** Takes over new parameters and statistics of the batch norms. */
freezeBatchNorm.refresh = refresh;
