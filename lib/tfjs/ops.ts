import type { Model } from '../graph/model.js';
import { isWeighted, type WeightedNode } from '../compress/registry.js';
import type { BatchNormNode, GraphNode } from '../graph/types.js';
import { usedWeight } from './chain.js';
import { dropoutMask } from './dropout.js';
import type { Run } from './run.js';
import { outerAxes, passWhere, type TfTensor } from './tfjs.js';
import { upSample } from './upsample.js';
import { convolve, convolveTransposed, pool } from './windows.js';

/** What computing a node needs beside the pass. */
export interface NodeContext {
  readonly model: Model;
  /** Number of the node's instruction in the native program: dropout's stream depends on it. */
  readonly instruction: (node: string) => number;
}

function weighted(run: Run, node: WeightedNode, x: TfTensor, { model }: NodeContext): TfTensor {
  const { tf } = run;
  const kernel = usedWeight(run, `${node.name}/kernel`, model.chains.get(`${node.name}/kernel`));
  const product = (): TfTensor => {
    if (node.op === 'dense') return tf.matMul(x, kernel);
    return node.op === 'conv2dTranspose' ? convolveTransposed(tf, node, x, kernel) : convolve(tf, node, x, kernel);
  };
  const y = product();
  return node.useBias ? tf.add(y, run.readStored(`${node.name}/bias`)) : y;
}

/** Ioffe & Szegedy 2015; the moving variance takes the unbiased batch variance, as TensorFlow's fused operator does. */
function batchNorm(run: Run, node: BatchNormNode, x: TfTensor): TfTensor {
  const { tf } = run;
  const [gamma, beta] = [run.readStored(`${node.name}/gamma`), run.readStored(`${node.name}/beta`)];
  const normalized = (centered: TfTensor, variance: TfTensor): TfTensor =>
    tf.add(tf.mul(centered, tf.div(gamma, tf.sqrt(tf.add(variance, node.epsilon)))), beta);
  const [movingMean, movingVariance] = [run.read(`${node.name}/moving_mean`), run.read(`${node.name}/moving_variance`)];
  if (!run.training) return normalized(tf.sub(x, movingMean), movingVariance);
  const axes = outerAxes(x);
  const count = x.size / (x.shape.at(-1) ?? 1);
  const mean = tf.mean(x, axes);
  const centered = tf.sub(x, mean);
  const variance = tf.mean(tf.square(centered), axes);
  const rate = Math.fround(1 - node.momentum);
  const towards = (from: TfTensor, to: TfTensor): TfTensor => tf.sub(from, tf.mul(tf.sub(from, to), rate));
  run.write(`${node.name}/moving_mean`, towards(movingMean, mean));
  run.write(`${node.name}/moving_variance`, towards(movingVariance, tf.mul(variance, count / Math.max(count - 1, 1))));
  return normalized(centered, variance);
}

function dropout(run: Run, node: Extract<GraphNode, { op: 'dropout' }>, x: TfTensor, context: NodeContext): TfTensor {
  const { tf } = run;
  if (!run.training) return x;
  const stream = { seed: run.seed, step: run.step, instruction: context.instruction(node.name) };
  const mask = tf.cast(tf.tensor(dropoutMask(x.size, node.rate, stream), x.shape, 'bool'), 'float32');
  return tf.div(tf.mul(x, mask), 1 - node.rate);
}

/** The second operand may have one value per channel: `[c]`, `[1, c]` or `[1, 1, c]` beside `[h, w, c]`. */
function multiply(run: Run, x: TfTensor, factor: TfTensor): TfTensor {
  const { tf } = run;
  if (factor.size === x.size) return tf.mul(x, tf.reshape(factor, x.shape));
  const [batch = 1] = x.shape;
  const ones = Array.from({ length: x.rank - 2 }, () => 1);
  return tf.mul(x, tf.reshape(factor, [batch, ...ones, x.shape.at(-1) ?? 1]));
}

/** The output of a node, before its fake quantization. Images are `[batch, h, w, c]`, sequences `[batch, length, c]`. */
export function computeNode(run: Run, node: GraphNode, inputs: readonly TfTensor[], context: NodeContext): TfTensor {
  const { tf } = run;
  const [x, other] = inputs as [TfTensor, TfTensor];
  if (isWeighted(node)) return weighted(run, node, x, context);
  switch (node.op) {
    case 'input':
      return x;
    case 'batchNorm':
      return batchNorm(run, node, x);
    case 'relu':
      return tf.relu(x);
    case 'relu6':
      // As in TensorFlow no gradient passes at 6; tfjs lets it.
      return passWhere(tf, x, tf.clipByValue(x, 0, 6), tf.logicalAnd(tf.greater(x, 0), tf.less(x, 6)));
    case 'sigmoid':
      return tf.sigmoid(x);
    case 'tanh':
      return tf.tanh(x);
    case 'hardSwish': {
      const gate = passWhere(tf, x, tf.clipByValue(tf.add(x, 3), 0, 6), tf.less(tf.abs(x), 3));
      return tf.mul(x, tf.div(gate, 6));
    }
    case 'leakyRelu':
      return tf.leakyRelu(x, node.alpha);
    case 'add':
      return tf.add(x, other);
    case 'multiply':
      return multiply(run, x, other);
    case 'concat':
      return tf.concat([...inputs], -1);
    case 'averagePool1d':
    case 'averagePool2d':
    case 'maxPool1d':
    case 'maxPool2d':
      return pool(tf, node, x);
    case 'globalAveragePool1d':
      return tf.mean(x, 1);
    case 'globalAveragePool2d':
      return tf.mean(x, [1, 2]);
    case 'upSampling2d':
      return upSample(tf, node, x);
    case 'zeroPad2d': {
      const [rows, columns]: [number, number][] = [[...node.padding[0]], [...node.padding[1]]];
      return tf.pad(x, [[0, 0], rows as [number, number], columns as [number, number], [0, 0]]);
    }
    case 'flatten':
      return tf.reshape(x, [x.shape[0] ?? 1, -1]);
    case 'reshape':
      return tf.reshape(x, [x.shape[0] ?? 1, ...node.shape]);
    case 'dropout':
      return dropout(run, node, x, context);
    case 'softmax':
      return tf.softmax(x);
  }
}
