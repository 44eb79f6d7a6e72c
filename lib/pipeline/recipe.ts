import { basename } from 'node:path';
import { z } from 'zod';
import { EXPORT_FORMATS } from './export-formats.js';
import { stagesSchema, centroidInitSchema, learningRateSchema } from './stage-schema.js';

/** The five columns of the table, in order. */
export const COLUMNS = ['baseline', 'pruned', 'qat', 'prunedClustered', 'pcqat'] as const;

/** Name of a column of the table. */
export type ColumnName = (typeof COLUMNS)[number];

const count = (what: string, max = 1_000_000) => z.int().min(1).max(max).describe(what);
const size = (what: string) => z.int().min(1).max(4096).describe(what);

/** A name alone stands for the object with that name and no options. */
const orName = <T extends z.ZodType, const K extends string, const N extends string>(object: T, key: K, names: readonly N[]) =>
  z.union([object, z.enum(names).transform((name) => ({ [key]: name }) as unknown as z.output<T>)]);

/** Models of the zoo. The number of classes and the input shape come from the data. */
const modelObjects = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('ds-cnn-s'), dropout: z.number().min(0).lt(1).optional() }),
  z.strictObject({ name: z.literal('ds-cnn-m'), dropout: z.number().min(0).lt(1).optional() }),
  z.strictObject({ name: z.literal('ds-cnn-l'), dropout: z.number().min(0).lt(1).optional() }),
  z.strictObject({ name: z.literal('mobilenet-v1'), alpha: z.number().gt(0).max(4).optional().describe('Width multiplier, default 0.25') }),
  z.strictObject({ name: z.literal('resnet8') }),
  z.strictObject({ name: z.literal('lenet5') }),
  z.strictObject({ name: z.literal('mnist-cnn') }),
]);

/** A trained model to start from. */
const modelFile = z
  .strictObject({
    file: z.string().min(1).describe('Saved pcqat model, .tflite, .onnx, tfjs, Keras or .pb file; relative to the recipe file'),
    input: z.string().min(1).optional().describe('Tensor or node where the model starts; default its only input'),
    output: z.string().min(1).optional().describe('Tensor or node where the model ends; default its only output'),
    dequantize: z.boolean().optional().describe('Read integer weights as the real numbers they stand for'),
  })
  .describe('A trained model from a file');

/** Names of the models a recipe can use. */
export const MODEL_NAMES = modelObjects.options.map((option) => option.shape.name.value);

const nameAlone = z.enum(MODEL_NAMES).transform((name): z.output<typeof modelObjects> => ({ name }));

/** How many examples of each part to use, chosen at random but always the same; default all. */
const limitSchema = z
  .strictObject({
    train: count('Training examples').optional(),
    validation: count('Validation examples').optional(),
    test: count('Test examples').optional(),
  })
  .describe('Use only so many examples of a part, chosen at random but always the same');

const folder = z.string().min(1).describe('Folder with the files');

/** What black and white become. */
export const pixelsSchema = z
  .tuple([z.number(), z.number()])
  .refine(([black, white]) => black < white, { message: 'the first number must be less than the second' })
  .describe('Values of black and white pixels, default 0 and 1; an imported model may want 0 and 255, or -1 and 1');

const imageFiles = {
  path: folder,
  pixels: pixelsSchema.optional(),
  validation: count('Examples taken from the end of the training files').optional(),
  limit: limitSchema.optional(),
};

const dataObjects = z.discriminatedUnion('name', [
  z.strictObject({
    name: z.literal('fsdd'),
    path: folder.optional().describe('Folder with the packed recordings; default: the copy that ships with pcqat'),
    testSpeaker: z.string().min(1).optional().describe('Test on this speaker, train on the others'),
    limit: limitSchema.optional(),
  }),
  z.strictObject({ name: z.literal('mnist'), ...imageFiles }),
  z.strictObject({ name: z.literal('fashion-mnist'), ...imageFiles }),
  z.strictObject({ name: z.literal('idx'), ...imageFiles }),
  z.strictObject({ name: z.literal('cifar10'), ...imageFiles }),
  z.strictObject({
    name: z.literal('wav-folder'),
    path: folder.describe('One folder of .wav files per class'),
    features: z.enum(['arm', 'mlperf']).describe('MFCC of Arm ML-KWS or of MLPerf Tiny'),
    seconds: z.number().gt(0).max(60).optional().describe('Length of a clip, default 1'),
    validation: z.number().gt(0).lt(1).optional().describe('Fraction for validation'),
    test: z.number().gt(0).lt(1).optional().describe('Fraction for the test'),
    limit: limitSchema.optional(),
  }),
]);

const optimizerObjects = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('adam'),
    beta1: z.number().min(0).lt(1).optional(),
    beta2: z.number().min(0).lt(1).optional(),
    epsilon: z.number().gt(0).optional(),
  }),
  z.strictObject({
    kind: z.literal('adamw'),
    beta1: z.number().min(0).lt(1).optional(),
    beta2: z.number().min(0).lt(1).optional(),
    epsilon: z.number().gt(0).optional(),
    weightDecay: z.number().min(0).max(1).optional(),
  }),
  z.strictObject({
    kind: z.literal('sgd'),
    momentum: z.number().min(0).lt(1).optional(),
    nesterov: z.boolean().optional(),
    weightDecay: z.number().min(0).max(1).optional(),
  }),
]);

