import { PcqatError, requireCount } from '../errors.js';
import { elementCount } from '../graph/shapes.js';
import { compareModelLayers, type LayerComparisons } from './compare-layers.js';
import { type Difference, DifferenceSum, equalArgmax } from './difference.js';
import { checkedRowCount, portions, sameOrder } from './rows.js';
import type { Runner } from './runner.js';

/** Options of {@link compareModels}. */
export interface CompareOptions {
  /** Rows at a time; does not change the result. Default 128. */
  readonly batchSize?: number;
  /** Rows that layers are compared on. 0: none are. Default 16. */
  readonly layerRows?: number;
  /** Threads for the comparison of layers. Default: all cores. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

/** What {@link compareModels} found: how far the outputs are apart. */
export interface ModelComparison extends Difference {
  readonly rows: number;
  /** Fraction of rows whose largest output is the same in both. */
  readonly agreement: number;
  /** Layer by layer, where both runners are `native` and their layers can be paired. */
  readonly layers?: LayerComparisons;
}

/**
 * Runs two models on the same rows and says how far they are apart: their outputs, and their layers where both runners are `native`. Layers are
 * paired by name; where the names are others, by their order. A layer is compared behind its batch normalization and activation, so that a
 * model can be compared with one whose batch normalization is folded, and with its int8 file.
 *
 * @param x - rows of inputs; channels last
 * @throws PcqatError `ERR_SHAPE` where the models do not take and give the same, or `x` is not whole rows; `ERR_EMPTY_DATA`, `ERR_NON_FINITE`
 *   for bad rows; `ERR_OPTION`; what the runners throw
 * @example
 * ```ts
 * import { compareModels, openRunner, zoo } from 'pcqat';
 * const [a, b] = [await openRunner(zoo.lenet5({ seed: 1 })), await openRunner(zoo.lenet5({ seed: 1 }))];
 * const { agreement, maxAbs, layers } = await compareModels(a, b, new Float32Array(4 * 784).fill(0.5));
 * console.log(agreement, maxAbs, layers?.layers.length); // 1 0 5
 * a.dispose();
 * b.dispose();
 * ```
 */
export async function compareModels(a: Runner, b: Runner, x: Float32Array, options: CompareOptions = {}): Promise<ModelComparison> {
  const { batchSize = 128, layerRows = 16, threads, signal } = options;
  requireCount('batchSize', batchSize);
  requireCount('layerRows', layerRows, 0);
  for (const shape of ['inputShape', 'outputShape'] as const) {
    if (sameOrder(a[shape], b[shape])) continue;
    const what = shape === 'inputShape' ? 'take' : 'give';
    throw new PcqatError('ERR_SHAPE', `the models ${what} [${a[shape].join(', ')}] and [${b[shape].join(', ')}]`, {
      where: shape,
      remedy: 'Only models with the same input and output can be compared.',
    });
  }
  const rows = checkedRowCount(x, a.inputShape);
  const [inputSize, width] = [elementCount(a.inputShape), elementCount(a.outputShape)];
  const sum = new DifferenceSum();
  let equal = 0;
  const running = signal === undefined ? {} : { signal };
  for (const part of portions(x, inputSize, batchSize)) {
    signal?.throwIfAborted();
    const [one, other] = [await a.run(part, running), await b.run(part, running)];
    sum.add(one, other);
    equal += equalArgmax(one, other, width);
  }
  const outputs = { rows, agreement: equal / rows, ...sum.result() };
  if (layerRows === 0) return outputs;
  signal?.throwIfAborted();
  const few = Math.min(layerRows, rows);
  const layers = await compareModelLayers(a, b, x.subarray(0, few * inputSize), few, threads === undefined ? {} : { threads });
  return layers === undefined ? outputs : { ...outputs, layers };
}
