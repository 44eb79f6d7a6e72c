import { z } from 'zod';

/** `format` field of the JSON file. */
export const FORMAT = 'pcqat-model';
export const VERSION = 1;

const name = z.string().min(1).max(400);
const count = z.int().min(0);
const bits = z.int().min(2).max(8);
const fraction = z.number().min(0).lt(1);
const pair = z.tuple([z.int().min(1), z.int().min(1)]);
const shape = z.array(z.int().min(1)).max(8);
const window = { beginStep: z.int(), endStep: z.int(), frequency: z.int() };

const schedule = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('constant'), targetSparsity: z.number(), ...window }),
  z.strictObject({ kind: z.literal('polynomial'), initialSparsity: z.number(), finalSparsity: z.number(), power: z.number(), ...window }),
]);

const pruning = z.strictObject({
  schedule,
  blockSize: pair,
  blockPooling: z.enum(['AVG', 'MAX']),
  mByN: pair.optional(),
  minimumSparsity: fraction.optional(),
});

const chain = z.strictObject({
  weight: name,
  technique: z.enum(['float', 'prune', 'cluster', 'qat', 'pqat', 'cqat', 'pcqat']),
  mask: z.strictObject({ writeBack: z.boolean(), maskGradient: z.boolean(), pruning: pruning.optional() }).optional(),
  codebook: z
    .strictObject({
      perChannel: z.boolean(),
      zeroPin: z.enum(['index', 'equal']).optional(),
      aggregation: z.enum(['sum', 'average']),
      frozen: z.boolean().optional(),
    })
    .optional(),
  fakeQuant: z.strictObject({ bits, perChannel: z.boolean() }).optional(),
});

const quantizer = z.strictObject({
  node: name,
  bits,
  update: z.enum(['movingAverage', 'runningMinMax', 'none']),
  decay: fraction,
  rangeInit: z.enum(['data', 'reference']),
});

/** Where an array lies in the `.bin` file: little endian, at a multiple of 8, each array where the one before it ends. */
const tensor = z.strictObject({ name, dtype: z.enum(['f32', 'u8', 'i32']), shape, offset: count });

/** The JSON file. Nodes are checked by `validateGraph`, which knows each operator's attributes. */
export const modelSchema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  graph: z.strictObject({
    name: z.string().max(400),
    nodes: z.array(z.looseObject({ op: z.string(), name: z.string(), inputs: z.array(z.string()) })),
  }),
  chains: z.array(chain),
  quantizers: z.array(quantizer),
  tensors: z.array(tensor),
  optimizer: z
    .strictObject({
      kind: z.enum(['adam', 'adamw', 'sgd']),
      step: count,
      slots: z.array(z.strictObject({ tensor: name, offsets: z.array(count).min(1).max(2) })),
    })
    .optional(),
  /** Size and SHA-256 of the `.bin` file. */
  data: z.strictObject({ bytes: count, sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
});

export type ModelFile = z.infer<typeof modelSchema>;
export type TensorEntry = ModelFile['tensors'][number];
