import { z } from 'zod';

/** `format` field of the JSON file. */
export const FORMAT = 'pcqat-certificate';
export const VERSION = 1;

/** Most rows of a probe, and the bytes that they may take if there is more than one. */
export const PROBE_ROWS = 16;
export const PROBE_BYTES = 32 * 1024;

const name = z.string().max(1 << 16);
const count = z.int().min(0);
const digest = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex');
const code = z.int().min(-128).max(127);
const codes = z.array(code).max(256);
const steps = z.number().min(0);
const dtype = z.enum(['int8', 'uint8', 'int16', 'int32', 'float16', 'float32']);

/** A tensor of the file: everything that a runtime reads of it. */
const tensor = z.strictObject({
  /** Position among the tensors of the file. */
  index: count,
  name,
  dtype,
  shape: z.array(count).max(8),
  /** Shape with −1 for the batch; absent where the file does not say. */
  shapeSignature: z.array(z.int()).optional(),
  /** Number of scales: 0 = not quantized, 1 = per tensor, else per channel along `axis`. */
  scales: count,
  axis: z.int(),
  /** Absent where there is no scale. */
  smallestScale: z.number().optional(),
  largestScale: z.number().optional(),
  smallestZeroPoint: z.int().optional(),
  largestZeroPoint: z.int().optional(),
  /** SHA-256 of the scales (f32) and of the zero points (i32) as little-endian bytes; absent where there is no scale. */
  scalesSha256: digest.optional(),
  zeroPointsSha256: digest.optional(),
  /** SHA-256 of the constant data: codes, biases, shapes. Absent for activations. */
  dataSha256: digest.optional(),
});

const operator = z.strictObject({
  /** TFLite name, e.g. `CONV_2D`. */
  operator: z.string().max(256),
  version: z.int(),
  /** Indices of tensors; −1 = left out. */
  inputs: z.array(z.int().min(-1)),
  outputs: z.array(count),
  /** By their names in TFLite's schema. */
  options: z.record(z.string(), z.union([z.number(), z.string(), z.boolean(), z.array(z.number())])),
});

/** A layer with weights. */
const layer = z
  .strictObject({
    name,
    operator: z.string().max(256),
    /** Position among the operators of the file. */
    operatorIndex: count,
    technique: z.enum(['float', 'prune', 'cluster', 'qat', 'pqat', 'cqat', 'pcqat']),
    /** What has a codebook of its own. */
    granularity: z.enum(['tensor', 'channel', 'none']),
    /** K of the codebook in training; null: not clustered. */
    clusters: z.int().min(1).nullable(),
    weights: count,
    /** Zeros in the weight that the trained layer uses. */
    zerosBefore: count,
    /** Codes that stand for zero (equal to the zero point) in the file. */
    zerosAfter: count,
    /** Distinct codes in the whole kernel. */
    codes: count,
    /** Most distinct codes in one output channel. */
    codesPerChannelMax: count,
    /** Distinct codes, ascending: of the kernel, or of each channel. Null: not clustered. */
    codebook: z.union([codes, z.array(codes)]).nullable(),
    /** Of the layer's output on the probe, in its steps. Null where there was no simulation. */
    largestDifference: steps.nullable(),
    kernel: tensor,
    bias: tensor.optional(),
  })
  .refine(({ granularity, clusters, codebook }) => {
    if (granularity === 'none') return clusters === null && codebook === null;
    return clusters !== null && codebook !== null && codebook.every((entry) => Array.isArray(entry) === (granularity === 'channel'));
  }, 'granularity, clusters and codebook contradict each other');

/** Agreement of two ways to run the model on a data set. */
const agreement = z.strictObject({
  rows: z.int().min(1),
  /** Fraction of rows whose largest output is at the same place. */
  agreement: z.number().min(0).max(1),
  meanSteps: steps,
  maxSteps: steps,
});

const bytes = z.base64();

/** Differences on the probe, in steps of the output, and the outputs that they come from; agreement on the data. */
const comparison = { meanSteps: steps, maxSteps: steps, data: agreement };

const fidelity = z.strictObject({
  /** Name of the data set that `data` below is about and the probe is taken from. */
  data: name,
  probe: z
    .strictObject({
      rows: z.int().min(1).max(PROBE_ROWS),
      /** int8 input of the model, row by row, base64. */
      input: bytes,
      /** int8 output of our executor for it, base64. */
      output: bytes,
    })
    .refine(
      ({ rows, input }) => rows === 1 || Buffer.byteLength(input, 'base64') <= PROBE_BYTES,
      `more than one row may take at most ${PROBE_BYTES} bytes`,
    ),
  /**
   * Simulation against our executor: the training graph, each quantizer rounding as the integer kernel. `output`: little-endian f32, base64.
   * `fakeQuant`: the training graph as it is against our executor, on the data.
   */
  simulation: z.strictObject({ output: bytes, ...comparison, fakeQuant: agreement }).nullable(),
  /** Why there is none. */
  simulationMissing: z.string().max(2000).nullable(),
  /** Our executor against another runtime. `output`: int8, base64. */
  foreign: z.strictObject({ name, version: name, output: bytes, ...comparison }).nullable(),
  foreignMissing: z.string().max(2000).nullable(),
});

/**
 * The zod schema of a certificate, strict: unknown fields are refused. `parseCertificate` uses it and turns its issues into errors.
 *
 * @example
 * ```ts
 * import { certificateSchema } from 'pcqat';
 * console.log(certificateSchema.safeParse({ format: 'pcqat-certificate', version: 2 }).success); // false
 * ```
 */
export const certificateSchema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  /** Version of pcqat that made it. */
  pcqat: z.string().max(100),
  file: z.strictObject({ sha256: digest, bytes: count }),
  /** Indices of tensors. */
  inputs: z.array(count),
  outputs: z.array(count),
  layers: z.array(layer),
  /** Every tensor that is neither kernel nor bias of a layer. */
  tensors: z.array(tensor),
  operators: z.array(operator),
  fidelity,
});

/**
 * What an exported file holds, and how near it is to what was trained: docs/certificate.md describes every field.
 * `certifyExport` makes one, `verifyExport` checks it against the bytes.
 */
export type ExportCertificate = z.infer<typeof certificateSchema>;
/** A layer with weights in an {@link ExportCertificate}. */
export type CertifiedLayer = z.infer<typeof layer>;
/** A tensor in an {@link ExportCertificate}. */
export type CertifiedTensor = z.infer<typeof tensor>;
/** An operator in an {@link ExportCertificate}. */
export type CertifiedOperator = z.infer<typeof operator>;
/** How far two ways to run a model agree on a data set. */
export type Agreement = z.infer<typeof agreement>;
