import type * as core from '@tensorflow/tfjs-core';

/**
 * What the engine uses of tfjs. `import * as tf` from `@tensorflow/tfjs-core`, `@tensorflow/tfjs` or `@tensorflow/tfjs-node` has it;
 * pcqat imports none of them, so that there is one tfjs and one backend, the caller's.
 */
export type Tfjs = Pick<
  typeof core,
  | 'abs'
  | 'add'
  | 'all'
  | 'argMax'
  | 'argMin'
  | 'avgPool'
  | 'cast'
  | 'clipByValue'
  | 'concat'
  | 'conv2d'
  | 'conv2dTranspose'
  | 'customGrad'
  | 'depthwiseConv2d'
  | 'div'
  | 'divNoNan'
  | 'equal'
  | 'expandDims'
  | 'floor'
  | 'getBackend'
  | 'greater'
  | 'greaterEqual'
  | 'isFinite'
  | 'keep'
  | 'leakyRelu'
  | 'less'
  | 'lessEqual'
  | 'logicalAnd'
  | 'logicalNot'
  | 'logicalOr'
  | 'logSoftmax'
  | 'matMul'
  | 'max'
  | 'maxPool'
  | 'maximum'
  | 'mean'
  | 'min'
  | 'minimum'
  | 'mul'
  | 'neg'
  | 'notEqual'
  | 'oneHot'
  | 'ones'
  | 'pad'
  | 'relu'
  | 'reshape'
  | 'scalar'
  | 'sigmoid'
  | 'slice'
  | 'softmax'
  | 'sqrt'
  | 'square'
  | 'stack'
  | 'sub'
  | 'sum'
  | 'tanh'
  | 'tensor'
  | 'tidy'
  | 'tile'
  | 'transpose'
  | 'valueAndGrads'
  | 'where'
  | 'zerosLike'
>;

/** A tensor on the caller's backend. */
export type TfTensor = core.Tensor;

/** All axes of a tensor but the last. */
export function outerAxes(tensor: TfTensor): number[] {
  return Array.from({ length: tensor.rank - 1 }, (_, axis) => axis);
}

/**
 * `value`, with the gradient of `x` given by `where`: dy where it is true, else 0. Straight-through gradients and bends of activation
 * functions are not what tfjs would derive from the operators behind `value`.
 */
export function passWhere(tf: Tfjs, x: TfTensor, value: TfTensor, where: TfTensor): TfTensor {
  return tf.customGrad((...inputs) => {
    const save = inputs.at(-1) as (tensors: TfTensor[]) => void;
    save([where]);
    return {
      value: value.clone(),
      gradFunc: (dy: TfTensor, [saved]: TfTensor[]) => tf.where(saved as TfTensor, dy, tf.zerosLike(dy)),
    };
  })(x);
}
