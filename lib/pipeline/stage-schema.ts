import { z } from 'zod';

/** Where the centroids of a layer start (spec 2.4). */
export const centroidInitSchema = z.enum(['linear', 'random', 'density-based', 'kmeans++']);

const rate = z.number().gt(0).max(10);

/** Learning rate over one stage: a constant, or a curve from `from` to `to` over the steps of the stage. */
export const learningRateSchema = z.union([
  rate,
  z
    .strictObject({
      kind: z.enum(['cosine', 'exponential']),
      from: rate,
      to: z.number().min(0).max(10),
      warmUpEpochs: z.number().min(0).max(1000).optional().describe('Linear rise from 0 at the start of the stage'),
    })
    .refine(({ from, to }) => to <= from, { path: ['to'], message: 'it must be at most `from`' })
    .refine(({ kind, to }) => kind !== 'exponential' || to > 0, { path: ['to'], message: 'an exponential curve never reaches 0' }),
]);

const common = {
  epochs: z.int().min(1).max(100_000),
  learningRate: learningRateSchema.optional(),
};

const quantization = {
  weightScale: z.enum(['tensor', 'channel']).optional().describe('One weight scale for a layer, or one per output channel'),
  rangeInit: z.enum(['data', 'reference']).optional().describe('Activation ranges start from data, or at ±6 as in the reference'),
};

/** One training run with one weight chain. */
export const stageSchema = z.discriminatedUnion('stage', [
  z.strictObject({
    stage: z.literal('float'),
    ...common,
    epochs: z.int().min(0).max(100_000).describe('0 leaves a model from a file as it is'),
  }),
  z.strictObject({
    stage: z.literal('prune'),
    ...common,
    schedule: z.enum(['polynomial', 'constant']).default('polynomial'),
    initialSparsity: z.number().min(0).lt(1).default(0),
    rampEpochs: z.number().gt(0).optional().describe('The mask is final after this many epochs; default half of the stage'),
    updatesPerEpoch: z.int().min(1).max(10_000).default(4).describe('How often the mask is recomputed while it grows'),
  }),
  z
    .strictObject({ stage: z.literal('finetune'), ...common })
    .describe('Goes on with the weight chain of the stage before it; masks are fixed'),
  z.strictObject({
    stage: z.literal('cluster'),
    ...common,
    granularity: z
      .enum(['auto', 'tensor', 'channel'])
      .default('auto')
      .describe('One codebook for the layer, one per output channel, or chosen layer by layer by measured damage'),
    aggregation: z.enum(['sum', 'average']).default('sum').describe('Gradient of a centroid'),
  }),
  z.strictObject({ stage: z.literal('qat'), ...common, ...quantization }),
  z.strictObject({ stage: z.literal('pqat'), ...common, ...quantization }),
  z.strictObject({ stage: z.literal('cqat'), ...common, ...quantization }),
  z.strictObject({ stage: z.literal('pcqat'), ...common, ...quantization }),
  z
    .strictObject({ stage: z.literal('retune'), ...common })
    .describe('Puts the codebooks of cqat or pcqat on the integer grid for good and trains what is left'),
]);

/** The stages of a column, in order; `planColumns` checks which may follow which. */
export const stagesSchema = z.array(stageSchema).min(1).max(32);

/** One training run of a recipe. */
export type Stage = z.output<typeof stageSchema>;

/** Learning rate of a stage as the recipe says it. */
export type RecipeLearningRate = z.output<typeof learningRateSchema>;
