import type { WeightChainSpec } from '../../binding.js';
import type { WeightChain } from '../compress/chains.js';
import { PcqatError } from '../errors.js';
import type { Shape } from '../graph/types.js';
import type { TensorTable } from './tensor-table.js';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** The native form of the chain on `weight`; its state tensors join the table. */
export function lowerChain(weight: string, shape: Shape, chain: WeightChain, table: TensorTable): WeightChainSpec {
  const channels = shape.at(-1) ?? 1;
  const perChannelShape = (perChannel: boolean): Shape => [perChannel ? channels : 1];
  // A frozen codebook (on the integer grid) fixes values and assignment.
  const trainable = chain.codebook?.frozen !== true;
  const spec: Writable<WeightChainSpec> = { weight: table.id(weight, { shape, trainable, weightDecay: trainable }) };
  if (chain.mask !== undefined) {
    const { writeBack, maskGradient } = chain.mask;
    spec.mask = { tensor: table.id(`${weight}:mask`, { shape, dtype: 'u8' }), writeBack, maskGradient };
  }
  if (chain.codebook !== undefined) {
    const { perChannel, zeroPin, aggregation } = chain.codebook;
    const name = `${weight}:centroids`;
    const k = table.shapeOf(name).at(-1) ?? 0;
    if (k < 1) throw new PcqatError('ERR_SHAPE', 'the codebook is missing or empty', { where: `tensor '${name}'` });
    spec.codebook = {
      centroids: table.id(name, { shape: perChannel ? [channels, k] : [k], trainable }),
      indices: table.id(`${weight}:indices`, { shape, dtype: 'i32' }),
      perChannel,
      aggregation,
      ...(zeroPin === undefined
        ? {}
        : { zeroPin, zeroIndex: table.id(`${weight}:zero_index`, { shape: perChannelShape(perChannel), dtype: 'i32' }) }),
    };
  }
  if (chain.fakeQuant !== undefined) {
    const { bits, perChannel } = chain.fakeQuant;
    const range = { shape: perChannelShape(perChannel) };
    spec.fakeQuant = { min: table.id(`${weight}:min`, range), max: table.id(`${weight}:max`, range), perChannel, bits };
  }
  return spec;
}