const augmentSchema = z.strictObject({
  shift: z
    .tuple([z.int().min(0).max(256), z.int().min(0).max(256)])
    .optional()
    .describe('Largest shift of the rows and columns of an example, both ways; zeros come in'),
  flip: z.boolean().optional().describe('Mirror half of the examples left to right'),
  noise: z.number().min(0).optional().describe('Standard deviation of added noise'),
});

const layerSchema = z.strictObject({
  sparsity: z.number().min(0).lt(1).optional().describe('Sparsity of this layer; 0 leaves it dense'),
  clusters: z
    .union([z.int().min(2).max(256), z.literal(false)])
    .optional()
    .describe('Clusters of this layer; false leaves it alone'),
  granularity: z.enum(['tensor', 'channel']).optional().describe('One codebook for this layer, or one per output channel'),
});

const columnsSchema = z.strictObject({
  baseline: stagesSchema.optional(),
  pruned: stagesSchema.optional(),
  qat: stagesSchema.optional(),
  prunedClustered: stagesSchema.optional(),
  pcqat: stagesSchema.optional(),
});

const outputsSchema = z.strictObject({
  columns: z.array(z.enum(COLUMNS)).min(1).optional().describe('Columns to make; default all five'),
  html: z.boolean().default(true).describe('Write report.html'),
  models: z.boolean().default(false).describe('Save the trained model of each column beside its .tflite'),
  formats: z
    .array(z.enum(EXPORT_FORMATS))
    .min(1)
    .optional()
    .describe('Files of each column; tflite (int8) is always among them, and alone by default'),
});

/** The recipe as a zod schema; {@link parseRecipe} is the way to use it. */
export const recipeSchema = z.strictObject({
  $schema: z.string().optional().describe('For editors'),
  name: z.string().min(1).max(200).optional().describe('Title of the report'),
  model: z.union([modelObjects, modelFile, nameAlone]),
  data: orName(dataObjects, 'name', ['fsdd']),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(1)
    .describe('Of weights, shuffling, augmentation and dropout'),
  threads: z.int().min(1).max(1024).optional().describe('Worker threads; default: one per core. Results do not depend on it'),
  epochs: z.int().min(4).max(100_000).default(30).describe('Total training epochs of every column, where `columns` does not say otherwise'),
  batchSize: size('Examples per training step').default(64),
  optimizer: orName(optimizerObjects, 'kind', ['adam', 'adamw', 'sgd']).default({ kind: 'adam' }),
  learningRate: learningRateSchema.default({ kind: 'cosine', from: 0.002, to: 0 }).describe('Of each stage that names no other'),
  clipNorm: z.number().gt(0).optional().describe('Clip gradients to this global norm'),
  gradients: z.enum(['f32', 'bf16']).default('f32').describe('Precision of the operands of backward products; bf16 needs AVX-512 BF16'),
  labelSmoothing: z.number().min(0).lt(1).default(0),
  augment: augmentSchema.optional(),
  sparsity: z.number().min(0).lt(1).default(0.5).describe('Fraction of zeros to reach in pruned columns'),
  clusters: size('Distinct values per layer in clustered columns').min(2).max(256).default(16),
  centroidInit: centroidInitSchema.default('kmeans++'),
  preserveSparsity: z.boolean().default(true).describe('Keep pruned weights at zero while clustering'),
  depthwise: z.boolean().default(true).describe('Prune and cluster depthwise layers too'),
  layers: z.record(z.string().min(1), layerSchema).default({}).describe('By layer name'),
  columns: columnsSchema.default({}).describe('Stages of a column; default from `epochs`'),
  calibrationExamples: z.int().min(1).max(100_000).default(300).describe('Training examples that set the ranges of columns without QAT'),
  outputs: outputsSchema.default({ html: true, models: false }),
});

/** A recipe as written: everything but `model` and `data` has a default. */
export type RecipeInput = z.input<typeof recipeSchema>;

/** A checked recipe with all defaults filled in. Made by {@link parseRecipe}. */
export type Recipe = z.output<typeof recipeSchema>;

/** What a recipe's model is called in reports. */
export const modelTitle = ({ model }: Recipe): string => ('file' in model ? basename(model.file) : model.name);

/** Does the recipe start from a trained model? */
export const isImported = ({ model }: Recipe): boolean => 'file' in model;

/** The JSON Schema of a recipe, as published in `schema/recipe.schema.json`. */
export function recipeJsonSchema(): object {
  return {
    $id: 'https://unpkg.com/pcqat/schema/recipe.schema.json',
    title: 'pcqat recipe',
    ...z.toJSONSchema(recipeSchema, { io: 'input', reused: 'ref' }),
  };
}
